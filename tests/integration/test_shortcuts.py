# SPDX-License-Identifier: MIT
"""What is spliced into importlib's own functions: nobody can tell, whatever else has its hands in an import."""

import pytest

# What is frozen is what names the modules that a shortcut leaves alone; debug builds of 3.11 do without, unless told so.
FROZEN = ("-X", "frozen_modules=on", "-c")

# Enough modules that the shortcuts are in force; and they are, in the process that has shimport alone.
BEGIN = """
import importlib, importlib.abc, importlib.machinery, importlib.util, json, sys, threading, time, types
import _frozen_importlib as bootstrap, _frozen_importlib_external as external
import asyncio, email.message
spliced = [type(c).__name__ for c in bootstrap._find_spec.__code__.co_consts if callable(c)]
assert len(spliced) == (2 if "_shimport" in sys.modules else 0), spliced
sys.path.insert(0, {top!r})
"""

MODULES = {
    "plain": "X = 1\n",
    "other": "X = 2\n",
    "third": "X = 3\n",
    "fourth": "X = 4\n",
    "frames": (
        "import sys\n"
        "frame, FRAMES = sys._getframe(), []\n"
        "while frame:\n"
        "    FRAMES.append((frame.f_code.co_filename.rpartition('/')[2], frame.f_code.co_name, frame.f_lineno))\n"
        "    frame = frame.f_back\n"
    ),
    "unwritten": "X = 5\n",
    "fails": "def inner():\n    raise ValueError('as it is')\ninner()\n",
    "needs": "import not_there_at_all\n",
    "syntax": "x = = 1\n",
    "locks": (
        "import _frozen_importlib as b, _imp, _thread\n"
        "manner = lambda n: [len(n)] if isinstance(n, list) else n\n"
        "lock = b._module_locks[__name__]()\n"
        "STATE = [type(lock).__name__, list(vars(lock)), lock.name, lock.owner == _thread.get_ident(), manner(lock.count),\n"
        "         manner(lock.waiters), lock.lock.acquire(False), lock.wakeup.acquire(False), lock.has_deadlock(),\n"
        "         _imp.lock_held(), list(b._blocking_on)]\n"
        "lock.lock.release(), lock.wakeup.release()\n"
        "STATE += [lock.acquire(), manner(lock.count), lock.release(), manner(lock.count)]\n"
    ),
    "kept": "import _frozen_importlib as b\nLOCK = b._module_locks[__name__]()\n",
    "slow": "import time\ntime.sleep(0.3)\nX = 'whole'\n",
    "circle_a": "import time\nX = 'a'\ntime.sleep(0.2)\nimport circle_b\nY = circle_b.X\n",
    "circle_b": "import time\nX = 'b'\ntime.sleep(0.2)\nimport circle_a\nY = circle_a.X\n",
    "package/__init__": "import package.early\nX = 1\n",
    "package/early": "import sys\nX = 2\n",
    "package/late": "X = 3\n",
    "replaces": "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(X=9)\n",
    "sets_up": "import sys\nsys.meta_path.insert(0, FINDER) if 'FINDER' in globals() else None\n",
    "zlib": "X = 'not the one that is built in'\n",
    "_signal": "X = 'not the one that is built in'\n",
    "zipimport": "X = 'not the frozen one'\n",
    "__hello__": "X = 'not the frozen one'\n",
}


@pytest.fixture(scope="session")
def top(pair, public):
    directory = public / f"shortcuts-{pair.interpreter}"
    for name, text in MODULES.items():
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "portion").mkdir(exist_ok=True)
    (directory / "portion" / "part.py").write_text("X = 5\n")
    pair.daemon.warm(pair.shim, paths=[directory])
    return directory


