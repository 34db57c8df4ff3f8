# SPDX-License-Identifier: MIT
"""Modules that cannot be served: left out of the image, named in status, imported by stock as stock does it."""

import os

import pytest

import harness

BAD = {
    "does_not_compile": b"def f(:\n",
    "bad_indentation": b"if 1:\n  x = 1\n    y = 2\n",
    "not_utf8": b"name = '\xe9'\n",
    "unknown_coding": b"# coding: no-such-codec\nx = 1\n",
    "nul_bytes": b"x = 1\n\0\n",
    "return_outside": b"return 1\n",
    "too_deep": b"x = " + b"(" * 500 + b")" * 500 + b"\n",
}
ODD_BUT_GOOD = {
    "latin1": "# coding: latin-1\nname = 'é'\n".encode("latin-1"),
    "with_bom": b"\xef\xbb\xbfname = '\xc3\xa9'\n",
    "crlf": b"name = '''a\r\nb'''\r\n",
    "cr": b"name = 1\rother = 2\r",
    "no_newline": b"name = 1",
    "empty": b"",
    "warns": b"name = '\\d'\n",
    "warns_is": b"name = 1 is 1\n",
    "raises": b"raise RuntimeError('at import')\n",
    "exits": b"raise SystemExit(3)\n",
    "future": b"from __future__ import annotations\nname = 1\n",
    "replaces_itself": b"import sys\nsys.modules[__name__] = 42\n",
    "long": b"\n".join(b"name%d = %d" % (n, n) for n in range(5000)),
}


@pytest.fixture
def site(tmp_path):
    directory = tmp_path / "site"
    directory.mkdir()
    for name, data in {**BAD, **ODD_BUT_GOOD}.items():
        (directory / f"{name}.py").write_bytes(data)
    (directory / "good.py").write_text("name = 'good'\n")
    package = directory / "package"
    package.mkdir()
    (package / "__init__.py").write_bytes(BAD["does_not_compile"])
    (package / "below.py").write_text("name = 'below'\n")
    return directory


def left_out(daemon, root):
    return {
        item["file"]: item["reason"]
        for image in daemon.status()["images"]
        if image["root"] == str(root)
        for item in image["left_out"]
    }


def test_bad_modules_are_left_out_and_raise_what_stock_raises(pair, site):
    pair.daemon.warm(pair.shim, paths=[site])
    named = left_out(pair.daemon, site)
    for name in BAD:
        assert f"{name}.py" in named
        assert named[f"{name}.py"]
    assert "package/__init__.py" in named
    assert "good.py" not in named
    env = pair.daemon.env(PYTHONPATH=site)
    for name in [*BAD, *ODD_BUT_GOOD, "good", "package", "package.below"]:
        for flags in ([], ["-B"], ["-W", "error"]):
            code = f"import {name}; print(vars({name}).get('name'), {name}.__spec__)"
            pair.same(*flags, "-B", "-c", code, env=env)
    assert pair.status(code="import good", env=env)["served"] > 0


def test_good_modules_of_that_root_are_served(pair, site):
    pair.daemon.warm(pair.shim, paths=[site])
    code = f"""
import importlib
for name in {[name for name in ODD_BUT_GOOD if "warns" not in name]}:
    try:
        importlib.import_module(name)
    except (RuntimeError, SystemExit):
        pass
"""
    roots = pair.status("-B", code=code, env=pair.daemon.env(PYTHONPATH=site))["roots"]
    served = [root["served"] for root in roots if root["path"] == str(site)]
    assert served == [len([name for name in ODD_BUT_GOOD if "warns" not in name])]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_unreadable_module(one_pair):
    if not harness.user_may_run(one_pair.interpreter, 65534):
        pytest.skip("another user may not run the interpreter")
    with harness.public_directory() as directory:
        (directory / "open.py").write_text("name = 1\n")
        (directory / "secret.py").write_text("name = 2\n")
        (directory / "secret.py").chmod(0o600)
        one_pair.daemon.warm(one_pair.shim, paths=[directory])
        named = left_out(one_pair.daemon, directory)
        assert "secret.py" in named
        assert "open.py" not in named
        env = one_pair.daemon.env(PYTHONPATH=directory)
        for user in ([], ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]):
            stock, shim = (
                harness.run([*user, python, "-B", "-c", "import open, secret; print(secret.name)"], env=env)
                for python in (one_pair.stock, one_pair.shim)
            )
            assert (shim.returncode, shim.stdout, shim.stderr) == (stock.returncode, stock.stdout, stock.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("mode", [0o700, 0o711, 0o744, 0o750])
@pytest.mark.parametrize("closed", ["root", "secret"])
def test_directory_that_is_not_for_everybody(one_pair, mode, closed):
    """Who may not go there does not see from an image what is in it, nor what stock would not find."""
    if not harness.user_may_run(one_pair.interpreter, 65534):
        pytest.skip("another user may not run the interpreter")
    with harness.public_directory() as directory:
        root = directory / "root"
        (root / "secret").mkdir(parents=True)
        (root / "open.py").write_text("name = 1\n")
        for name in ("__init__", "inner"):
            (root / "secret" / f"{name}.py").write_text("name = 2\n")
        (root if closed == "root" else root / "secret").chmod(mode)
        one_pair.daemon.ctl("warm", "--python", one_pair.shim, "--path", root)
        env = one_pair.daemon.env(PYTHONPATH=root)
        code = "import importlib, sys\nfor name in 'open', 'secret', 'secret.inner':\n try: print(importlib.import_module(name))\n except Exception as error: print(repr(error))"
        for user in ([], ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]):
            stock, shim = (
                harness.run([*user, python, "-B", "-c", code], env=env) for python in (one_pair.stock, one_pair.shim)
            )
            harness.assert_same(one_pair.neutral(harness.shown(shim)), one_pair.neutral(harness.shown(stock)))
        if closed == "secret":
            assert list(left_out(one_pair.daemon, root).values()) == ["not everyone may read its directory"]


