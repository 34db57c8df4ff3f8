# SPDX-License-Identifier: MIT
"""
CPython's own test suites, and what a run of one says: the outcome of each test case.

The suites are run by regrtest, in one process each, with none of its resources: no network, nothing large. A suite's
outcome as a whole, its exit status, counts as one more case: with it a crash is seen, and a test that leaves
sys.path_hooks or the like changed.
"""

import collections
import fnmatch
import os
import re
import signal
import subprocess
import xml.etree.ElementTree as xml

SECONDS = 900  # for one suite; regrtest itself gives up a little earlier, and says where it hung

OPTIONS = ["--fail-env-changed", "--timeout", SECONDS - 60]

# Whatever has to do with imports, code objects, finding sources, starting interpreters or the life of objects.
SUITES = """
    test_ast test_atexit test_audit test_bdb test_builtin test_capi test_class test_cmd_line test_cmd_line_script
    test_code test_code_module test_codeop test_compile test_compileall test_concurrent_futures test_contextlib
    test_copy test_coroutines test_cprofile test_ctypes test_dataclasses test_dis test_doctest test_doctest2
    test_dynamic test_embed test_ensurepip test_enum test_exceptions test_faulthandler test_finalization test_fork1
    test_frame test_frozen test_funcattrs test_functools test_future test_gc test_generators test_getpath test_imp
    test_import test_importlib test_inspect test_interpreters test_io test_lib2to3 test_linecache test_logging
    test_marshal test_module test_modulefinder test_monitoring test_multiprocessing_* test_opcache test_os test_peepholer
    test_pdb test_perf_profiler test_pickle test_pkg test_pkgutil test_posix test_profile test_py_compile test_pyclbr
    test_pydoc test_re test_regrtest test_repl test_reprlib test_runpy test_scope test_script_helper test_shelve test_site
    test_source_encoding test_structseq test_subprocess test_support test_sundry test_super test_symtable test_sys
    test_sys_setprofile test_sys_settrace test_sysconfig test_tempfile test_thread test_threadedtempfile
    test_threaded_import test_threading test_threading_local test_timeit test_tokenize test_trace test_traceback
    test_tracemalloc test_type_cache test_types test_typing test_unicode_file test_unittest test_utf8_mode test_venv
    test_warnings test_weakref test_xxsubinterpreters test__xxsubinterpreters test_zipapp test_zipimport
    test_zipimport_support
""".split()

# For `make check`: those about imports that take seconds.
QUICK = """
    test_frozen test_import test_importlib test_linecache test_module test_modulefinder test_pkg test_pkgutil
    test_py_compile test_pyclbr test_re test_runpy test_site test_zipimport
""".split()


class Run:
    """What one run of a suite gave: a dict of outcomes by case, and all that it printed."""

    def __init__(self, outcomes, output):
        self.outcomes = outcomes
        self.output = output

    def outcome(self, case):
        return self.outcomes.get(case, "absent")


def has_suites(side):
    return side.python("-c", "import test.libregrtest, test.test_import").returncode == 0


def names(side, patterns=None):
    """Those of the suites that the interpreter has; a package of suites counts as its parts, as regrtest has them."""
    listed = side.python("-m", "test", "--list-tests", check=True).stdout.split()
    if patterns is None:
        return listed
    first = {name: name.removeprefix("test.").split(".")[0] for name in listed}
    return [name for name in listed if any(fnmatch.fnmatch(first[name], pattern) for pattern in patterns)]


def run(side, suite):
    report = side.work / "tmp" / f"{suite}.xml"
    command = [side.interpreter.executable, "-m", "test", *OPTIONS, "--junit-xml", report, suite]
    process = side.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=SECONDS)
        status = process.returncode
    except subprocess.TimeoutExpired:
        status = "timeout"
    try:  # what a suite has left running
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if status == "timeout":
        output, _ = process.communicate()
    outcomes = read(side.outside(report))
    outcomes["exit status"] = str(status)
    return Run(outcomes, output)


def read(report):
    """The outcome of each case in a JUnit file; one that was run more than once has them all, in order."""
    found = collections.defaultdict(list)
    try:
        cases = xml.parse(report).iter("testcase")
    except (FileNotFoundError, xml.ParseError):  # it crashed before it wrote one
        return {}
    for case in cases:
        found[neutral(case.get("name", "a subtest failed"))].append(outcome(case))
    report.unlink()
    return {name: " ".join(outcomes) for name, outcomes in found.items()}


def outcome(case):
    for verdict in ("error", "failure", "skipped"):
        if case.find(verdict) is not None:
            return verdict
    if case.find("outcome") is not None or case.get("outcome"):
        return "unexpected success"
    return "success" if case.get("name") else "failure"


def neutral(name):
    """Some names of cases hold an address or a process."""
    return re.sub(r"\b0x[0-9a-f]{6,}", "0x", name)
