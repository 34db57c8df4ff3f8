# SPDX-License-Identifier: MIT
"""The whole standard library, module by module: served, equal to stock's, and without touching a file."""

import json
import re

import harness

PROBE = harness.ROOT / "tests" / "probe.py"

# Imports each module named in the file between two marks that strace shows.
MARKED = """
import os, sys, warnings
warnings.simplefilter("ignore")  # or the lines that are warned of would be read to show them
def mark(name):
    try:
        os.stat("/mark/" + name)
    except OSError:
        pass
for name in open(sys.argv[1]).read().split():
    mark(name)
    __import__(name)
    mark("")
"""

# What a process may do between find and exec: ask for memory, and what the interpreter's own threads do.
MEMORY = {"mmap", "munmap", "mremap", "madvise", "mprotect", "brk", "futex", "rt_sigprocmask", "rt_sigreturn"}


def probe(pair, run, script):
    result = run(PROBE, script, check=True, timeout=300)
    return json.loads(pair.neutral(result.stdout))


def test_every_module_looks_as_stock_made_it(pair):
    script = harness.stdlib_script(pair.interpreter, everything=True)
    stock = probe(pair, pair.run_stock, script)
    shim = probe(pair, pair.run_shim, script)
    assert len(shim["modules"]) > 480
    assert shim["loaded, in order"] == stock["loaded, in order"]
    different = {
        name: (seen, shim["modules"].get(name))
        for name, seen in stock["modules"].items()
        if shim["modules"].get(name) != seen
    }
    assert different == {}
    assert shim == stock


def test_every_pure_module_is_served(pair):
    script = harness.stdlib_script(pair.interpreter, everything=True)
    code = f"""
import importlib.machinery as machinery, json, os, sys
stocks = []
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = machinery.PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is machinery.SourceFileLoader:
            if not os.path.abspath(spec.origin).startswith(sys.prefix):
                stocks.append(name)
        return spec
sys.meta_path.insert(sys.meta_path.index(machinery.PathFinder), Watch)
exec(open({str(script)!r}).read())
print(json.dumps(stocks))
"""
    result = pair.run_shim("-c", code, check=True, timeout=300)
    assert json.loads(result.stdout) == []
    status = pair.status(code=code)
    assert status["active"]
    assert status["served"] > 400
    assert status["stale"] == 0


def test_a_served_import_makes_no_file_system_call(pair, tmp_path):
    names = tmp_path / "names"
    names.write_text("\n".join(harness.stdlib_names(pair.interpreter)))
    script = tmp_path / "marked.py"
    script.write_text(MARKED)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", trace, pair.shim, script, names]
    harness.run(command, env=pair.daemon.env(), check=True, timeout=600)
    stdlib = pair.interpreter.stdlib()
    touched, module = [], None
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r'stat(?:at)?\(.*?"/mark/([^"]*)"', line)
        if found:
            module = found[1] or None
        elif module and f'"{stdlib}' in line and is_import_work(line, stdlib):
            touched.append((module, line))
    assert touched == []


def is_import_work(line, stdlib):
    """Whether a system call is one that an importer makes, and not dlopen or the module's own code."""
    path = re.search(rf'"({re.escape(stdlib)}[^"]*)"', line)[1]
    return path.endswith((".py", ".pyc", "__pycache__")) or "O_DIRECTORY" in line or "getdents" in line


def test_importing_pure_modules_is_only_memory_and_execution(pair, tmp_path):
    """Stricter, for modules that do nothing themselves: between the marks only memory is asked for."""
    quiet = ["json", "argparse", "dataclasses", "difflib", "textwrap", "html.parser", "email.message", "fractions"]
    # What they in turn import from extension modules is loaded first, and the two that do something of their own.
    ask = f"""
import sys, {", ".join(quiet)}
loaded = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
print(*[spec.name for spec in loaded if type(spec.loader).__name__ == "ExtensionFileLoader"])
"""
    extensions = pair.run_stock("-I", "-c", ask, check=True).stdout.split() + ["random", "selectors"]
    names = tmp_path / "names"
    names.write_text("\n".join(quiet))
    script = tmp_path / "marked.py"
    script.write_text("".join(f"import {name}\n" for name in extensions) + MARKED)
    trace = tmp_path / "trace"
    # Isolated: the directory of the script is a path entry like any other, but of no image at the first time.
    command = ["strace", "-f", "-o", trace, pair.shim, "-I", script, names]
    harness.run(command, env=pair.daemon.env(), check=True)
    calls, module = {}, None
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r'stat(?:at)?\(.*?"/mark/([^"]*)"', line)
        if found:
            module = found[1] or None
        elif module:
            calls.setdefault(line.split()[1].partition("(")[0], []).append((module, line))
    assert {name: lines for name, lines in calls.items() if name not in MEMORY} == {}
