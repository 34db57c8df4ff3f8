# SPDX-License-Identifier: MIT
"""Searches over served and unserved entries, directories and zip files: what they find, and what it costs to find
nothing."""

import os
import re
import zipfile

import pytest

import harness

MODULE = "import sys\nNAME = __name__\nFILE = globals().get('__file__')\n"

# What a search may do that finds nothing: ask for memory.
MEMORY = {"mmap", "munmap", "mremap", "madvise", "mprotect", "brk", "futex"}

SHOW = """
import importlib, importlib.util, sys
def show(*names):
    for name in names:
        try:
            module = importlib.import_module(name)
        except BaseException as error:
            print(ascii(name), type(error).__name__, ascii(str(error)[:300]))
            continue
        spec = module.__spec__
        print(ascii(name), ascii((getattr(module, "__file__", None), spec.origin, spec.cached, spec.has_location)),
              type(spec.loader).__name__, spec.submodule_search_locations and list(spec.submodule_search_locations),
              type(spec.submodule_search_locations).__name__, list(vars(module)))
"""


def write(path, text=MODULE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="session")
def tree(pair, public):
    """Directories of a kind each. `one` and `two` are served, `other` is not asked for at start-up."""
    top = public / f"tree-{pair.interpreter}"
    suffixes = [f".{pair.interpreter.soabi}.so", ".abi3.so", ".so", ".py", ".pyc"]
    one, two, other = top / "one", top / "two", top / "other"
    for number, directory in enumerate((one, two, other)):
        write(directory / f"module{number}.py")
        write(directory / "everywhere.py")
        write(directory / "spread" / f"part{number}.py")
        write(directory / "spread" / "deeper" / f"leaf{number}.py")
    write(two / "spread" / "whole" / "__init__.py")
    write(one / "shadowed" / "part.py")
    write(two / "shadowed" / "__init__.py", "WHOLE = True\n")
    write(two / "hidden.py")
    write(one / "hidden" / "part.py")
    write(one / "Upper.py")
    write(one / "both.py")
    write(one / "both" / "__init__.py", "PACKAGE = True\n")
    write(one / "no-identifier.py")
    write(one / "1st.py")
    write(one / "caf\u00e9.py")
    write(one / "cafe\u0301.py")
    write(one / "with space.py")
    write(one / "dotted.name.py")
    write(one / "class.py")
    write(one / "vanishes.py", "import sys\ndel sys.modules[__name__]\n")
    write(one / "replaces.py", "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(__name__='other')\n")
    write(one / "nothing_there.py", "import sys\nsys.modules[__name__] = None\n")
    write(one / "loop_a.py", "import loop_b\nX = 1\n")
    write(one / "loop_b.py", "import loop_a\nX = getattr(loop_a, 'X', 'not yet')\n")
    write(one / "adds.py", f"import sys\nsys.path.append({str(other)!r})\nimport module2\n")
    write(one / "package" / "__init__.py", "__path__.append(__path__[0] + '/more')\nfrom . import a, b\n")
    write(one / "package" / "a.py", "from . import b\n")
    write(one / "package" / "more" / "b.py")
    write(one / "moves" / "__init__.py", f"__path__ = [{str(other / 'spread')!r}]\n")
    (one / os.fsdecode(b"not\xffutf8.py")).write_text(MODULE)
    for number, suffix in enumerate(suffixes):
        for lower in suffixes[number:]:
            (one / f"suffix{number}{lower}").write_bytes(b"")
    write(one / "compiled.py", "X = 'compiled'\n")
    write(one / "bare" / "__init__.py", "X = 'bare'\n")
    write(one / "bare" / "below.py", "X = 'below'\n")
    script = "import sys, py_compile\nfor n in sys.argv[1:]: py_compile.compile(n, n + 'c', n)"
    sources = [one / "compiled.py", one / "bare" / "__init__.py", one / "bare" / "below.py"]
    harness.run([pair.stock, "-c", script, *sources], check=True)
    for source in sources:
        source.unlink()
    with zipfile.ZipFile(top / "zipped.zip", "w") as archive:
        archive.writestr("zipped.py", MODULE)
        archive.writestr("everywhere.py", MODULE)
        archive.writestr("spread/partz.py", MODULE)
        archive.writestr("inner/spread/parti.py", MODULE)
    for side in ("stock", "shim"):  # the pycs that both write lie there beforehand
        harness.run([getattr(pair, side), "-m", "compileall", "-q", top], env=harness.environment())
    pair.daemon.warm(pair.shim, paths=[one, two])
    return top


ORDERS = {
    "served first": "one two other zipped.zip",
    "unserved first": "other zipped.zip one two",
    "zip first": "zipped.zip one other two",
    "inside a zip": "zipped.zip/inner one zipped.zip two",
    "relative": "one ./two other",
    "empty": "one . two",
    "missing between": "missing one missing.zip two missing",
    "one alone": "one",
    "the same twice": "one two one two",
}

