# SPDX-License-Identifier: MIT
"""The contract of imports: what programs do to the import system, and what hostile ones do. Exactly stock's result, or
stock's exception with its traceback."""

import pytest

# Tries imports of all kinds and prints what came of each.
TRY = """
import importlib, sys
def attempt(*names):
    for name in names:
        try:
            module = importlib.import_module(name)
            print(name, getattr(module, "__file__", None), getattr(module, "__path__", None))
        except BaseException as error:
            print(name, type(error).__name__, ascii(str(error)[:200]))
"""

# Before each case, so that nothing that is printed with has to be imported.
BEFORE = TRY + "import json, email, pathlib, types, contextlib, os, warnings\n"

PATHS = {
    "none": "sys.path = None",
    "gone": "del sys.path",
    "number": "sys.path = 5",
    "tuple": "sys.path = tuple(sys.path)",
    "generator": "sys.path = (entry for entry in list(sys.path))",
    "dict": "sys.path = dict.fromkeys(sys.path)",
    "str": "sys.path = sys.path[1]",
    "subclass of list": "class L(list): pass\nsys.path = L(sys.path)",
    "subclass of list that lies": (
        "class L(list):\n    def __iter__(self): return iter(())\nsys.path = L(sys.path)"
    ),
    "empty": "sys.path = []",
    "numbers and none": "sys.path[:0] = [None, 5, 1.5, (), object]",
    "bytes": "sys.path[:0] = [b'/usr', bytearray(b'/usr'), os.fsencode(os.path.dirname(os.__file__))]",
    "only bytes": "sys.path[:] = [os.fsencode(entry) for entry in sys.path]",
    "paths": "sys.path[:] = [pathlib.Path(entry) for entry in sys.path]",
    "surrogates": "sys.path[:0] = ['\\udcff', '/\\udcff', '/usr/lib/\\ud800']",
    "nul": "sys.path[:0] = ['\\0', '/usr\\0', '/usr/lib/\\0python']",
    "huge": "sys.path[:0] = ['a' * 100000, '/' + 'a/' * 10000, '/' * 5000]",
    "empty and dots": "sys.path[:0] = ['', '.', './', '..', '/', '//', '/..', '/.']",
    "slashes": "sys.path[:] = [entry + '///' for entry in sys.path]",
    "dots inside": "sys.path[:] = [entry + '/./../' + os.path.basename(entry) for entry in sys.path]",
    "many times the same": "sys.path[:] = sys.path * 50",
    "itself": "sys.path.insert(0, sys.path)",
    "relative": "os.chdir('/'); sys.path[:] = [entry[1:] for entry in sys.path]",
    "file": "sys.path.insert(0, os.__file__)",
    "missing": "sys.path[:0] = ['/nonexistent', '/nonexistent.zip', '/nonexistent.zip/inside']",
    "subclass of str": "class S(str): pass\nsys.path[:] = [S(entry) for entry in sys.path]",
    "subclass of str that lies": (
        "class S(str):\n"
        "    def __eq__(self, other): return True\n"
        "    def __hash__(self): return hash(sys.path[-1])\n"
        "sys.path[:0] = [S('/nonexistent')]"
    ),
    "something that calls itself a str": (
        "class S:\n    __class__ = str\n    def __repr__(self): return 'S'\nsys.path[:0] = [S()]"
    ),
    "something that cannot be compared": (
        "class S(str):\n"
        "    def __eq__(self, other): raise RuntimeError('eq')\n"
        "    def __hash__(self): raise RuntimeError('hash')\n"
        "sys.path[:0] = [S('/nonexistent')]"
    ),
    "directory that is gone": (
        "import tempfile\n"
        "d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d); sys.path[:0] = ['', 'below']"
    ),
}

# What a path hook or a finder does while it is asked.
CHANGES = {
    "appends": "sys.path.append('/nonexistent/%d' % len(sys.path)) if len(sys.path) < 20 else None",
    "clears": "sys.path.clear()",
    "removes the first": "sys.path.pop(0) if sys.path else None",
    "inserts": "sys.path.insert(0, '/nonexistent/%d' % len(sys.path)) if len(sys.path) < 20 else None",
    "puts another": "sys.path = ['/nonexistent']",
    "clears the cache": "sys.path_importer_cache.clear()",
    "puts another cache": "sys.path_importer_cache = {}",
    "clears the hooks": "sys.path_hooks.clear()",
    "imports": "asked.append(1); return __import__('colorsys') and None if len(asked) < 4 else None",
    "raises": "raise ValueError('from the finder')",
    "raises ImportError": "raise ImportError('from the finder')",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "returns what is no spec": "return 5",
    "returns a spec without a loader": "return types.SimpleNamespace(loader=None, submodule_search_locations=None)",
    "returns a portion": "return types.SimpleNamespace(loader=None, submodule_search_locations=['/nonexistent'])",
}

