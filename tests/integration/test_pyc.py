# SPDX-License-Identifier: MIT
"""Bytecode files: a process writes those that stock would write, with the same content, and no others."""

import os
import re
import shutil

import pytest

import harness

SOURCES = {
    "alone.py": "def f(a, *, b=(1, 'x', frozenset({1, 2}))):\n    return lambda: (a, b, 'some text', 'some_name')\n",
    "parcel/__init__.py": "from . import inner\n",
    "parcel/inner.py": "class C:\n    '''A docstring.'''\n    x: int = 1\n",
    "private.py": "x = 1\n",
}

IMPORT = "import alone, parcel.inner, private; alone.f(1)()"


@pytest.fixture
def trees(pair, tmp_path):
    """One tree for each of the two environments, at paths of one length, and a function that runs both."""

    class Trees:
        def __init__(self):
            self.env = {}
            for name in "ab":
                for file, text in SOURCES.items():
                    path = tmp_path / name / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
                    os.utime(path, (1700000000, 1700000000.75))
                (tmp_path / name / "private.py").chmod(0o640)

        def run_both(self, *arguments, **changes):
            for name, run in (("a", pair.run_stock), ("b", pair.run_shim)):
                run(*arguments, env=pair.daemon.env(PYTHONPATH=tmp_path / name, **changes), check=True)

        def warm(self):
            pair.daemon.warm(pair.shim, paths=[tmp_path / "b"])

        def path(self, name, file):
            return tmp_path / name / file

        def pycs(self, name):
            return {
                str(path.relative_to(tmp_path / name)): (
                    path.read_bytes().replace(os.fsencode(tmp_path / name), b"TREE"),
                    harness.mode_of(path),
                )
                for path in (tmp_path / name).rglob("*.pyc")
            }

        def assert_same(self, count):
            assert self.pycs("b") == self.pycs("a")
            assert len(self.pycs("a")) == count

        def served(self):
            """The modules of the tree that a process gets from the image."""
            env = pair.daemon.env(PYTHONPATH=tmp_path / "b", PYTHONDONTWRITEBYTECODE="1")
            status = pair.status(code=IMPORT, env=env)
            return next(root["served"] for root in status["roots"] if root["path"] == str(tmp_path / "b"))

    return Trees()


def test_what_is_missing_is_written(trees):
    trees.warm()
    assert trees.served() == 3  # not everybody may read the fourth
    trees.run_both("-c", IMPORT)
    trees.assert_same(4)


def test_what_is_there_is_not_written_again(trees):
    trees.warm()
    trees.run_both("-c", IMPORT)
    trees.warm()
    before = {path: path.stat().st_ino for path in trees.path("b", "").rglob("*.pyc")}
    assert trees.served() == 3
    trees.run_both("-c", IMPORT)
    assert {path: path.stat().st_ino for path in trees.path("b", "").rglob("*.pyc")} == before


@pytest.mark.parametrize("how", ["-B", "variable", "sys"])
def test_nothing_is_written_where_that_is_not_wanted(trees, how):
    trees.warm()
    if how == "-B":
        trees.run_both("-B", "-c", IMPORT)
    elif how == "variable":
        trees.run_both("-c", IMPORT, PYTHONDONTWRITEBYTECODE="1")
    else:
        trees.run_both("-c", "import sys; sys.dont_write_bytecode = True\n" + IMPORT)
    trees.assert_same(0)


def test_a_prefix_is_obeyed(trees, tmp_path):
    trees.warm()
    trees.run_both("-c", IMPORT, PYTHONPYCACHEPREFIX=tmp_path / "prefix")
    trees.assert_same(0)
    trees.run_both("-c", f"import sys; import alone; sys.pycache_prefix = {str(tmp_path / 'later')!r}\n" + IMPORT)
    trees.assert_same(1)


@pytest.mark.parametrize("what", ["older", "other size", "magic", "flags", "short", "empty", "directory"])
def test_what_is_not_valid_is_replaced(trees, what):
    trees.run_both("-c", IMPORT, SHIMPORT_DISABLE="1")
    for name in "ab":
        for path in trees.path(name, "").rglob("*.pyc"):
            data = bytearray(path.read_bytes())
            data[{"older": 8, "other size": 12, "magic": 0, "flags": 4}.get(what, 15)] ^= 0x54
            if what in ("short", "empty"):
                data = data[: 12 if what == "short" else 0]
            path.unlink()
            if what == "directory":
                path.mkdir()
            else:
                path.write_bytes(data)
    trees.warm()
    trees.run_both("-c", IMPORT)
    if what != "directory":
        trees.assert_same(4)


def test_a_pyc_told_by_a_hash_stays_one(trees, pair):
    trees.warm()
    for name in "ab":
        mode = "py_compile.PycInvalidationMode.CHECKED_HASH"
        path = str(trees.path(name, "alone.py"))
        code = f"import py_compile; py_compile.compile({path!r}, invalidation_mode={mode})"
        pair.run_stock("-c", code, check=True)
        trees.path(name, "alone.py").write_text("def f(x): return lambda: x\n")
    trees.run_both("-c", IMPORT)
    trees.assert_same(4)


def test_a_directory_that_cannot_be_written_is_no_error(trees):
    for name in "ab":
        trees.path(name, "__pycache__").write_text("no directory")
        shutil.rmtree(trees.path(name, "parcel/__pycache__"), ignore_errors=True)
    trees.warm()
    trees.run_both("-c", IMPORT)
    trees.assert_same(2)


def test_a_loader_of_ones_own_has_its_say(trees):
    trees.warm()
    code = (
        "import importlib.machinery as m, sys\n"
        "def refuse(*arguments): raise NotImplementedError\n"
        "m.SourceFileLoader._cache_bytecode = refuse\n"
    )
    trees.run_both("-c", code + IMPORT)
    trees.assert_same(0)


def test_modules_that_have_one_cost_nothing(trees, pair, tmp_path):
    """Not a system call: neither for the pyc nor for the directory it is in."""
    trees.run_both("-c", IMPORT, SHIMPORT_DISABLE="1")
    trees.warm()
    trace = tmp_path / "trace"
    env = pair.daemon.env(PYTHONPATH=tmp_path / "b")
    harness.run(["strace", "-f", "-y", "-o", trace, pair.shim, "-c", "import alone, parcel.inner"], env=env, check=True)
    looked = re.compile(re.escape(str(tmp_path / "b")) + r"/[^\"]*(__pycache__|\.pyc?\b)")
    lines = [line for line in trace.read_text().splitlines() if looked.search(line)]
    assert not lines, "\n".join(lines)