def test_files_that_are_no_regular_files(pair, tmp_path):
    directory = tmp_path / "odd"
    directory.mkdir()
    os.mkfifo(directory / "fifo.py")
    (directory / "directory.py").mkdir()
    (directory / "dangling.py").symlink_to("nothing.py")
    (directory / "loop.py").symlink_to("loop.py")
    (directory / "target.py").write_text("name = 'target'\n")
    (directory / "linked.py").symlink_to("target.py")
    os.link(directory / "target.py", directory / "hard.py")
    (directory / "caf\u00e9.py").write_text("name = 'accent'\n")
    (directory / os.fsdecode(b"\xff.py")).write_text("name = 'no text'\n")
    (directory / "spaced name.py").write_text("name = 'spaced'\n")
    (directory / "dotted.name.py").write_text("name = 'dotted'\n")
    (directory / "empty_package").mkdir()
    (directory / "both").mkdir()
    (directory / "both" / "__init__.py").write_text("name = 'package'\n")
    (directory / "both.py").write_text("name = 'module'\n")
    (directory / "linked_package").symlink_to("both")
    pair.daemon.warm(pair.shim, paths=[directory])
    env = pair.daemon.env(PYTHONPATH=directory)
    names = ["directory", "dangling", "loop", "target", "linked", "hard", "caf\u00e9", "\udcff", "spaced name"]
    names += ["dotted.name", "dotted", "empty_package", "both", "linked_package", "spaced"]
    code = f"""
import importlib
for name in {names}:
    try:
        module = importlib.import_module(name)
        print(ascii(name), vars(module).get("name"), module.__spec__.origin, module.__spec__.cached)
    except Exception as error:
        print(ascii(name), type(error).__name__, ascii(str(error)))
"""
    pair.same("-B", "-c", code, env=env)


def test_bytecode_files_are_heeded_as_stock_heeds_them(pair, tmp_path):
    """Sourceless modules, stale, foreign, unchecked and checked caches."""
    directory = tmp_path / "cached"
    directory.mkdir()
    make = f"""
import py_compile, os, sys, importlib.util as u
os.chdir({str(directory)!r})
def write(name, text):
    open(name + ".py", "w").write(text)
    return name + ".py"
py_compile.compile(write("sourceless", "name = 'sourceless'"), cfile="sourceless.pyc"); os.unlink("sourceless.py")
py_compile.compile(write("timed", "name = 'old'"))
write("timed", "name = 'newer'")
for name, mode in (("checked", "CHECKED_HASH"), ("unchecked", "UNCHECKED_HASH")):
    py_compile.compile(write(name, "name = 'old'"), invalidation_mode=py_compile.PycInvalidationMode[mode])
    write(name, "name = 'newer'")
for name, data in (("rubbish", b"rubbish"), ("short", u.MAGIC_NUMBER), ("flags", u.MAGIC_NUMBER + b"\\xff" * 12)):
    cache = u.cache_from_source(write(name, "name = 'from source'"))
    open(cache, "wb").write(data)
"""
    harness.run([pair.interpreter.executable, "-c", make], check=True)
    pair.daemon.warm(pair.shim, paths=[directory])
    env = pair.daemon.env(PYTHONPATH=directory)
    for name in ("sourceless", "timed", "checked", "unchecked", "rubbish", "short", "flags"):
        pair.same("-B", "-c", f"import {name}; print({name}.name, {name}.__spec__)", env=env)
