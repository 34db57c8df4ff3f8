# SPDX-License-Identifier: MIT
"""The ways in which an interpreter can be started and programs can import: each as stock does it."""

import os
import subprocess

import pytest

import harness

SHOW = """
import sys, json, argparse, dataclasses, email.message
codes = [json.dumps.__code__, argparse.ArgumentParser.__init__.__code__, dataclasses.field.__code__]
for code in codes:
    print(code.co_name, code.co_filename, code.co_consts[:1], list(code.co_positions())[:6], list(code.co_lines())[:6])
print(json.__doc__ is None, json.__spec__.cached, sys.flags)
"""

FLAGS = [
    ["-I"],
    ["-E"],
    ["-S"],
    ["-s"],
    ["-B"],
    ["-X", "frozen_modules=off"],
    ["-X", "utf8"],
    ["-X", "dev"],
    ["-W", "error"],
]

# Those that make other code, and so have images of their own.
OPTIONS = [["-O"], ["-OO"], ["-X", "no_debug_ranges"], ["-O", "-X", "no_debug_ranges"]]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_flag(pair, flags):
    pair.same(*flags, "-c", SHOW)


def test_verbose_imports_are_stocks_own(pair):
    """-v prints what is imported and from where, as only stock can."""
    assert pair.run_shim("-v", "-c", SHOW).returncode == 0
    assert pair.status("-v")["active"] is False


@pytest.fixture
def make_sparing_pair(make_daemon, tmp_path):
    """A pair and a daemon that builds what is asked for: to compile a whole standard library anew takes a minute."""
    return lambda python: harness.Pair(python, make_daemon(config="[daemon]\nPreload=used\n"), tmp_path).level()


def wait_for_images(pair, *flags):
    harness.wait_until(lambda: pair.status(*flags, code="import argparse")["served"], f"images for {flags}", 300)


@pytest.mark.parametrize("flags", OPTIONS, ids=" ".join)
def test_option_gets_images_of_its_own(one_python, make_sparing_pair, flags):
    """Never the code of another option: stock's at first, and in the end served too."""
    pair = make_sparing_pair(one_python)
    pair.same("-c", SHOW)
    wait_for_images(pair)
    pair.same(*flags, "-c", SHOW)
    wait_for_images(pair, *flags)
    pair.same(*flags, "-c", SHOW)
    pair.same("-c", SHOW)


def test_two_optimisations_are_two_images(python, make_sparing_pair):
    """On every version: -OO is not given what was built without."""
    test_option_gets_images_of_its_own(python, make_sparing_pair, ["-OO"])


def test_is_active_with_i_and_e_but_not_with_s(pair):
    assert pair.status("-I")["active"]
    assert pair.status("-E")["active"]
    result = pair.run_shim("-S", "-c", "import sys; print('_shimport' in sys.modules)", check=True)
    assert result.stdout == "False\n"


