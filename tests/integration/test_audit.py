# SPDX-License-Identifier: MIT
"""Auditing, PEP 578: a hook sees of imports what it sees with stock, in that order, and can refuse it."""

import pytest

IMPORTS = """
import argparse, json.tool, email.message, xml.dom.minidom, decimal, wsgiref.util
try: import nothing_of_the_kind
except ImportError: pass
try: import json.nothing
except ImportError: pass
"""

# An import's own event has sys.path_hooks among its arguments, where we show.
SHOW = """
def show(event, args):
    if event == 'import': return event, args[0]
    if event == 'exec': return event, args[0].co_filename
    if event == 'marshal.loads': return event, len(args[0]), hash(args[0])
    if event == 'object.__getattr__': return event, args[1]
    if event == 'builtins.id': return event
    return event, [arg if type(arg) in (str, int, bytes, type(None)) else type(arg).__name__ for arg in args]
"""

WITH_HOOK = SHOW + """
import sys
seen, busy = [], True
sys.addaudithook(lambda event, args: busy and seen.append(show(event, args)))
%s
busy = False
for line in seen: print(line)
"""

WITH_C_HOOK = SHOW + """
import ctypes, sys
seen, busy = [], True
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.py_object, ctypes.c_void_p)
def hook(event, args, data):
    global busy
    if busy:
        busy = False
        if not event.startswith(b'ctypes.'): seen.append(show(event.decode(), args))
        busy = True
    return 0
assert ctypes.pythonapi.PySys_AddAuditHook(hook, None) == 0
%s
busy = False
for line in seen: print(line)
import os; os.sys.stdout.flush(); os._exit(0)
"""

OPEN_CODE = """
import ctypes, io, sys
seen = []
@ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)
def hook(path, data):
    seen.append(path)
    return open(path, 'rb')
assert ctypes.pythonapi.PyFile_SetOpenCodeHook(hook, None) == 0
%s
for line in seen: print(line)
import os; os.sys.stdout.flush(); os._exit(0)
"""

REFUSE = """
import sys
def hook(event, args):
    if event == %r and %r in str(args[0]): raise %s('refused')
sys.addaudithook(hook)
try: import difflib
except BaseException as error: print(type(error), error)
else: print(difflib.__file__)
"""

ENV = {"PYTHONHASHSEED": "0"}


def test_an_audit_hook_sees_the_same_events(pair):
    result = pair.same("-c", WITH_HOOK % IMPORTS, env=pair.daemon.env(**ENV))
    for event in ("open", "marshal.loads", "exec", "import"):
        assert result.stdout.count(f"('{event}'") > 5, result.stdout


def test_a_hook_that_comes_late_sees_the_same_events(pair):
    pair.same("-c", "import email, logging" + WITH_HOOK % IMPORTS, env=pair.daemon.env(**ENV))


def test_a_hook_in_c_sees_the_same_events(pair):
    result = pair.same("-c", WITH_C_HOOK % IMPORTS, env=pair.daemon.env(**ENV))
    assert result.stdout.count("('marshal.loads'") > 5, result.stdout


def test_a_hook_in_place_of_open_code_is_called(pair):
    result = pair.same("-c", OPEN_CODE % IMPORTS)
    assert result.stdout.count(".pyc") > 5, result.stdout


@pytest.mark.parametrize("error", ["RuntimeError", "PermissionError", "OSError", "SystemExit"])
@pytest.mark.parametrize("event", ["open", "os.listdir", "marshal.loads", "exec"])
def test_a_hook_can_refuse(pair, event, error):
    what = {"open": "difflib", "os.listdir": "python3", "marshal.loads": "", "exec": "difflib"}[event]
    pair.same("-c", REFUSE % (event, what, error))


def test_without_a_hook_modules_are_served(pair):
    assert pair.status(code=IMPORTS)["fallback"] == 0
