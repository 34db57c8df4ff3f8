# SPDX-License-Identifier: MIT
"""
Loops in which the Nth call fails, N = 1, 2, ... until none does: see tests/fault/fault.c for what can fail and how. A loop
ends by having run out of calls, and is told in one line.
"""

import errno
import mmap
import os
import struct

import harness

LIBRARY = harness.BUILD / "tests" / "fault.so"

MEMORY, SYSTEM, PYTHON = 1, 2, 4
ONCE, EVER, OTHER, SHORT = range(4)

# What a call may fail with. An errno is told to those calls alone that know it: ENOSPC to pwrite, EMFILE to open.
ERRORS = [errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.ENOSPC, errno.EAGAIN]

FORM = "<IIIiQQQ40s"


class Control:
    """What the library does, and what it has done: a file that it has mapped as well."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(b"\0" * struct.calcsize(FORM))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), struct.calcsize(FORM))

    def arm(self, at, kinds, error=errno.ENOMEM, mode=ONCE):
        """The call of this number fails from now on, of those that can; 0: none, they are counted."""
        self.disarm()
        self.map[:] = struct.pack(FORM, 0, kinds, mode, error, at, 0, 0, b"")
        self.map[:4] = struct.pack("<I", 1)

    def disarm(self):
        """Returns how many calls there were, how many failed, and which was the last that did."""
        self.map[:4] = struct.pack("<I", 0)
        *_, count, failed, last = struct.unpack(FORM, self.map)
        return count, failed, last.rstrip(b"\0").decode()

    def env(self, within, **changes):
        return {"LD_PRELOAD": str(LIBRARY), "FAULT_CONTROL": str(self.path), "FAULT_WITHIN": within, **changes}


def loop(control, kinds, scenario, what, error=errno.ENOMEM, mode=ONCE, step=1, first=1):
    """Runs scenario(N) with the Nth call failing until there is none of that number; scenario() disarms by itself as soon
    as what is under test is over, and returns what disarm() did. Returns how many calls failed."""
    at, failed = first, 0
    calls = {}
    while True:
        control.arm(at, kinds, error, mode)
        count, more, name = scenario(at)
        if not more:
            assert count < at
            break
        failed += more
        calls[name] = calls.get(name, 0) + 1
        at += step
    how = {ONCE: "", EVER: ", for ever", OTHER: ", every other time", SHORT: ""}[mode]
    called = "memory" if kinds in (MEMORY, PYTHON) else "does a part only" if mode == SHORT else errno.errorcode[error]
    which = ", ".join(f"{name} {n}" for name, n in sorted(calls.items(), key=lambda item: -item[1]))
    print(f"{what}: {called}{how}: failed {failed} of {count}, each {'' if step == 1 else f'{step}th '}in turn: {which}", flush=True)
    return failed


def step(quick):
    """How many calls are passed over between two that fail: none with FAULTS=whole."""
    return 1 if os.environ.get("FAULTS") == "whole" else quick