PROGRAMS = {
    "pycs that move once the spec is there": (
        "spec = importlib.util.find_spec('plain')\nsys.pycache_prefix = '/elsewhere'\n"
        "module = importlib.util.module_from_spec(spec)\nprint(getattr(module, '__cached__', None), spec.cached)"
    ),
    "cache tags of a program's own": (
        "sys.dont_write_bytecode = True\n"
        "for tag, name in (('mine', 'plain'), (None, 'other')):\n    sys.implementation.cache_tag = tag\n"
        "    module = importlib.import_module(name)\n"
        "    print(getattr(module, '__cached__', None), module.__spec__.cached)\n"
        "del sys.implementation.cache_tag\nimport third"
    ),
    "flags of a program's own": (
        "sys.dont_write_bytecode = True\nold = sys.flags\n"
        "sys.flags = types.SimpleNamespace(**{n: getattr(old, n) for n in dir(old) if n[0] != '_'})\n"
        "sys.flags.optimize = 2\nimport plain\nprint(plain.__spec__.cached)"
    ),
    "no pycache_prefix": "del sys.pycache_prefix\nimport plain",
    "no dont_write_bytecode, and no pyc": "del sys.dont_write_bytecode\nimport unwritten",
    "origins that end as the file does": (
        "for origin in ('/x/myplain.py', 'myplain.py', '/x//plain.py', '/plain.py', 'plain.py', '/x/plain.py', '/\xe9/plain.py',\n"
        "               '/\xe9/myplain.py', '/\xe9//plain.py'):\n"
        "    spec = importlib.util.find_spec('plain')\n    spec.origin = origin\n"
        "    print(ascii(importlib.util.module_from_spec(spec).__spec__.cached))"
    ),
    "the frames that a module sees": "import frames\nprint(frames.FRAMES)",
    "the frames that a submodule sees": "import package\nprint(package.early)",
    "an exception in a module": "import fails",
    "a module that is not there": "import needs",
    "a module that does not compile": "import syntax",
    "its lock while a module is imported": (
        "import locks\nprint(locks.STATE, dict(bootstrap._module_locks), [n for n in bootstrap._blocking_on if n])"
    ),
    "its lock when it failed": (
        "try:\n    import fails\nexcept ValueError:\n    pass\nprint(dict(bootstrap._module_locks))"
    ),
    "a lock that outlives its import": (
        "import kept\nl = kept.LOCK\nprint(bootstrap._module_locks['kept']() is l, l.owner, not l.count, l.acquire(), l.release())\n"
        "importlib.reload(kept)\nprint(kept.LOCK is l)\ndel kept.LOCK, l\nprint(dict(bootstrap._module_locks))"
    ),
    "a lock that somebody else has taken": (
        "lock = bootstrap._get_module_lock('plain')\nlock.acquire()\ndone = []\n"
        "t = threading.Thread(target=lambda: (importlib.import_module('plain'), done.append(1)))\nt.start()\n"
        "time.sleep(0.3)\nprint(done, 'plain' in sys.modules)\nlock.release()\nt.join()\nprint(done, 'plain' in sys.modules)\n"
        "del lock, t\nprint(dict(bootstrap._module_locks))"
    ),
    "threads that want one module": (
        "seen = []\n"
        "threads = [threading.Thread(target=lambda: seen.append(importlib.import_module('slow').X)) for _ in range(8)]\n"
        "[t.start() for t in threads]\n[t.join() for t in threads]\nprint(seen, dict(bootstrap._module_locks))"
    ),
    "threads in a circle": (
        "seen = []\n"
        "threads = [threading.Thread(target=lambda n=n: seen.append((n, importlib.import_module(n).Y))) for n in ('circle_a', 'circle_b')]\n"
        "[t.start() for t in threads]\n[t.join() for t in threads]\nprint(sorted(seen), dict(bootstrap._module_locks))"
    ),
    "threads and all modules": (
        "names = [n for n in sys.stdlib_module_names if n in ('csv', 'shelve', 'sched', 'queue', 'pprint', 'numbers',\n"
        "         'fractions', 'decimal', 'statistics', 'cmd', 'code', 'chunk', 'tarfile', 'zipfile', 'wave', 'uuid')]\n"
        "def work(k):\n    for n in names[k:] + names[:k]: importlib.import_module(n)\n"
        "threads = [threading.Thread(target=work, args=(k,)) for k in range(len(names))]\n"
        "[t.start() for t in threads]\n[t.join() for t in threads]\n"
        "print(all(sys.modules[n].__spec__.name == n for n in names), dict(bootstrap._module_locks))"
    ),
    "a fork in a thread's import": (
        "import os, warnings\nwarnings.simplefilter('ignore')\nt = threading.Thread(target=importlib.import_module, args=('slow',))\nt.start()\ntime.sleep(0.1)\n"
        "pid = os.fork()\nif pid == 0:\n    import plain\n    os._exit(plain.X)\nprint(os.waitpid(pid, 0)[1])\nt.join()"
    ),
    "finders of a program's own, wherever they are": (
        "import _imp\n"
        "class Finder:\n"
        "    def __init__(self, place): self.place = place\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        f = sys._getframe(1)\n"
        "        print(self.place, name, path, target, _imp.lock_held(), f.f_code.co_name, f.f_lineno)\n"
        "for name, place in zip(('plain', 'other', 'third', 'fourth', 'package', 'portion.part', 'not_there'), (0, 1, 2, 3, 4, 5, 6)):\n"
        "    sys.meta_path.insert(place, Finder(place))\n"
        "    try:\n        print(importlib.import_module(name))\n    except ImportError as error:\n        print(error)"
    ),
    "a finder that fails": (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n        raise ZeroDivisionError(name)\n"
        "sys.meta_path.insert(0, Finder())\nimport plain"
    ),
    "a finder that has none of the methods": "sys.meta_path.insert(0, object())\nimport plain\nprint(plain)",
    "a finder that goes away as it is asked": (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n        print(name)\n        sys.meta_path.remove(self)\n"
        "sys.meta_path[:0] = [Finder(), Finder()]\nimport plain, other, third\nprint(plain, other, third)"
    ),
    "a finder that imports the module meanwhile": (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'plain':\n            sys.modules[name] = types.ModuleType('another')\n"
        "            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec('plain', None, origin='mine')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try:\n    import plain\nexcept ImportError as error:\n    print(error)\nprint(sys.modules.get('plain'))"
    ),
    "no PathFinder": (
        "sys.meta_path.remove(importlib.machinery.PathFinder)\nimport plain"
    ),
    "no finder at all": (
        "import warnings\nwarnings.simplefilter('always')\nsys.meta_path.clear()\nimport plain"
    ),
    "no sys.meta_path": "sys.meta_path = None\nimport plain",
    "a sys.meta_path that is a tuple": "sys.meta_path = tuple(sys.meta_path)\nimport plain\nprint(plain)",
    "a PathFinder of a program's own": (
        "class Path(importlib.machinery.PathFinder):\n"
        "    @classmethod\n    def find_spec(cls, name, path=None, target=None):\n"
        "        print(name)\n        return super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Path\nimport plain, package.late\nprint(plain)"
    ),
    "another find_spec() in PathFinder": (
        "old = importlib.machinery.PathFinder.find_spec\n"
        "importlib.machinery.PathFinder.find_spec = lambda *a: (print(a), old(*a))[1]\nimport plain\nprint(plain)"
    ),
    "another find_spec() in BuiltinImporter": (
        "old = importlib.machinery.BuiltinImporter.find_spec\n"
        "importlib.machinery.BuiltinImporter.find_spec = lambda *a: (print(a), old(*a))[1]\nimport plain\nprint(plain)"
    ),
    "another find_spec() in FrozenImporter": (
        "old = importlib.machinery.FrozenImporter.find_spec\n"
        "importlib.machinery.FrozenImporter.find_spec = lambda *a: (print(a), old(*a))[1]\nimport plain\nprint(plain)"
    ),
    "another create_module() in SourceFileLoader": (
        "def create(self, spec):\n    print(spec.name)\n    return types.ModuleType('mine')\n"
        "importlib.machinery.SourceFileLoader.create_module = create\nimport plain\nprint(plain, vars(plain).keys())"
    ),
    "a create_module() of the loader's own": (
        "spec = importlib.util.find_spec('plain')\n"
        "spec.loader.create_module = lambda spec: types.ModuleType('mine')\n"
        "print(importlib.util.module_from_spec(spec).__name__)"
    ),
    "a spec that is changed before its module is made": (
        "spec = importlib.util.find_spec('plain')\n"
        "spec.origin, spec.cached, spec.submodule_search_locations = 'somewhere', None, ['/else']\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "print([(k, v) for k, v in vars(module).items() if k not in ('__spec__', '__loader__')])\n"
        "spec = importlib.util.find_spec('other')\nspec.has_location = False\n"
        "print(list(vars(importlib.util.module_from_spec(spec))))\n"
        "spec = importlib.util.find_spec('third')\nspec.name = 'fourth'\n"
        "print(vars(importlib.util.module_from_spec(spec))['__name__'])\n"
        "class Spec(importlib.machinery.ModuleSpec):\n    parent = 'mine'\n"
        "spec.__class__ = Spec\nprint(importlib.util.module_from_spec(spec).__package__)"
    ),
    "a module that was made but not executed": (
        "module = importlib.util.module_from_spec(importlib.util.find_spec('plain'))\n"
        "print(list(vars(module)), 'plain' in sys.modules)"
    ),
    "names that are built in or frozen as well": (
        "for name in ('zlib', '_signal', 'zipimport', '__hello__'):\n"
        "    sys.modules.pop(name, None)\n    module = importlib.import_module(name)\n"
        "    print(name, getattr(module, 'X', None), module.__spec__.origin)"
    ),
    "frozen modules that are switched off": (
        "import _imp\n_imp._override_frozen_modules_for_tests(-1)\nsys.modules.pop('__hello__', None)\n"
        "import __hello__\nprint(__hello__.X)"
    ),
    "a module that puts another in its place": "import replaces\nprint(replaces)",
    "a package that imports what is being imported": "import package.early\nprint(package.early.X)\nimport package.late",
    "a reload": (
        "import plain\nplain.X = 7\nplain.Y = 8\nprint(importlib.reload(plain).X, plain.Y)\n"
        "import portion.part\nprint(importlib.reload(portion), importlib.reload(portion.part))"
    ),
    "another cache_from_source()": (
        "sys.dont_write_bytecode = True\nold = external.cache_from_source\n"
        "external.cache_from_source = lambda *a, **k: old(*a, **k) + '.mine'\nimport plain\nprint(plain.__spec__.cached)"
    ),
    "another spec_from_file_location()": (
        "old = external.spec_from_file_location\n"
        "external.spec_from_file_location = lambda *a, **k: (print(a), old(*a, **k))[1]\nimport plain"
    ),
    "another ModuleSpec.parent": (
        "importlib.machinery.ModuleSpec.parent = property(lambda self: 'patched.' + self.name)\n"
        "import plain\nprint(plain.__package__)"
    ),
    "another ModuleSpec.__init__()": (
        "old = importlib.machinery.ModuleSpec.__init__\n"
        "importlib.machinery.ModuleSpec.__init__ = lambda self, *a, **k: (old(self, *a, **k), setattr(self, 'mine', 1))[0]\n"
        "import plain\nprint(plain.__spec__.mine)"
    ),
    "a spec that lacks an attribute": (
        "for name in ('origin', 'name', 'loader', 'submodule_search_locations', '_set_fileattr', '_cached'):\n"
        "    spec = importlib.util.find_spec('plain')\n    delattr(spec, name)\n"
        "    try:\n        importlib.util.module_from_spec(spec)\n        print(name)\n"
        "    except AttributeError as error:\n"
        "        at, lines = error.__traceback__, []\n"
        "        while at:\n            lines.append((at.tb_frame.f_code.co_name, at.tb_lineno))\n            at = at.tb_next\n"
        "        print(name, error, lines)"
    ),
    "a spec that is changed before its pyc is asked for": (
        "spec = importlib.util.find_spec('plain')\nprint(spec._cached)\nspec.origin = '/somewhere/else.py'\nprint(spec.cached)"
    ),
    "the lines of importlib's functions": (
        "functions = [bootstrap._find_spec, bootstrap.module_from_spec, importlib.machinery.PathFinder.find_spec.__func__]\n"
        "print([sorted({line or 0 for *_, line in f.__code__.co_lines()}) for f in functions])"
    ),
    "a thread module of importlib's own": (
        "import _thread\nother = types.ModuleType('_thread')\nvars(other).update(vars(_thread))\n"
        "other.get_ident = lambda: -_thread.get_ident()\nbootstrap._thread = other\nimport kept\n"
        "print(kept.LOCK.acquire(), kept.LOCK.release())"
    ),
    "the events of one function": (
        "seen = []\n"
        "if hasattr(sys, 'monitoring'):\n"
        "    sys.monitoring.use_tool_id(3, 'tool')\n"
        "    sys.monitoring.register_callback(3, sys.monitoring.events.PY_START, lambda code, at: seen.append(code.co_name))\n"
        "    sys.monitoring.set_local_events(3, bootstrap._init_module_attrs.__code__, sys.monitoring.events.PY_START)\n"
        "import plain\nprint(seen)"
    ),
    "a lazy loader": (
        "spec = importlib.util.find_spec('plain')\nspec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "module = importlib.util.module_from_spec(spec)\nsys.modules['plain'] = module\nspec.loader.exec_module(module)\n"
        "print(type(module).__name__ if 'Lazy' in object.__repr__(module) else 0, module.X)"
    ),
    "all calls that a profiler sees": (
        "seen = []\n"
        "sys.setprofile(lambda f, e, a: seen.append((e, f.f_code.co_name, f.f_lineno)) if 'importlib' in f.f_code.co_filename and e in ('call', 'return') else None)\n"
        "import plain, package.late\nsys.setprofile(None)\nprint([s for s in seen if s[1] not in ('find_spec', 'get_code', 'exec_module', 'create_module', 'cache_from_source')][:40])"
    ),
    "threads of another kind": (
        "import _thread\nident = _thread.get_ident\n_thread.get_ident = lambda: -ident()\n"
        "import locks\nprint(locks.STATE)"
    ),
    "locks of another kind": (
        "import _thread\n"
        "class Lock(bootstrap._ModuleLock):\n    def acquire(self): print(self.name); return super().acquire()\n"
        "bootstrap._ModuleLock = Lock\nimport plain"
    ),
    "a method put into the locks": (
        "old = bootstrap._ModuleLock.acquire\n"
        "bootstrap._ModuleLock.acquire = lambda self: (print(self.name), old(self))[1]\nimport plain"
    ),
    "attributes set in another way": (
        "old = bootstrap._init_module_attrs\n"
        "bootstrap._init_module_attrs = lambda s, m, **k: (print(s.name), old(s, m, **k))[1]\nimport plain"
    ),
    "a name that is no str": (
        "class Name(str):\n    pass\nprint(importlib.import_module(Name('plain')), type(sys.modules['plain'].__name__).__name__)"
    ),
    "names that are odd": (
        "for name in ('', '.', '..', 'a..b', 'plain.x', '\\ud800', 'caf\\u00e9', 'plain\\0'):\n"
        "    try:\n        print(importlib.import_module(name))\n    except Exception as error:\n        print(ascii(repr(error)))"
    ),
    "a subinterpreter": (
        "import _testcapi\nprint(_testcapi.run_in_subinterp('import sys; sys.path.insert(0, ' + repr(sys.path[0]) + ');'\n"
        "    'import json, asyncio, email.message, plain, other; print(plain.X, other.X)'))"
        "\nimport plain\nprint(plain)"
    ),
    "a thread's import while the interpreter ends": (
        "t = threading.Thread(target=importlib.import_module, args=('slow',), daemon=True)\nt.start()\ntime.sleep(0.05)"
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_nobody_can_tell(pair, top, program):
    if program == "a subinterpreter" and pair.run_stock("-c", "import _testcapi; _testcapi.run_in_subinterp").returncode != 0:
        pytest.skip("this Python has no _testcapi.run_in_subinterp()")
    pair.same(*FROZEN, BEGIN.format(top=str(top)) + PROGRAMS[program])


def test_imports_may_be_nested_as_deep_as_with_stock(pair, top):
    deep = top / "deep"
    deep.mkdir(exist_ok=True)
    for n in range(300):
        (deep / f"deep{n}.py").write_text(f"import deep{n + 1}\n")
    (deep / "deep300.py").write_text("")
    pair.daemon.warm(pair.shim, paths=[deep])
    code = BEGIN.format(top=str(deep)) + (
        "for n in range(300, -1, -1):\n"
        "    for name in [name for name in sys.modules if name.startswith('deep')]: del sys.modules[name]\n"
        "    try: importlib.import_module(f'deep{n}')\n"
        "    except RecursionError: break\n"
        "print(300 - n)"
    )
    stock, ours = (int(run(*FROZEN, code, check=True).stdout) for run in (pair.run_stock, pair.run_shim))
    assert 100 < stock <= ours <= stock + 2


def test_what_is_found_is_given_back(pair, top):
    if pair.interpreter.free_threaded:
        pytest.skip("free-threaded Python is left to stock")
    code = BEGIN.format(top=str(top)) + (
        "size = lambda: int(open('/proc/self/statm').read().split()[1]) * 4\n"
        "def find(n):\n    for _ in range(n): importlib.util.find_spec('third'); sys.path_importer_cache.pop(sys.path[0], None)\n"
        "find(10000)\nbefore = size()\nfind(10000)\nprint(size() - before)"
    )
    assert int(pair.run_shim(*FROZEN, code, check=True).stdout) < 1024  # KiB; each was 300 bytes once


def test_they_serve(pair, top):
    """A module that is served: its lock is not importlib's doing, nor is the search for it."""
    if pair.interpreter.free_threaded:
        pytest.skip("free-threaded Python is left to stock")
    code = BEGIN.format(top=str(top)) + (
        "import third\n"  # PathFinder makes the directory's finder
        "done = []\n"
        "class Context(bootstrap._ImportLockContext):\n"
        "    def __enter__(self):\n        done.append('search')\n        return super().__enter__()\n"
        "bootstrap._ImportLockContext = Context\n"
        "import kept\n"
        "if isinstance(bootstrap._module_locks['kept'].__callback__, types.FunctionType): done.append('lock')\n"
        "print(sorted(set(done)))"
    )
    assert pair.run_stock(*FROZEN, code, check=True).stdout == "['lock', 'search']\n"
    assert pair.run_shim(*FROZEN, code, check=True).stdout == "[]\n"
