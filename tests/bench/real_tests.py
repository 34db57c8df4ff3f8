# SPDX-License-Identifier: MIT
"""A real test run: pytest over the tests that a package of Debian's ships with it."""

import re

import harness

PACKAGE = "numpy.matrixlib"
ARGUMENTS = ["-q", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "--pyargs", PACKAGE]
STATEMENTS = f"import pytest\nif pytest.main({ARGUMENTS!r}): raise SystemExit('a test failed')"


def outcome(python, env, directory):
    """What the tests gave: the outcome of each, and the sum; None if they cannot be run at all."""
    result = harness.run([python, "-m", "pytest", *ARGUMENTS, "-v"], env=env, cwd=directory)
    if result.returncode != 0:
        return None
    cases = sorted(re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", result.stdout, re.MULTILINE))
    return cases, re.search(r"(\d+ passed.*?) in ", result.stdout)[1]