SYSTEM = {
    "how meta_path looks": (
        "from importlib.machinery import PathFinder\n"
        "at = sys.meta_path.index(PathFinder)\n"
        "print(sys.meta_path, sys.path_hooks, at, sys.meta_path[at] is PathFinder, len(sys.meta_path))\n"
        "print([(type(f), f.__name__, f.__module__, hash(f) == hash(PathFinder)) for f in sys.meta_path])\n"
        "print(dir(PathFinder), PathFinder.__mro__, sorted(vars(PathFinder)))"
    ),
    "how PathFinder.find_spec looks": (
        "import inspect\n"
        "from importlib.machinery import PathFinder\n"
        "m = PathFinder.find_spec; f = m.__func__; c = f.__code__\n"
        "print(m, type(m), type(f), type(vars(PathFinder)['find_spec']), inspect.signature(m), m.__doc__)\n"
        "print(f.__name__, f.__qualname__, f.__module__, f.__defaults__, f.__closure__, vars(f), f.__globals__['__name__'])\n"
        "print(c.co_name, c.co_filename, c.co_firstlineno, c.co_argcount, c.co_varnames, c.co_names, c.co_flags,"
        "c.co_freevars, c.co_cellvars, sorted({line for _, _, line in c.co_lines()} - {None}))"
    ),
    "how FileFinder and the hook look": (
        "import inspect\n"
        "from importlib.machinery import FileFinder\n"
        "hook = sys.path_hooks[-1]\n"
        "print(len(sys.path_hooks), sys.path_hooks, inspect.signature(hook), hook.__code__.co_freevars)\n"
        "f = hook(os.path.dirname(os.__file__)); print(f, f.__class__ is FileFinder, isinstance(f, FileFinder), vars(f).keys())\n"
        "for n in ('/nonexistent', '', '.', b'/usr', 5):\n"
        "    try: print(hook(n))\n"
        "    except BaseException as e: print(type(e), e)"
    ),
    "every finder in the cache": (
        "attempt('difflib', 'nothing'); import pprint\n"
        "pprint.pprint({k: (repr(v), v and v.__class__, v and vars(v).keys()) for k, v in sys.path_importer_cache.items()})"
    ),
    "calls of a finder that are wrong": (
        "f = sys.path_importer_cache[os.path.dirname(os.__file__)]\n"
        "for args, kwargs in [((), {}), ((1, 2, 3), {}), ((), {'fullname': 'difflib'}), (('difflib',), {'target': None}),\n"
        "                     (('difflib',), {'nothing': 1}), ((5,), {}), ((None,), {}), ((b'difflib',), {}), (('',), {})]:\n"
        "    try: print(f.find_spec(*args, **kwargs))\n"
        "    except BaseException as e: print(type(e).__name__, e)"
    ),
    "calls of PathFinder that are wrong": (
        "from importlib.machinery import PathFinder\n"
        "for args, kwargs in [((), {}), ((1, 2, 3, 4), {}), ((), {'fullname': 'difflib'}), (('difflib', ()), {}),\n"
        "                     (('difflib', None, None), {}), (('difflib', 5), {}), (('difflib', ''), {}), ((5,), {}),\n"
        "                     ((None,), {}), ((b'difflib',), {}), (('',), {}), (('.',), {}), (('difflib', 'abc'), {}),\n"
        "                     (('difflib', [None, 5]), {}), (('nul\\0',), {}), (('\\udcff',), {}), (('a' * 100000,), {})]:\n"
        "    try: print(PathFinder.find_spec(*args, **kwargs))\n"
        "    except BaseException as e: print(type(e).__name__, ascii(str(e)[:300]))"
    ),
    "meta_path cleared": "sys.meta_path.clear(); attempt('difflib', 'email.mime', 'nothing')",
    "meta_path none": "sys.meta_path = None; attempt('difflib')",
    "meta_path gone": "del sys.meta_path; attempt('difflib')",
    "meta_path a tuple": "sys.meta_path = tuple(sys.meta_path); attempt('difflib', 'nothing')",
    "meta_path saved and restored": (
        "saved = sys.meta_path[:]; sys.meta_path.clear(); attempt('difflib'); sys.meta_path[:] = saved; attempt('difflib')"
    ),
    "PathFinder removed and put back": (
        "from importlib.machinery import PathFinder\n"
        "sys.meta_path.remove(PathFinder); attempt('difflib'); sys.meta_path.append(PathFinder); attempt('difflib')"
    ),
    "finders around PathFinder": (
        "from importlib.machinery import PathFinder\n"
        "class Finder:\n"
        "    def __init__(self, text): self.text = text\n"
        "    def find_spec(self, *args): print(self.text, args)\n"
        "sys.meta_path.insert(sys.meta_path.index(PathFinder), Finder('before'))\n"
        "sys.meta_path.append(Finder('after')); attempt('difflib', 'nothing', 'email.nothing', 'email.mime.text')"
    ),
    "PathFinder replaced by a subclass": (
        "from importlib.machinery import PathFinder\n"
        "class Mine(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, fullname, path=None, target=None):\n"
        "        print('find', fullname); return super().find_spec(fullname, path, target)\n"
        "    @classmethod\n"
        "    def _path_importer_cache(cls, path):\n"
        "        print('cache', path); return super()._path_importer_cache(path)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Mine; attempt('difflib', 'nothing', 'email.mime.text')"
    ),
    "find_spec of PathFinder replaced": (
        "from importlib.machinery import PathFinder\n"
        "from unittest import mock\n"
        "with mock.patch.object(PathFinder, 'find_spec', return_value=None): attempt('difflib')\n"
        "attempt('difflib'); print(vars(PathFinder)['find_spec'].__class__)"
    ),
    "find_spec of PathFinder wrapped": (
        "from importlib.machinery import PathFinder\n"
        "old = PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None): print(name, path); return old(name, path, target)\n"
        "PathFinder.find_spec = find_spec; attempt('difflib', 'nothing', 'email.mime.text')"
    ),
    "the loop of PathFinder replaced": (
        "from importlib.machinery import PathFinder\n"
        "old = PathFinder._get_spec\n"
        "def get(name, path, target=None): print(name, path, type(path)); return old(name, path, target)\n"
        "PathFinder._get_spec = get; attempt('difflib', 'nothing', 'email.mime.text')"
    ),
    "the cache of PathFinder replaced": (
        "from importlib.machinery import PathFinder\n"
        "old = PathFinder._path_importer_cache\n"
        "PathFinder._path_importer_cache = lambda path: print(path) or old(path)\n"
        "attempt('difflib', 'nothing', 'email.mime.text')"
    ),
    "the hooks of PathFinder replaced": (
        "from importlib.machinery import PathFinder\n"
        "PathFinder._path_hooks = staticmethod(lambda path: print(path)); sys.path_importer_cache.clear()\n"
        "attempt('difflib', 'nothing', 'email.mime.text')"
    ),
    "find_spec of FileFinder replaced": (
        "from importlib.machinery import FileFinder\n"
        "old = FileFinder.find_spec\n"
        "def find_spec(self, name, target=None): print(self, name); return old(self, name, target)\n"
        "FileFinder.find_spec = find_spec; attempt('difflib', 'nothing', 'email.mime.text')\n"
        "FileFinder.find_spec = old; attempt('colorsys', 'nothing')"
    ),
    "find_spec of one finder replaced": (
        "f = sys.path_importer_cache[os.path.dirname(os.__file__)]\n"
        "f.find_spec = lambda *args: print(args); attempt('difflib', 'nothing'); del f.find_spec; attempt('difflib')\n"
        "vars(f)['find_spec'] = lambda *args: print(args); attempt('colorsys', 'nothing'); vars(f).clear(); attempt('nothing')"
    ),
    "code of find_spec replaced": (
        "from importlib.machinery import PathFinder\n"
        "def find_spec(cls, fullname, path=None, target=None): print(fullname)\n"
        "PathFinder.find_spec.__func__.__code__ = find_spec.__code__; attempt('difflib')"
    ),
    "loop of one's own over the path": (
        "from importlib.machinery import PathFinder\n"
        "for n in ('difflib', 'email', 'nothing'):\n"
        "    for e in sys.path:\n"
        "        f = PathFinder._path_importer_cache(e); print(n, e, f and f.find_spec(n))"
    ),
    "hooks cleared": "sys.path_hooks.clear(); sys.path_importer_cache.clear(); attempt('difflib', 'email.mime.text')",
    "hooks cleared, cache kept": "sys.path_hooks.clear(); attempt('difflib', 'email.mime.text', 'nothing')",
    "hooks none": "sys.path_hooks = None; sys.path_importer_cache.clear(); attempt('difflib')",
    "hooks a tuple": "sys.path_hooks = tuple(sys.path_hooks); sys.path_importer_cache.clear(); attempt('difflib')",
    "hooks gone": "del sys.path_hooks; attempt('difflib', 'xml.dom.minidom')",
    "hooks reversed": "sys.path_hooks.reverse(); sys.path_importer_cache.clear(); attempt('difflib', 'xml.dom.minidom')",
    "hook between": (
        "def hook(path): print('hook', path); raise ImportError\n"
        "sys.path_hooks.insert(1, hook); attempt('difflib', 'xml.dom.minidom'); sys.path_importer_cache.clear()\n"
        "attempt('colorsys', 'nothing')"
    ),
    "hook before": (
        "def hook(path): print('hook', path); raise ImportError\n"
        "sys.path_hooks.insert(0, hook); attempt('difflib', 'xml.dom.minidom'); sys.path_importer_cache.clear()\n"
        "attempt('colorsys', 'nothing')"
    ),
    "hook that takes all": (
        "class Finder:\n    def find_spec(self, *args): print(args)\n"
        "sys.path_hooks.insert(0, lambda path: Finder()); attempt('difflib', 'xml.dom.minidom')\n"
        "sys.path_importer_cache.clear(); attempt('colorsys', 'nothing')"
    ),
    "hook that gives none": (
        "sys.path_hooks.insert(0, lambda path: None); sys.path_importer_cache.clear(); attempt('difflib', 'nothing')"
    ),
    "hook of other suffixes": (
        "from importlib.machinery import FileFinder, SourceFileLoader\n"
        "sys.path_hooks.insert(0, FileFinder.path_hook((SourceFileLoader, ['.pyx', '.py'])))\n"
        "sys.path_importer_cache.clear(); attempt('difflib', '_json', 'math', 'xml.dom.minidom', 'nothing')"
    ),
    "finders without find_spec": (
        "class Finder: pass\n"
        "sys.path_importer_cache[sys.path[-1]] = Finder(); warnings.simplefilter('ignore'); attempt('difflib', 'nothing')\n"
        "sys.path_importer_cache[sys.path[0]] = Finder(); attempt('colorsys', 'nothing')"
    ),
    "cache none": "sys.path_importer_cache = None; attempt('difflib', 'email.mime.text')",
    "cache gone": "del sys.path_importer_cache; attempt('difflib')",
    "cache of a subclass": (
        "class D(dict):\n    def __missing__(self, key): print(key); raise KeyError(key)\n"
        "sys.path_importer_cache = D(); attempt('difflib', 'email.mime.text', 'nothing')"
    ),
    "cache full of none": (
        "for key in sys.path_importer_cache: sys.path_importer_cache[key] = None\n"
        "attempt('difflib', 'email.mime.text', 'xml.dom.minidom')\nimportlib.invalidate_caches(); attempt('difflib')"
    ),
    "package path changed": (
        "import tempfile; d = tempfile.mkdtemp(); pathlib.Path(d, 'mine.py').write_text('x = 1')\n"
        "email.__path__.append(d); attempt('email.mine', 'email.charset', 'email.nothing')\n"
        "email.__path__.reverse(); attempt('email.mime.audio', 'email.nothing')\n"
        "email.__path__ = tuple(email.__path__); attempt('email.generator', 'email.nothing')\n"
        "email.__path__ = d; attempt('email.policy'); email.__path__ = None; attempt('email.mime.image', 'email.iterators')\n"
        "email.__path__ = []; attempt('email.contentmanager'); del email.__path__; attempt('email.contentmanager')"
    ),
    "package path of an iterator": (
        "email.__path__ = iter(list(email.__path__)); attempt('email.generator', 'email.policy')"
    ),
    "package gone from sys.modules": (
        "del sys.modules['email']; attempt('email.policy'); sys.modules['email'] = None; attempt('email.mime.image', 'email')\n"
        "sys.modules['email'] = 5; attempt('email.mime.audio')"
    ),
    "no parent": "attempt('nothing.below', 'os.below', 'sys.below', 'email.nothing.below', 'difflib.below')",
    "odd names": (
        "attempt('json.', '.json', 'json..tool', '', 'json/tool', 'a' * 5000, 'caf\\xe9', 'nul\\0nul', '\\udcff', '..',"
        "' ', 'json.tool ', 'JSON', 'Json.Tool', '__init__', 'json.__init__', 'json.__pycache__', '__pycache__', 'json.tool.py')"
    ),
    "names of another type": (
        "class S(str): pass\n"
        "attempt(S('difflib'), S('nothing'), S('email.nothing'))\n"
        "for n in (5, None, b'json'):\n"
        "    try: __import__(n)\n"
        "    except BaseException as e: print(type(e).__name__, e)"
    ),
    "reload": (
        "import difflib; importlib.reload(difflib); importlib.reload(email); difflib.__name__ = 'other'\n"
        "try: importlib.reload(difflib)\n"
        "except BaseException as e: print(type(e).__name__, e)"
    ),
    "import while finalised": (
        "class Late:\n"
        "    def __del__(self):\n"
        "        try: import difflib; print('late', difflib.__file__)\n"
        "        except BaseException as e: print(type(e).__name__, e)\n"
        "sys.late = Late(); late = Late(); email.late = Late()\n"
        "import atexit; atexit.register(lambda: attempt('colorsys', 'nothing'))"
    ),
    "import in threads": (
        "import threading; names = ['difflib', 'colorsys', 'nothing', 'xml.dom.minidom', 'cmd', 'nothing.below'] * 5; seen = []\n"
        "def work(n):\n"
        "    try: seen.append((n, importlib.import_module(n).__file__))\n"
        "    except ImportError as e: seen.append((n, str(e)))\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in names]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print(sorted(seen))"
    ),
    "import deep in recursion": (
        "def deep(n):\n"
        "    if n: return deep(n - 1)\n"
        "    import nothing_at_all\n"
        "try: deep(10)\n"
        "except ImportError as e: print(e, e.name, e.path)"
    ),
    "empty hooks warn": (
        "warnings.simplefilter('always'); sys.path_importer_cache.clear(); sys.path_hooks.clear(); attempt('difflib')"
    ),
    "pkgutil": (
        "import pkgutil\n"
        "d = os.path.dirname(os.__file__)\n"
        "print(pkgutil.get_importer(d), pkgutil.get_importer('/nonexistent'), len(list(pkgutil.iter_importers('email.mime'))))\n"
        "print(sorted(m.name for m in pkgutil.iter_modules([d]))[:50], [m.name for m in pkgutil.walk_packages(email.__path__)])\n"
        "print([m.ispkg for m in pkgutil.iter_modules(email.__path__, 'email.')], pkgutil.resolve_name('email.mime:text'))"
    ),
    "copies of finders": (
        "import copy, pickle\n"
        "f = sys.path_importer_cache[os.path.dirname(os.__file__)]\n"
        "for g in (copy.copy(f), copy.deepcopy(f.path)): print(g)\n"
        "try: print(pickle.loads(pickle.dumps(f)))\n"
        "except BaseException as e: print(type(e).__name__)"
    ),
    "invalidate_caches": (
        "attempt('nothing'); importlib.invalidate_caches(); attempt('difflib', 'nothing')\n"
        "from importlib.machinery import PathFinder; print(PathFinder.invalidate_caches(), len(sys.path_importer_cache))"
    ),
    "import hooks of the trace": (
        "seen = []\n"
        "def profile(frame, event, arg):\n"
        "    if event == 'call' and frame.f_code.co_name == 'find_spec' and 'PathFinder' in str(frame.f_locals.get('cls')):\n"
        "        seen.append((frame.f_lineno, frame.f_locals['fullname'], frame.f_locals['path']))\n"
        "sys.setprofile(profile); attempt('difflib', 'nothing', 'email.mime.text'); sys.setprofile(None); print(seen)"
    ),
    "lines of the trace": (
        "seen = []\n"
        "def trace(frame, event, arg):\n"
        "    if frame.f_code.co_name != 'find_spec' or 'PathFinder' not in str(frame.f_locals.get('cls')): return None\n"
        "    seen.append((event, frame.f_lineno)); return trace\n"
        "sys.settrace(trace); attempt('difflib', 'nothing', 'email.mime.text'); sys.settrace(None); print(seen)"
    ),
    "setuptools' and six's way": (
        "class Importer:\n"
        "    def __init__(self): self.known = {'mine': 1}\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        from importlib.util import spec_from_loader\n"
        "        return spec_from_loader(name, self) if name in self.known else None\n"
        "    def create_module(self, spec): return types.ModuleType(spec.name)\n"
        "    def exec_module(self, module): module.x = 1\n"
        "for i, f in enumerate(sys.meta_path):\n"
        "    if type(f).__name__ == 'Importer': del sys.meta_path[i]\n"
        "sys.meta_path.append(Importer()); sys.meta_path.insert(0, Importer()); attempt('mine', 'difflib'); print(len(sys.meta_path))"
    ),
    "distributions' finders are found in meta_path": (
        "print([(f.__module__, hasattr(f, 'find_distributions')) for f in sys.meta_path])\n"
        "import importlib.metadata; print(len(list(importlib.metadata.distributions())))"
    ),
}

