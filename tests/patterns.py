# SPDX-License-Identifier: MIT
"""
Collects the regular expressions of an interpreter's library, of what is installed beside it, and of CPython's own tests,
as modules that compile them when they are imported:

    python3 tests/patterns.py DIRECTORY COUNT

writes DIRECTORY/room0/patterns0.py and so on, each with a few hundred patterns, at most COUNT in all; and prints how many
there are. Half of them come from test_re, where it is installed: those are the odd ones.
"""

import ast
import os
import pathlib
import random
import sys
import sysconfig
import warnings

EACH = 400  # patterns in a module: a process reports no more than 512
TEXT_MAX = 2000

FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
SUITES = ("test_re.py", "re_tests.py")

MODULE = """\
import re
import warnings

PATTERNS = {patterns}

compiled = []
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for text, flags in PATTERNS:
        try:
            compiled.append(re.compile(text, flags))
        except Exception as error:
            compiled.append(f"{{type(error).__name__}}: {{error}}")
"""


def flags_of(call):
    """The flags of a call, where it spells them out."""
    named = [ast.unparse(part) for part in call.args[1:]] + [ast.unparse(key.value) for key in call.keywords]
    flags = 0
    for text in named:
        for name in text.replace(" ", "").split("|"):
            flags |= {"re.I": 2, "re.IGNORECASE": 2, "re.M": 8, "re.MULTILINE": 8, "re.S": 16, "re.DOTALL": 16,
                      "re.X": 64, "re.VERBOSE": 64, "re.A": 256, "re.ASCII": 256, "re.U": 32}.get(name, 0)
    return flags


def calls(path):
    """(text, flags) of each call of re's in a file that gives them as constants."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:
            if isinstance(node.func.value, ast.Name) and node.func.value.id in ("re", "regex"):
                yield node.args[0].value, flags_of(node)


def constants(path):
    """Every string of a file, with each of some flags: most are patterns, and some do not compile."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and len(node.value) < 120:
            for flags in (0, 2, 64 | 16, 8 | 256, 2 | 256):
                yield node.value, flags


def collected(count):
    found, odd = {}, {}
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    for suite in SUITES:
        for place in ("test", "test/test_re"):
            odd.update(dict.fromkeys(constants(library / place / suite)))
    beside = [pathlib.Path(sysconfig.get_path("purelib")), pathlib.Path("/usr/lib/python3/dist-packages")]
    for directory in dict.fromkeys([library, *beside]):
        for path in sorted(directory.rglob("*.py")):
            if len(found) < count and not {"test", "tests", "lib2to3", "idlelib"} & set(path.parts):
                found.update(dict.fromkeys(calls(path)))
    choose = random.Random(17)
    odd = choose.sample(sorted(odd, key=repr), min(len(odd), count // 2))
    found = sorted(set(found) - set(odd), key=repr)
    return odd + choose.sample(found, min(len(found), count - len(odd)))


def is_good(text):
    return isinstance(text, (str, bytes)) and 0 < len(text) <= TEXT_MAX


def main():
    directory, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    patterns = [(text, flags) for text, flags in collected(count) if is_good(text)]
    for number, start in enumerate(range(0, len(patterns), EACH)):
        room = directory / f"room{number}"
        room.mkdir(parents=True)
        some = patterns[start : start + EACH]
        lines = "[\n" + "".join(f"    ({text!a}, {flags}),\n" for text, flags in some) + "]"
        (room / f"patterns{number}.py").write_text(MODULE.format(patterns=lines))
    print(len(patterns))


if __name__ == "__main__":
    main()
