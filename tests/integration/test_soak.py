# SPDX-License-Identifier: MIT
"""A short soak: see tests/soak.py."""

import soak

SECONDS = 12


def test_neighbours_leave_the_daemon_as_it_was():
    soak.soak(SECONDS, seed=1)