# Not caught: the tracebacks are compared.
UNCAUGHT = {
    "path none": "import sys; sys.path = None; import difflib",
    "path gone": "import sys; del sys.path; import difflib",
    "path a number": "import sys; sys.path = 5; import difflib",
    "cache none": "import sys; sys.path_importer_cache = None; import difflib",
    "hooks none": "import sys; sys.path_hooks = None; sys.path_importer_cache.clear(); import difflib",
    "hook raises": (
        "import sys\n"
        "def hook(path): raise ValueError(path)\n"
        "sys.path_hooks.insert(0, hook); sys.path_importer_cache.clear(); import difflib"
    ),
    "finder raises": (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, *args): raise ValueError(args)\n"
        "sys.path.append('/nonexistent'); sys.path_importer_cache['/nonexistent'] = Finder(); import nothing"
    ),
    "spec without a loader": (
        "import sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, *args): return types.SimpleNamespace(loader=None, submodule_search_locations=None)\n"
        "sys.path.append('/nonexistent'); sys.path_importer_cache['/nonexistent'] = Finder(); import nothing"
    ),
    "nul in a name": "import importlib; importlib.import_module('nul\\0')",
    "surrogate in a name": "import importlib; importlib.import_module('email.\\udcff')",
    "name of another type": "from importlib.machinery import PathFinder; PathFinder.find_spec(5)",
    "namespace without its parent": (
        "import sys; from importlib.machinery import PathFinder; import tempfile, os\n"
        "d = tempfile.mkdtemp(); os.mkdir(d + '/below'); PathFinder.find_spec('missing.below', [d, '/nonexistent'])"
    ),
    "missing": "import nothing",
    "missing below": "import email.nothing",
    "module raises": (
        "import sys, tempfile, pathlib; d = tempfile.mkdtemp(); pathlib.Path(d, 'bad.py').write_text('1/0')\n"
        "sys.path.insert(0, d); import bad"
    ),
}