def test_environment_variables(pair):
    for changes in (
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONPYCACHEPREFIX": "/nonexistent/cache"},
        {"PYTHONHASHSEED": "0"},
        {"PYTHONUTF8": "0", "LANG": "C"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONINSPECT": ""},
    ):
        pair.same("-c", SHOW, env=pair.daemon.env(**changes))


def test_bytecode_is_written_or_not_as_stock_does(pair, tmp_path):
    for name, changes in (("with", {}), ("without", {"PYTHONDONTWRITEBYTECODE": "1"})):
        written = []
        for run in (pair.run_stock, pair.run_shim):
            directory = tmp_path / f"{name}-{len(written)}"
            directory.mkdir()
            (directory / "something.py").write_text("value = 1\n")
            env = pair.daemon.env(PYTHONPATH=directory, **changes)
            run("-c", "import something, argparse", env=env, check=True)
            written.append(sorted(os.path.relpath(path, directory) for path in directory.rglob("*")))
        assert written[0] == written[1]
        assert len(written[0]) == (3 if name == "with" else 1)


def test_no_descriptor_stays_open(pair):
    pair.same("-c", "import os, json, email.message; print(os.listdir('/proc/self/fd'))")


def test_nothing_else_of_the_process_changes(pair):
    pair.same(
        "-c",
        """
import sys, os, signal, threading, locale, gc, atexit
print(sorted(os.environ), sys.path, sys.argv, sys.flags, sys.warnoptions, sys.dont_write_bytecode)
print([signal.getsignal(number) for number in range(1, 32)], threading.active_count(), gc.get_threshold())
print(locale.setlocale(locale.LC_ALL), os.umask(0o22), os.getcwd(), sys.getrecursionlimit())
print(sorted(name for name in sys.modules if name != "_shimport"), sys.getswitchinterval(), sys.gettrace())
print(sorted(vars(sys)), sorted(vars(__builtins__)))
""",
    )


def test_fork(pair):
    pair.same(
        "-c",
        """
import os, sys, json
for round in range(3):
    child = os.fork()
    if child == 0:
        import argparse, email.message, asyncio, decimal
        print("child", argparse.__file__, decimal.Decimal(1) / 3, sys.modules["asyncio"].__spec__.cached, flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
import argparse, email.message, asyncio
print("parent", argparse.__file__, email.message.__spec__)
""",
    )


def test_threads_importing_at_once(pair):
    pair.same(
        "-c",
        # Stock's own threads get in each other's way at collections.abc, in 3.13.0 at least.
        """
import collections.abc, sys, threading
names = ["json", "argparse", "email.message", "asyncio", "decimal", "difflib", "unittest.mock", "xml.dom.minidom",
         "http.server", "multiprocessing.pool", "concurrent.futures", "logging.config", "ctypes.util", "sqlite3"]
barrier = threading.Barrier(16)
errors = []
def work(shift):
    barrier.wait()
    for name in names[shift % len(names):] + names[:shift % len(names)]:
        try:
            __import__(name)
        except BaseException as error:
            errors.append((name, error))
threads = [threading.Thread(target=work, args=(shift,)) for shift in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(errors, [sys.modules[name].__spec__.name for name in names])
""",
    )


def test_subinterpreter(pair):
    pair.same(
        "-c",
        """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import json
text = "import sys, json, argparse, email.message; print(json.__spec__, argparse.__file__, flush=True)"
for round in range(3):
    number = interpreters.create()
    print(interpreters.run_string(number, text), flush=True)
    interpreters.destroy(number)
import difflib
print(difflib.__spec__)
""",
    )


def test_multiprocessing_spawn(pair, tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(
        "import multiprocessing\n"
        "def square(number):\n"
        "    import decimal\n"
        "    return str(decimal.Decimal(number) ** 2)\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    with multiprocessing.Pool(2) as pool:\n"
        "        print(pool.map(square, range(4)))\n"
    )
    assert "'9'" in pair.same(script).stdout


def test_two_versions_at_once(daemon, public):
    """Interpreters of different versions, from one daemon, at the same time."""
    pairs = [harness.Pair(python, daemon, public / f"both-{python}") for python in harness.interpreters()]
    if len(pairs) < 2:
        pytest.skip("there is only one interpreter")
    for pair in pairs:
        pair.warm()
    code = "import sys, json, argparse, asyncio; print(sys.version_info[:3], json.__file__, argparse.__spec__)"
    stock = [pair.neutral(pair.run_stock("-c", code, check=True).stdout) for pair in pairs]
    running = [
        (number, subprocess.Popen([pair.shim, "-c", code], env=daemon.env(), stdout=subprocess.PIPE, text=True))
        for _ in range(5)
        for number, pair in enumerate(pairs)
    ]
    for number, process in running:
        harness.assert_same(pairs[number].neutral(process.communicate(timeout=60)[0]), stock[number])
    tags = {pair.interpreter.describe()["tag"] for pair in pairs}
    assert len(tags) == len(pairs)


def test_the_tag_tells_how_the_interpreter_was_built(pair):
    """And the extension is compiled for that: Debian's python3.11d has links to the headers of python3.11."""
    tag = pair.interpreter.describe()["tag"]
    assert f" debug {pair.interpreter.debug:d} " in tag
    assert f" gil {not pair.interpreter.free_threaded:d} " in tag


def test_a_virtual_environment_and_its_base_share_an_image(pair):
    """The standard library is one root, however the interpreter is called."""
    before = pair.daemon.status()
    other = pair._make("c")
    pair.daemon.ctl("enable", "--python", other, check=True)
    pair.daemon.warm(other)
    stdlib = pair.interpreter.stdlib()
    count = [sum(image["root"] == stdlib for image in status["images"]) for status in (before, pair.daemon.status())]
    assert count[0] == count[1]
