# SPDX-License-Identifier: MIT
"""What a builder tries with texts that processes report: within limits, and without anything to be heard of it."""

import contextlib
import signal
import warnings


class Declined(Exception):
    """Why a text is left to the processes."""


def on_alarm(number, frame):
    raise Declined("it takes too long")


@contextlib.contextmanager
def trial(seconds):
    """Raises Declined for what fails in it, warns, or takes more processor time."""
    signal.signal(signal.SIGVTALRM, on_alarm)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
            yield
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except Declined:
        raise
    except Exception as error:
        raise Declined(f"it does not compile: {type(error).__name__}") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if warned:
        raise Declined("it warns")
