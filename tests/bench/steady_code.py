# SPDX-License-Identifier: MIT
"""
Pure-Python work that goes on after the imports, each piece some 30 ms at a time. It is itself a served module, and so is what
it calls, so that it shows whether thawed code specialises and runs as unmarshalled code does.
"""

import ast
import difflib
import json.decoder
import json.encoder
import json.scanner
import sys
import time

import _pydecimal


def json_dumps_loads():
    """The encoder and decoder without their accelerators."""
    data = [{"name": f"item {i}", "values": list(range(20)), "nested": {"a": None, "b": [1.5, True, "x\n"]}}
            for i in range(60)]
    encoder = json.encoder.JSONEncoder()
    decoder = json.decoder.JSONDecoder()
    decoder.parse_string = json.decoder.py_scanstring
    decoder.scan_once = json.scanner.py_make_scanner(decoder)
    for _ in range(6):
        text = "".join(_iterencode(encoder, data))
        assert decoder.decode(text) == data


def _iterencode(encoder, data):
    return json.encoder._make_iterencode(
        {}, encoder.default, json.encoder.py_encode_basestring_ascii, None, float.__repr__, ": ", ", ", False, False, False
    )(data, 0)


def closures():
    def chain(depth):
        if depth == 0:
            return lambda x: x + 1
        inner = chain(depth - 1)

        def step(x):
            return inner(x) + depth

        return step

    call = chain(30)
    total = 0
    for i in range(12000):
        total += call(i)
    return total


class Base:
    scale = 3

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value * self.scale + OFFSET


OFFSET = 7
CLASSES = [type(f"Class{i}", (Base,), {"scale": i, "get": Base.get}) for i in range(40)]


def attributes():
    objects = [cls(i) for i, cls in enumerate(CLASSES)]
    total = 0
    for _ in range(8000):
        for item in objects:
            total += item.get() + item.scale + OFFSET
    return total


def ast_walking():
    source = "\n".join(f"def f{i}(a, b={i}):\n    return [x + a for x in range(b) if x % 2]" for i in range(250))
    tree = ast.parse(source)
    for _ in range(6):
        sum(1 for _ in ast.walk(tree))
    ast.unparse(tree)


def diffing():
    before = [f"line {i} {i * 7 % 13}" for i in range(300)]
    after = [line if i % 5 else line + "!" for i, line in enumerate(before)]
    for _ in range(3):
        "".join(difflib.unified_diff(before, after))
        difflib.SequenceMatcher(None, " ".join(before[:60]), " ".join(after[:60])).ratio()


def decimals():
    context = _pydecimal.Context(prec=60)
    total = _pydecimal.Decimal(0)
    for i in range(1, 700):
        total = context.add(total, context.divide(_pydecimal.Decimal(1), _pydecimal.Decimal(i)))
    return context.sqrt(total)


# How often each is run at a time, for some 30 ms.
PIECES = {json_dumps_loads: 2, closures: 2, attributes: 1, ast_walking: 1, diffing: 4, decimals: 3}

def serve():
    """Runs the pieces whose names come on stdin, and says how many seconds of the CPU each took."""
    pieces = {piece.__name__: (piece, often) for piece, often in PIECES.items()}
    for line in sys.stdin:
        piece, often = pieces[line.strip()]
        before = time.process_time()
        for _ in range(often):
            piece()
        print(time.process_time() - before, flush=True)
