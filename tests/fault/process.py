# SPDX-License-Identifier: MIT
"""
Imports with shimport while the Nth call of its extension fails, N = 1, 2, ... until none is left; each time in a child
that is forked before shimport is loaded, which is asked what it sees. The last line is JSON: what differed from what
CPython alone gives, and how many calls there were. Run by tests/fault/test_process_faults.py, with fault.c in front.

    python3 -I -S process.py '{"control": ..., "extension": ..., "kinds": ..., ...}'
"""

import ctypes
import importlib.machinery
import json
import mmap
import os
import struct
import sys

OPTIONS = json.loads(sys.argv[1])
FORM = "<IIIiQQQ40s"
MODULES = ["html.parser", "argparse", "email.message", "xml.etree.ElementTree", "unittest.mock"]
if OPTIONS["kinds"] & 4:  # there are many such calls, and they take time
    del MODULES[1:]
ACTIVATION = 500  # calls, about, in which more can be left half done than in those that follow
LATE = ["late_module", "late_package.inner"]


def fds():
    """Those of this process, but for the one that lists them."""
    return sorted(os.listdir("/proc/self/fd"))[:-1]


def activate():
    """As the line in a .pth file does it."""
    import _frozen_importlib as bootstrap
    import _frozen_importlib_external as external

    try:
        loader = external.ExtensionFileLoader("_shimport", OPTIONS["extension"])
        bootstrap._load(bootstrap.spec_from_loader("_shimport", loader)).activate()
    except Exception:
        pass


def spec_of(module):
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return repr(module)
    loader = repr(type(spec.loader)).replace("_shimport.SourceFileLoader", "_frozen_importlib_external.SourceFileLoader")
    return [spec.name, spec.origin, spec.cached, spec.parent, str(spec.submodule_search_locations), loader, sorted(vars(module))]


def see(shim):
    before, open_before = set(sys.modules), len(fds())
    if shim:
        activate()
    for name in MODULES:
        __import__(name)
    sys.path.append(OPTIONS["late"])
    importlib.invalidate_caches()
    for name in LATE:
        __import__(name)
    missing = []
    for name in ("no_such_module", "late_package.no_such_module"):
        try:
            __import__(name)
        except ImportError as error:
            missing.append(str(error))
    loaded = [name for name in sys.modules if name not in before and name != "_shimport"]
    return {
        "loaded": loaded,
        "specs": [spec_of(sys.modules[name]) for name in loaded],
        "missing": missing,
        "fds": len(fds()) - open_before,
        "served": sys.modules["_shimport"].status()["served"] if "_shimport" in sys.modules and shim == "count" else 0,
    }


def fork(shim):
    """What a child sees, as it ends: (its exit status, what it wrote). Only the child returns None."""
    out_read, out_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out_read)
        os.dup2(out_write, 1)
        os.dup2(out_write, 2)
        os.close(out_write)
        print(json.dumps(see(shim)), flush=True)
        return None
    os.close(out_write)
    with open(out_read, errors="backslashreplace") as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def main():
    with open(OPTIONS["control"], "r+b") as file:
        control = mmap.mmap(file.fileno(), struct.calcsize(FORM))
    if OPTIONS["kinds"] & 4:
        ctypes.PyDLL(None).fault_python()
    stock = fork(None)
    if stock is None:
        return
    counted = fork("count")
    if counted is None:
        return
    assert counted[0] == 0, counted
    assert json.loads(counted[1])["served"] > len(MODULES), counted
    at, failed, calls, wrong = OPTIONS["first"], 0, {}, []
    while True:
        control[:] = struct.pack(FORM, 1, OPTIONS["kinds"], OPTIONS["mode"], OPTIONS["error"], at, 0, 0, b"")
        ended = fork("shim")
        if ended is None:
            return
        *_, count, more, last = struct.unpack(FORM, control)
        control[:4] = struct.pack("<I", 0)
        if ended != stock:
            wrong.append([at, last.rstrip(b"\0").decode(), *ended])
        if not more:
            break
        failed += more
        last = last.rstrip(b"\0").decode()
        calls[last] = calls.get(last, 0) + 1
        at += OPTIONS["step"] if at > ACTIVATION else min(OPTIONS["step"], 9)
    print(json.dumps({"stock": stock, "wrong": wrong, "count": count, "failed": failed, "calls": calls}))


main()
