# SPDX-License-Identifier: MIT
"""Real test runs: pytest over tests that packages of Debian's ship with them. The first are mostly work, the others mostly
start, as tests of this size are."""

import re

import harness

# By the package, and its files: paths, not names, so that a conftest.py may have options.
RUNS = {
    "numpy": ["matrixlib/tests"],
    "pandas": ["tests/config", "tests/test_errors.py", "tests/tseries/holiday"],
}
OPTIONS = ["-q", "-c", "/dev/null", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist"]

MAIN = """\
import importlib.util, os, sys
home = os.path.dirname(importlib.util.find_spec({package!r}).origin)
import pytest
status = pytest.main([*{options!r}, "--rootdir", home, "--confcutdir", home, *(os.path.join(home, name) for name in {names!r})])
if status:
    sys.exit(int(status))
"""


def statements(package, *options):
    return MAIN.format(package=package, names=RUNS[package], options=[*OPTIONS, *options])


def outcome(package, python, env, directory):
    """What the tests gave: the outcome of each, and the sum; None if they cannot be run at all."""
    result = harness.run([python, "-c", statements(package, "-v", "-v")], env=env, cwd=directory)
    if result.returncode != 0:
        return None
    cases = sorted(re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", result.stdout, re.MULTILINE))
    return cases, re.search(r"(\d+ passed.*?) in ", result.stdout)[1]