def assert_same(pair, code, tmp_path, **options):
    cwd = tmp_path / "cwd"
    cwd.mkdir(exist_ok=True)
    return pair.same("-c", code, env=pair.daemon.env(TMPDIR=tmp_path), cwd=cwd, **options)


@pytest.mark.parametrize("case", PATHS)
def test_hostile_path(pair, case, tmp_path):
    names = "attempt('difflib', 'math', 'email.mime.text', 'xml.dom.minidom', 'nothing', 'email.nothing')"
    again = "importlib.invalidate_caches()\nattempt('colorsys', 'nothing')"
    assert_same(pair, f"{BEFORE}\n{PATHS[case]}\n{names}\n{again}", tmp_path)


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("asked", ["hook", "finder"])
def test_search_that_changes_what_is_searched(pair, case, asked, tmp_path):
    code = f"""{BEFORE}
asked = []
def change():
    {CHANGES[case]}
class Finder:
    def find_spec(self, *args):
        print('finder', args)
        return change()
def hook(path):
    if path == '/changes':
        change() if {asked == "hook"} else None
        return Finder()
    raise ImportError
sys.path_hooks.insert(0, hook)
sys.path.insert(0, '/changes')
attempt('difflib')
sys.path_importer_cache.pop('/changes', None)
attempt('nothing', 'email.mime.text')
sys.path.append('/changes')
attempt('xml.dom.minidom', 'nothing')
print(sys.path, sorted(sys.path_importer_cache))
"""
    assert_same(pair, code, tmp_path)


@pytest.mark.parametrize("case", SYSTEM)
def test_what_programs_do_to_the_import_system(pair, case, tmp_path):
    assert_same(pair, BEFORE + SYSTEM[case], tmp_path)


@pytest.mark.parametrize("case", UNCAUGHT)
def test_traceback(pair, case, tmp_path):
    assert assert_same(pair, UNCAUGHT[case], tmp_path).returncode == 1
