# SPDX-License-Identifier: MIT
"""
Imports what it is told to and says what came of it, as a line of JSON for each line of JSON.

    race_worker.py CLIENT fork    each answer is given by a child forked before activation, so that it really attaches
    race_worker.py CLIENT stay    activated once; what was imported is forgotten, and the caches are invalidated if a
                                   barrier is asked for
    race_worker.py CLIENT once    answers one line
"""

import importlib
import json
import os
import sys

CLIENT, MODE = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.append(CLIENT)
import _shimport  # noqa: E402

sys.path.remove(CLIENT)
sys.path_importer_cache.pop(CLIENT, None)
STDLIB = list(sys.path)
KEPT = set(sys.modules)


def describe(name):
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        return [type(error).__name__, str(error)]
    spec = module.__spec__
    return [
        getattr(module, "value", None),
        getattr(module, "__file__", None),
        spec.origin,
        spec.cached,
        list(spec.submodule_search_locations or []),
    ]


def answer(question):
    found = [describe(name) for name in question["names"]]
    status = _shimport.status() if question["shim"] else {}
    return json.dumps({"found": found, "counts": [status.get(key, 0) for key in ("served", "fallback", "stale")]})


def begin(question):
    sys.path[:] = question["path"] + STDLIB
    if question["shim"]:
        _shimport.activate()


def forked(question):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    begin(question)
    print(answer(question), flush=True)
    sys.exit()  # a whole end: it is then that a process reports what it wanted


def stayed(question):
    if not sys.path[: len(question["path"])] == question["path"]:
        begin(question)
    for name in set(sys.modules) - KEPT:
        del sys.modules[name]
    if question["barrier"]:
        importlib.invalidate_caches()
    print(answer(question), flush=True)


for line in sys.stdin:
    question = json.loads(line)
    if MODE == "fork":
        forked(question)
    else:
        stayed(question)
    if MODE == "once":
        break
