# SPDX-License-Identifier: MIT
"""
Prints the standard library of the interpreter that runs it, as import statements.

    python3.11 tests/bench/stdlib_script.py >stdlib.py
    python3.11 tests/bench/stdlib_script.py --all >everything.py

What can be imported on this machine is found by trying, in child processes with nothing to read and nowhere to
write. Built-in and extension modules are listed too. Left out are test suites, programs (__main__), and the few
modules that do something when they are imported; without --all also the 120 codec tables below encodings, and
distutils and lib2to3, which no program imports any more for what they are (both are gone since 3.13).
"""

import os
import signal
import sys
import sysconfig

SKIPPED_PARTS = {"test", "tests", "idle_test", "__main__", "__pycache__", "site-packages", "dist-packages"}
SKIPPED_TOPS = {
    "antigravity",  # opens a browser
    "this",  # prints
    "__hello__",
    "__phello__",
    "idlelib",  # programs that need a display
    "turtledemo",
    "sitecustomize",  # not the library's own
    "usercustomize",
}
SKIPPED_BELOW = ("distutils", "lib2to3", "encodings.")  # but for --all
SECONDS_EACH = 60


def names_below(directory, prefix=""):
    """Yields the names of the modules in a directory, packages with all that is below them."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        stem, dot, suffix = entry.name.partition(".")
        if stem in SKIPPED_PARTS or not prefix and stem in SKIPPED_TOPS:
            continue
        if entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py")):
            yield prefix + stem
            yield from names_below(entry.path, prefix + stem + ".")
        elif entry.is_file() and stem.isidentifier() and stem != "__init__" and suffix.endswith(("py", "so")):
            yield prefix + stem


def candidates(everything):
    stdlib = sysconfig.get_path("stdlib")
    names = set(sys.builtin_module_names) | set(names_below(stdlib))
    dynamic = os.path.join(stdlib, "lib-dynload")
    if os.path.isdir(dynamic):
        names |= set(names_below(dynamic))
    return sorted(name for name in names if everything or not name.startswith(SKIPPED_BELOW))


def go_together(names):
    """Whether all names can be imported one after the other: by a child, so that nothing stays."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            signal.alarm(SECONDS_EACH)
            for name in names:
                __import__(name)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def importable(names, before=()):
    """Those of the names that can be imported, in order, after those before them."""
    if not names or go_together([*before, *names]):
        return names
    if len(names) == 1:
        return []
    half = len(names) // 2
    first = importable(names[:half], before)
    return first + importable(names[half:], [*before, *first])


def main():
    names = candidates("--all" in sys.argv[1:])
    chunks = [names[at : at + 16] for at in range(0, len(names), 16)]
    names = importable([name for chunk in chunks for name in importable(chunk)])
    print("import warnings; warnings.simplefilter('ignore')  # of modules that are deprecated")
    for name in names:
        print("import", name)


if __name__ == "__main__":
    main()