SEARCHES = {
    "modules": "show('module0', 'module1', 'module2', 'everywhere', 'zipped', 'nothing')",
    "namespace": (
        "show('spread', 'spread.part0', 'spread.part1', 'spread.part2', 'spread.partz', 'spread.parti', 'spread.nothing',"
        "'spread.whole', 'spread.deeper', 'spread.deeper.leaf0', 'spread.deeper.leaf2', 'spread.deeper.nothing')"
    ),
    "namespace that grows": (
        "show('spread'); sys.path.append(OTHER); show('spread.part2', 'spread.deeper.leaf2'); print(list(sys.modules['spread'].__path__))\n"
        "sys.path.remove(OTHER); importlib.invalidate_caches(); show('spread.nothing'); print(list(sys.modules['spread'].__path__))"
    ),
    "portion before package": "show('shadowed', 'shadowed.part')",
    "portion before module": "show('hidden', 'hidden.part')",
    "case": "show('upper', 'UPPER', 'Upper', 'Module0', 'Spread')",
    "package before module": "show('both', 'both.nothing')",
    "suffixes": "print([str(importlib.util.find_spec('suffix%d' % n)) for n in range(5)])",
    "pycs alone": "show('compiled', 'bare', 'bare.below', 'bare.nothing')",
    "names": (
        "show('no-identifier', '1st', 'caf\\xe9', 'cafe\\u0301', 'with space', 'class', 'dotted.name', 'dotted', 'not\\udcffutf8',"
        "'not', 'module0.py', 'module0 ', ' module0', './module0', 'spread/part0', '../one/module0', 'module0\\0')"
    ),
    "modules that act on themselves": "show('vanishes', 'replaces', 'nothing_there', 'loop_a', 'adds', 'package', 'moves', 'moves.part2')",
    "search by hand": (
        "from importlib.machinery import PathFinder\n"
        "for n in ('module0', 'spread', 'spread.part0', 'nothing', 'everywhere'):\n"
        "    for p in (None, sys.path, tuple(sys.path), iter(sys.path), [], sys.path[:1], sys.path + [OTHER]):\n"
        "        print(n, PathFinder.find_spec(n, p))"
    ),
    "resources": (
        "import importlib.resources as r\nimport both\nprint(sorted(str(p) for p in r.files('both').iterdir()))"
    ),
    "cache": "show('module1', 'spread.part1'); print(sorted((k, repr(v)) for k, v in sys.path_importer_cache.items() if 'tree' in k))",
    "all modules": "import pkgutil; print([ascii(m[1:]) for m in pkgutil.iter_modules([e for e in sys.path if 'tree' in e])])",
}


def run_search(pair, tree, entries, code, **options):
    path = os.pathsep.join(entry if entry.startswith(".") else str(tree / entry) for entry in entries.split())
    env = pair.daemon.env(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
    return pair.same("-W", "error", "-c", f"{SHOW}\nOTHER = {str(tree / 'other')!r}\n{code}", env=env, cwd=tree, **options)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("order", ORDERS)
def test_search(pair, tree, order, search):
    run_search(pair, tree, ORDERS[order], SEARCHES[search])


def test_entries_are_served_as_the_searches_suppose(pair, tree):
    env = pair.daemon.env(PYTHONPATH=f"{tree / 'one'}:{tree / 'two'}", SHIMPORT_BUDGET_MS=10000)
    status = pair.status(code="import module0, module1, both, spread.part0, everywhere", env=env)
    served = {root["path"]: root["served"] for root in status["roots"] if root["state"] == "served"}
    assert served[str(tree / "one")] == 3
    assert served[str(tree / "two")] == 1


def test_a_name_that_is_nowhere_costs_no_system_call(pair, tree, tmp_path):
    """Not of a module, not of a package's, not after a package's directory was first come to."""
    code = """
import os, sys, json, email.mime, importlib.util, importlib.machinery, both
def mark(name):
    try: os.stat("/mark/" + name)
    except OSError: pass
def absent(name, search):
    mark(name)
    found = search(name)
    mark("")
    assert found is None, found
find = importlib.machinery.PathFinder.find_spec
for n in range(20):
    absent("nothing%d" % n, importlib.util.find_spec)
    absent("json.nothing%d" % n, importlib.util.find_spec)
    absent("both.nothing%d" % n, importlib.util.find_spec)
    absent("direct%d" % n, find)
for n in range(20):
    mark("import%d" % n)
    try: __import__("email.mime.import%d" % n)
    except ImportError: pass
    try: __import__("import%d" % n)
    except ImportError: pass
    mark("")
absent("xml.nothing", lambda name: find(name, [os.path.dirname(os.__file__) + "/xml"]))
"""
    trace = tmp_path / "trace"
    env = pair.daemon.env(PYTHONPATH=f"{tree / 'one'}:{tree / 'two'}", PYTHONSAFEPATH="1", SHIMPORT_BUDGET_MS=10000)
    harness.run(["strace", "-f", "-o", trace, pair.shim, "-c", code], env=env, check=True)
    marks, calls, name = 0, [], None
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r'stat(?:at)?\(.*?"/mark/([^"]*)"', line)
        if found:
            name = found[1] or None
            marks += 1
        elif name and line.split()[1].partition("(")[0] not in MEMORY:
            calls.append((name, line))
    assert marks == 2 * (80 + 20 + 1)
    assert calls == []
