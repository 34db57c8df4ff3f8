# SPDX-License-Identifier: MIT
"""What the library and the tools around imports do with served modules: what they do with stock's."""

CASES = {
    "traceback shows source lines": "import json; json.loads('{')",
    "getsource": "import inspect, json, argparse; print(len(inspect.getsource(json)), inspect.getsource(json.dumps)[:99])",
    "source and paths": (
        "import inspect, argparse, email; print(inspect.getsourcefile(argparse), inspect.getfile(email),"
        "inspect.getmodule(argparse.Namespace), email.__path__)"
    ),
    "find_spec": (
        "import importlib.util as u\n"
        "for n in 'json json.tool argparse nothing email.mime.text'.split():\n"
        "    s = u.find_spec(n); print(n, s and (s.name, s.origin, s.cached, s.parent, s.has_location))"
    ),
    "find_spec below what is missing": "import importlib.util as u; u.find_spec('nothing.below')",
    "find_spec below what is no package": "import importlib.util as u; u.find_spec('argparse.below')",
    "missing module": "import nothing_of_the_kind",
    "missing submodule": "import json.nothing",
    "missing submodule of a module": "import argparse.nothing",
    "missing name": "from json import nothing",
    "iter_modules": "import pkgutil, json, email; print([m[1:] for m in pkgutil.iter_modules(email.__path__)])",
    "walk_packages": (
        "import pkgutil, json; print([(m.name, m.ispkg, type(m.module_finder).__name__ != '')"
        "for m in pkgutil.walk_packages(json.__path__, 'json.')])"
    ),
    "iter_modules of the path": (
        "import pkgutil, os; d = os.path.dirname(os.__file__);"
        "print(sorted(m.name for m in pkgutil.iter_modules([d])))"
    ),
    "get_data": (
        "import pkgutil, json; print(len(pkgutil.get_data('json', 'decoder.py')))\n"
        "try: pkgutil.get_data('json', 'nothing')\n"
        "except OSError as e: print(e)"
    ),
    "resources": (
        "import importlib.resources as r; print(sorted(p.name for p in r.files('json').iterdir() if p.suffix));"
        "print(r.files('email').joinpath('charset.py').read_text()[:60])"
    ),
    "loader's methods": (
        "import json, argparse, inspect\n"
        "for m in (json, json.decoder, argparse):\n"
        "    l = m.__spec__.loader; n = m.__name__\n"
        "    print(l.is_package(n), l.get_filename(n), l.path, l.name, len(l.get_source(n)), len(l.get_data(l.path)),\n"
        "          l.get_code(n).co_filename, l.path_stats(l.path).keys(), l.get_code(n) == l.get_code(n),\n"
        "          l == type(l)(n, l.path), l != type(l)('x', l.path), hash(l) == hash(type(l)(n, l.path)),\n"
        "          type(l.get_resource_reader(n)).__name__, l.contents if hasattr(l, 'contents') else None)"
    ),
    "type of the loader": (
        "import importlib.machinery as m, importlib, json, email.message\n"
        "def show():\n"
        "    for x in (json, json.decoder, email, email.message):\n"
        "        l = x.__spec__.loader\n"
        "        print(type(l) is m.SourceFileLoader, x.__loader__ is l, vars(l), l.get_code(x.__name__).co_filename)\n"
        "show(); importlib.reload(json); show()"
    ),
    "loader with something of the program's": (
        "import importlib.util as u, sys\n"
        "s = u.find_spec('difflib'); s.loader.mine = 1; m = u.module_from_spec(s); sys.modules['difflib'] = m\n"
        "s.loader.exec_module(m); print(m.__loader__.mine, s.loader is m.__loader__, m.ndiff.__code__.co_filename)"
    ),
    "loader that is put around another": (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Loader:\n"
        "    def __init__(self, loader): self.loader = loader\n"
        "    def create_module(self, spec): return self.loader.create_module(spec)\n"
        "    def exec_module(self, module): self.loader.exec_module(module); print(module.__name__, type(module.__loader__))\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(*a):\n"
        "        s = PathFinder.find_spec(*a)\n"
        "        if s and hasattr(s.loader, 'get_source'): s.loader = Loader(s.loader)\n"
        "        return s\n"
        "sys.meta_path.insert(0, Finder); import difflib, argparse; print(difflib.__spec__.loader.loader.path)"
    ),
    "loader refuses another name": "import json; json.__loader__.get_code('argparse')",
    "loader made by hand": (
        "import importlib.machinery as m, importlib.util as u, argparse\n"
        "l = m.SourceFileLoader('mine', argparse.__file__); s = u.spec_from_loader('mine', l)\n"
        "x = u.module_from_spec(s); l.exec_module(x); print(s, x.Namespace(a=1))"
    ),
    "reload": "import importlib, json; d = json.dumps; importlib.reload(json); print(json.dumps is d, json.__spec__)",
    "import again after deletion": (
        "import sys, json; first = json; del sys.modules['json']; import json; print(first is json, json.__file__)"
    ),
    "invalidate_caches": (
        "import importlib, json, sys, pathlib, tempfile\n"
        "importlib.invalidate_caches(); d = tempfile.mkdtemp(); sys.path.append(d)\n"
        "try: import fresh_module\n"
        "except ImportError as e: print(e)\n"
        "pathlib.Path(d, 'fresh_module.py').write_text('x = 1'); importlib.invalidate_caches()\n"
        "import fresh_module; print(fresh_module.x)"
    ),
    "path that grows": (
        "import sys, pathlib, tempfile; d = tempfile.mkdtemp(); pathlib.Path(d, 'json.py').write_text('mine = 1')\n"
        "sys.path.insert(0, d); import json; print(json.mine)"
    ),
    "path that changes": (
        "import sys; sys.path[:] = []\n"
        "try: import difflib\n"
        "except ImportError as e: print(e)"
    ),
    "package path that changes": (
        "import email; email.__path__ = []\n"
        "try: import email.message\n"
        "except ImportError as e: print(e)"
    ),
    "path_importer_cache cleared": "import sys; sys.path_importer_cache.clear(); import difflib; print(difflib.__spec__)",
    "path_hooks cleared": (
        "import sys; sys.path_hooks.clear(); sys.path_importer_cache.clear()\n"
        "try: import difflib\n"
        "except ImportError as e: print(e)"
    ),
    "meta_path without PathFinder": (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, '__name__', '') in"
        "('BuiltinImporter', 'FrozenImporter')]\n"
        "try: import difflib\n"
        "except ImportError as e: print(e)"
    ),
    "finder in front": (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None): print(name, path)\n"
        "sys.meta_path.insert(0, Finder()); import json.tool"
    ),
    "PathFinder called by hand": (
        "from importlib.machinery import PathFinder\n"
        "import json; print(PathFinder.find_spec('argparse'), PathFinder.find_spec('tool', json.__path__),"
        "PathFinder.find_spec('nothing'))"
    ),
    "FileFinder made by hand": (
        "import importlib.machinery as m, json\n"
        "f = m.FileFinder(json.__path__[0], (m.SourceFileLoader, ['.py'])); s = f.find_spec('json.tool')\n"
        "print(s, type(s.loader))"
    ),
    "lazy loader": (
        "import importlib.util as u, sys\n"
        "s = u.find_spec('difflib'); s.loader = u.LazyLoader(s.loader); m = u.module_from_spec(s)\n"
        "sys.modules['difflib'] = m; s.loader.exec_module(m); print(type(m).__name__); m.ndiff; print(type(m).__name__)"
    ),
    "modulefinder": (
        "import modulefinder, tempfile, pathlib\n"
        "p = pathlib.Path(tempfile.mkdtemp(), 's.py'); p.write_text('import json, string')\n"
        "f = modulefinder.ModuleFinder(); f.run_script(str(p)); print(f.modules['json'].__file__)"
    ),
    "pickle of functions": "import pickle, argparse; print(pickle.loads(pickle.dumps(argparse.Namespace(a=1))))",
    "marshal and replace": (
        "import marshal, difflib; c = difflib.ndiff.__code__; print(hash(marshal.dumps(c)) != 0,"
        "marshal.loads(marshal.dumps(c)) == c, c.replace(co_name='x').co_name, c == c.replace())"
    ),
    "marshal of a whole module": (
        "import marshal, difflib, hashlib; c = difflib.__loader__.get_code('difflib');"
        "print(marshal.loads(marshal.dumps(c)) == c, c.co_consts[0][:20], len(c.co_code))"
    ),
    "disassembly": "import dis, textwrap; dis.dis(textwrap)",
    "line events": (
        "import sys; lines = []\n"
        "def trace(frame, event, arg):\n"
        "    if 'textwrap' in frame.f_code.co_filename: lines.append((event, frame.f_lineno))\n"
        "    return trace\n"
        "import textwrap; sys.settrace(trace); textwrap.fill('a b c ' * 50, 20); sys.settrace(None); print(lines)"
    ),
    "import time listing": "import difflib",
    "doctest": "import doctest, difflib; print(doctest.testmod(difflib))",
    "zipimport": (
        "import zipfile, sys, tempfile, os; p = os.path.join(tempfile.mkdtemp(), 'z.zip')\n"
        "z = zipfile.ZipFile(p, 'w'); z.writestr('zipped.py', 'import difflib\\nx = 1'); z.close()\n"
        "sys.path.insert(0, p); import zipped; print(zipped.x, type(zipped.__loader__).__name__)"
    ),
    "namespace packages": (
        "import sys, os, pathlib, tempfile\n"
        "for n in 'ab':\n"
        "    d = tempfile.mkdtemp(); os.makedirs(os.path.join(d, 'spread', n)); sys.path.append(d)\n"
        "    pathlib.Path(d, 'spread', n, '__init__.py').write_text('x = %r' % n)\n"
        "import spread.a, spread.b; print(spread.a.x, spread.b.x, len(spread.__path__), spread.__file__,"
        "type(spread.__path__).__name__)"
    ),
    "case of names": (
        "try: import Json\n"
        "except ImportError as e: print(e)"
    ),
    "odd names": (
        "import importlib\n"
        "for n in ('json.', '.json', 'json..tool', '', 'json/tool', 'a' * 5000, 'caf\\xe9', 'nul\\0nul', '\\udcff'):\n"
        "    try: importlib.import_module(n)\n"
        "    except Exception as e: print(ascii(n[:9]), type(e).__name__, ascii(str(e)[:60]))"
    ),
    "exit status and finalisation": (
        "import atexit, sys, difflib, weakref\n"
        "class X: pass\n"
        "x = X(); weakref.finalize(x, print, 'finalised'); atexit.register(print, 'at exit'); sys.exit(7)"
    ),
    "excepthook": "import sys, difflib; sys.excepthook = lambda *a: print(a[0]); 1 / 0",
}


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES)


def test_snippet(pair, case, tmp_path):
    pair.same("-c", CASES[case], env=pair.daemon.env(TMPDIR=tmp_path))


def test_run_as_module(pair):
    pair.same("-m", "json.tool", "--help")
    pair.same("-m", "timeit", "-n", "1", "--help")
    pair.same("-m", "nothing_of_the_kind")
    pair.same("-m", "email")
    pair.same("-m", "calendar", "2024")


def test_unittest_discovery_and_mock(pair, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import unittest, unittest.mock, json\n"
        "class Test(unittest.TestCase):\n"
        "    def test(self):\n"
        "        with unittest.mock.patch('json.dumps', return_value='x'):\n"
        "            self.assertEqual(json.dumps(1), 'x')\n"
    )
    result = pair.run_shim("-m", "unittest", "discover", "-s", tmp_path)
    assert result.returncode == 0, result.stderr


def test_coverage_of_a_served_module(pair):
    """The trace module, which asks the loader and the file system for the same module."""
    pair.same("-c", "import trace; t = trace.Trace(count=1, trace=0); t.runfunc(__import__, 'difflib'); print(len(t.counts) > 9)")
