# SPDX-License-Identifier: MIT
"""
Compares thawed code with unmarshalled code, to the last field. Run by each interpreter under test:

    python3.x deep_compare.py EXTENSION [--limit N] [--part objects|sample|damage|all]

EXTENSION is the directory of `_thawtest`, see tests/unit/thawtest.c. Every module of the standard library and of
the site directories is frozen, thawed, and compared with two unmarshalled copies: where those two are one object,
an interned name or a small number, the thawed one must be that object; where they are two, it must be a third.
Prints what was compared; exits with 1 at the first difference.
"""

import argparse
import copy
import dis
import gc
import importlib.util
import inspect
import marshal
import os
import pickle
import random
import re
import site
import struct
import sys
import sysconfig
import types
import weakref

# Fields that are objects of the code's own; all others are made when they are asked for.
CODE_OBJECTS = {"co_consts", "co_names", "co_exceptiontable", "co_linetable", "co_name", "co_qualname"}
CODE_FIELDS = [name for name in dir(compile("", "", "exec")) if name.startswith("co_") and name != "co_lnotab"]
CALLED = {"co_lines", "co_positions", "co_branches"}


class Difference(Exception):
    pass


def expect(condition, where, *what):
    if not condition:
        raise Difference(where + ": " + " ".join(repr(thing)[:200] for thing in what))


# --------------------------------------------------------------------------------------------------------------
# What to compare


def source_files():
    directories = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *site.getsitepackages()}
    directories |= {path for path in ("/usr/lib/python3/dist-packages",) if path in sys.path}
    seen = set()
    for directory in sorted(directories):
        for path, below, files in os.walk(directory):
            below.sort()
            for name in sorted(files):
                file = os.path.join(path, name)
                if name.endswith(".py") and file not in seen:
                    seen.add(file)
                    yield file


def marshalled(file):
    """The module's code as an import would unmarshal it, or None if it has none."""
    try:
        with open(importlib.util.cache_from_source(file), "rb") as stream:
            cached = stream.read()
        if cached[:4] == importlib.util.MAGIC_NUMBER and isinstance(marshal.loads(cached[16:]), types.CodeType):
            return cached[16:]
    except (OSError, EOFError, ValueError, TypeError):
        pass
    try:
        with open(file, "rb") as stream:
            return marshal.dumps(compile(stream.read(), file, "exec", dont_inherit=True))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def fresh(string):
    """A string that nothing else refers to: marshal writes one that is shared in another way."""
    return (string + " ")[:-1]


def functions_of(code):
    """The outermost functions of a module."""
    if code.co_flags & inspect.CO_OPTIMIZED:
        yield code
        return
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from functions_of(constant)


# --------------------------------------------------------------------------------------------------------------
# Objects


class Comparison:
    def __init__(self, thawtest):
        self.thawtest = thawtest
        self.objects = 0
        self.codes = 0
        self.versions = set()

    def module(self, thawed, one, other, where):
        # marshal tells one reference from more, and a function's code has one more in a thawed module: so all have.
        kept = [[code, *functions_of(code)] for code in (thawed, one)]
        expect(marshal.dumps(kept[0][0]) == marshal.dumps(kept[1][0]), where, "marshal.dumps differ")
        self.twins, self.taken = {}, set()
        self.equal(thawed, one, other, where)

    def equal(self, thawed, one, other, where):
        self.objects += 1
        expect(type(thawed) is type(one), where, "type", thawed, one)
        if one is other:
            expect(thawed is one, where, "is not the interpreter's", thawed)
            return
        expect(thawed is not one, where, "is the same object", thawed)
        if id(one) in self.twins:
            expect(self.twins[id(one)] == id(thawed), where, "one object in one, two in the other", one)
            return
        expect(id(thawed) not in self.taken, where, "one object for two", thawed)
        self.twins[id(one)] = id(thawed)
        self.taken.add(id(thawed))
        expect(sys.getsizeof(thawed) == sys.getsizeof(one), where, "size", thawed, one)

        if isinstance(one, types.CodeType):
            self.code(thawed, one, other, where)
            return
        if isinstance(one, float):
            expect(struct.pack("d", thawed) == struct.pack("d", one), where, thawed, one)
        elif isinstance(one, complex):
            expect(struct.pack("dd", thawed.real, thawed.imag) == struct.pack("dd", one.real, one.imag), where, thawed)
        elif isinstance(one, tuple):
            expect(len(thawed) == len(one), where, "length", thawed, one)
            for number, items in enumerate(zip(thawed, one, other)):
                self.equal(*items, f"{where}[{number}]")
        elif isinstance(one, frozenset):
            expect(thawed == one and list(thawed) == list(one), where, "order", thawed, one)
        elif isinstance(one, slice):
            for name in ("start", "stop", "step"):
                self.equal(*(getattr(thing, name) for thing in (thawed, one, other)), f"{where}.{name}")
        else:
            expect(isinstance(one, (int, str, bytes)), where, "a type that was not thought of", one)
            expect(thawed == one and hash(thawed) == hash(one) and repr(thawed) == repr(one), where, thawed, one)
        if isinstance(one, str):
            interned = [self.thawtest.is_interned(thing) for thing in (thawed, one)]
            expect(interned[0] == interned[1], where, "interned", thawed, interned)

    def code(self, thawed, one, other, where):
        self.codes += 1
        where = f"{where}:{one.co_qualname}"
        for name in CODE_FIELDS:
            fields = [getattr(code, name) for code in (thawed, one, other)]
            if name in CALLED:
                expect(list(fields[0]()) == list(fields[1]()), where, name)
            elif name in CODE_OBJECTS:
                self.equal(*fields, f"{where}.{name}")
            elif not callable(fields[0]):
                expect(fields[0] == fields[1], where, name, *fields)
        names = [self.thawtest.local_names(code) for code in (thawed, one, other)]
        self.equal(*(pair[0] for pair in names), f"{where}.locals")
        self.equal(*(pair[1] for pair in names), f"{where}.kinds")

        codes = self.thawtest.code_bytes(thawed), self.thawtest.code_bytes(one)
        expect(codes[0] == codes[1], where, "bytecode as it lies in memory")
        if one == other:  # they are not where there is a nan
            expect(thawed == one and hash(thawed) == hash(one), where, "not equal")
        version = self.thawtest.code_version(thawed)
        if version is not None:
            expect(version != 0 and version not in self.versions, where, "co_version", version)
            expect(version != self.thawtest.code_version(one), where, "co_version", version)
            self.versions.add(version)


def compare_objects(thawtest, limit):
    files, codes = [], []
    for file in source_files():
        if limit and len(files) == limit:
            break
        code = marshalled(file)
        if code:
            files.append(file)
            codes.append(code)

    blocks, texts, count = thawtest.freeze(codes)
    thawer = thawtest.Thawer(texts, count)
    comparison = Comparison(thawtest)
    for file, code, block in zip(files, codes, blocks):
        expect(isinstance(block, bytes), file, "declined:", block)
        one, other = marshal.loads(code), marshal.loads(code)
        thawed = thawer.thaw(block, fresh(one.co_filename))
        expect(thawed is not None, file, "refused")
        comparison.module(thawed, one, other, file)
    sizes = sum(map(len, codes)) + 16 * len(codes), sum(map(len, blocks)) + len(texts)
    print(f"objects: {len(files)} modules, {comparison.codes} code objects, {comparison.objects} comparisons;")
    print(f"objects: pycs of {sizes[0]} bytes, frozen {sizes[1]}, ratio {sizes[1] / sizes[0]:.2f}")


# --------------------------------------------------------------------------------------------------------------
# Constants that no library has


CONSTANTS = """
def constants():
    yield 0.0, -0.0, 1e308 * 10, -(1e308 * 10), 0j, -0.0 + 0j, 1.5 - 2.5j
    yield 0, -5, -6, 256, 257, 1024, 1025, 2**30, -2**30, 2**31, 2**59, -2**60, 2**1000, -2**1000, True, None, ...
    yield "", "a", "\\x80", "\\xff", "\\u0100", "\\u20ac", "\\U0001f600", "a b", "a_b", "\\x00", "\\udc80", "\\xe9t\\xe9"
    yield "caf\\xe9 cr\\xe8me", "\\u20ac 5", "\\U0001f600 hello", "\\u20ac", b"", b"a", b"\\x00", b"ab" * 100
    yield (), (1,), ((1, (2, (3, ()))), "x y"), x in {1, 2, 8, 16, 32, 64}, x in {"a", "b c", (1, "d e"), b"f", 1.5}
    yield x[1:2], x[::2], x[1:2, ::3], x[...]
    yield lambda a, /, b, *c, d=1, **e: (a, b, c, d, e)
"""


def compare_lifetimes(thawtest):
    """The code of a module goes after use, its functions stay, and what they left behind was theirs to leave."""
    source = "class C:\n 'a doc string'\n x = (1.5, 'two words', {'three words'})\n def f(self): return self.x, 'a b'\n"
    data = marshal.dumps(compile(source, "made", "exec"))
    blocks, texts, count = thawtest.freeze([data])
    thawer = thawtest.Thawer(texts, count)
    for _ in range(100):
        code = thawer.thaw(blocks[0], "made")
        gone = weakref.ref(code)
        namespace = {}
        exec(code, namespace)
        del code
        gc.collect()
        expect(gone() is None, "lifetimes", "the code of the module stays")
        made = namespace["C"]
        expect(made().f() == ((1.5, "two words", {"three words"}), "a b"), "lifetimes", made().f())
        expect(made.__doc__ == "a doc string", "lifetimes", made.__doc__)
        del made, namespace
        gc.collect()


def compare_constants(thawtest):
    # The first block of a process, and it has nothing for the arena.
    blocks, texts, count = thawtest.freeze([marshal.dumps(compile("x = 'no function'", "made", "exec"))])
    expect(thawtest.Thawer(texts, count).thaw(blocks[0], "made") is not None, "a module without functions")

    nan = compile("x = 1", "made", "exec")
    nan = nan.replace(co_consts=(float("nan"), -0.0, StopIteration, frozenset([float("inf"), -0.0, "a b"]), (b"a",)))
    deep = ()
    for _ in range(90):
        deep = (deep, "x y")
    deep = compile("", "made", "exec").replace(co_consts=(deep, None))
    codes = [marshal.dumps(code) for code in (compile(CONSTANTS, "made", "exec"), nan, deep)]
    blocks, texts, count = thawtest.freeze(codes)
    comparison = Comparison(thawtest)
    thawer = thawtest.Thawer(texts, count)
    for code, block in zip(codes, blocks):
        expect(isinstance(block, bytes), "constants", block)
        one, other = marshal.loads(code), marshal.loads(code)
        comparison.module(thawer.thaw(block, fresh("made")), one, other, "constants")

    deeper = ()
    for _ in range(500):
        deeper = (deeper,)
    nested = compile("", "made", "exec").replace(co_consts=(deeper,))
    inner = compile("def f(): pass", "another", "exec").co_consts[0]
    mixed = compile("", "made", "exec").replace(co_consts=(inner, None))
    blocks, _, _ = thawtest.freeze([marshal.dumps(nested), marshal.dumps(mixed), b"", b"c", marshal.dumps(1)])
    expect(all(isinstance(block, str) for block in blocks), "declined", blocks)
    compare_lifetimes(thawtest)
    print("constants: equal;", len(blocks), "declined:", "; ".join(blocks))


# --------------------------------------------------------------------------------------------------------------
# A sample that is run


def run_json(module):
    text = module["dumps"]({"a": [1, 2.5, None, True, "x\u20ac"], "b": {"c": []}}, indent=1, sort_keys=True)
    return text, module["loads"](text)


SAMPLE = {
    "colorsys": lambda m: [m["rgb_to_hsv"](0.1, 0.5, 0.9), m["hls_to_rgb"](0.3, 0.2, 0.7)],
    "textwrap": lambda m: m["fill"]("It was a dark and stormy night; the rain fell in torrents. " * 5, 31),
    "difflib": lambda m: list(m["unified_diff"](list("abcdefgh"), list("abxdefgyh"), "a", "b")),
    "json": run_json,
    "heapq": lambda m: list(m["merge"]([1, 4, 7], [2, 5], [0, 9], key=lambda x: x)),
    "fractions": lambda m: str(sum((m["Fraction"](1, n) for n in range(1, 9)), m["Fraction"](0))),
    "statistics": lambda m: [m["mean"]([1, 2, 3.5]), m["stdev"]([1, 2, 3.5]), m["mode"]("aab")],
    "shlex": lambda m: m["split"]("a 'b c' \"d e\" f\\ g # h", comments=True),
    "string": lambda m: m["Formatter"]().format("{0!r:>9} {a[b]} {1:05.2f}", "x", 2.5, a={"b": 3}),
    "graphlib": lambda m: list(m["TopologicalSorter"]({"d": ["b", "c"], "b": ["a"], "c": ["a"]}).static_order()),
    "_pydecimal": lambda m: str(m["Decimal"]("2").sqrt() / 7 + m["Decimal"]("1e-10")),
    "ast": lambda m: m["dump"](m["parse"]("def f(x, *y):\n return [z for z in x if z > 1]"), indent=1),
    "copy": lambda m: m["deepcopy"]({"a": [1, (2, [3])]}),
    "keyword": lambda m: m["iskeyword"]("for"),
}


def codes_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def make_module(name, code, file):
    module = types.ModuleType(name)
    module.__dict__.update(__file__=file, __package__=name, __path__=[os.path.dirname(file)])
    exec(code, module.__dict__)
    return module.__dict__


def traced(function, argument, files, start, stop):
    """The result, and what tracing or profiling saw of the module."""
    events = []

    def record(frame, event, value):
        if frame.f_code.co_filename in files:
            kind = type(value).__name__ if event == "c_call" else None
            events.append((event, frame.f_code.co_qualname, frame.f_lineno, frame.f_lasti, kind))
        return record

    start(record)
    try:
        result = function(argument)
    finally:
        stop()
    return result, events


def monitored(function, argument, files):
    monitoring = sys.monitoring
    kinds = [name for name in dir(monitoring.events) if name.isupper() and name not in ("NO_EVENTS", "C_RETURN", "C_RAISE")]
    events = []
    tool = monitoring.DEBUGGER_ID
    monitoring.use_tool_id(tool, "deep_compare")
    for kind in kinds:

        def record(code, *details, kind=kind):
            if code.co_filename in files:
                places = [detail for detail in details if isinstance(detail, int)]
                events.append((kind, code.co_qualname, places))

        monitoring.register_callback(tool, getattr(monitoring.events, kind), record)
    wanted = 0
    for kind in kinds:
        wanted |= getattr(monitoring.events, kind)
    monitoring.set_events(tool, wanted)
    try:
        result = function(argument)
    finally:
        monitoring.set_events(tool, 0)
        for kind in kinds:
            monitoring.register_callback(tool, getattr(monitoring.events, kind), None)
        monitoring.free_tool_id(tool)
    return result, events


def specialised(code):
    """The instructions of all functions, as the specialiser has made them. What ran once is not of interest."""
    return [
        (part.co_qualname, instruction.offset, instruction.opname)
        for part in codes_of(code)
        if part.co_flags & inspect.CO_OPTIMIZED
        for instruction in dis.get_instructions(part, adaptive=True)
    ]


def use_code(thawtest, code, other, where):
    """What programs do with code objects."""
    extra = []
    references = []
    for number, (part, twin) in enumerate(zip(codes_of(code), codes_of(other))):
        expect(thawtest.set_extra(part, number) == number, where, "co_extra")
        replaced = part.replace(co_name="renamed", co_firstlineno=7)
        expect(replaced == twin.replace(co_name="renamed", co_firstlineno=7), where, "replace")
        expect(part.replace() == part and copy.copy(part) is part and copy.deepcopy(part) is part, where, "copy")
        expect({part: 1}[twin] == 1, where, "as a key")
        references.append(weakref.ref(part, extra.append))
        expect(pickle.loads(pickle.dumps(part.co_names)) == twin.co_names, where, "pickle")
        try:
            pickle.dumps(part)
        except TypeError:
            pass
        else:
            raise Difference(where + ": code objects are picklable?")
        listings = [re.sub(" at 0x[0-9a-f]+", "", dis.Bytecode(each).dis()) for each in (part, twin)]
        expect(listings[0] == listings[1], where, "dis")
        gc.get_referents(part, part.co_consts)
        gc.is_tracked(part.co_consts)
        del replaced
    gc.collect()
    gc.freeze()
    gc.unfreeze()
    gc.collect()
    expect(not extra and all(reference() is not None for reference in references), where, "weakref")
    expect(marshal.loads(marshal.dumps(code)) == other, where, "marshal")


def intern_constants(code):
    """Has the interpreter intern strings of the block, of its own accord and for ever."""
    for part in codes_of(code):
        strings = [constant for constant in part.co_consts if type(constant) is str]
        if strings:
            part.replace(co_names=tuple(strings * len(part.co_names))[: len(part.co_names)])
            sys.intern(strings[-1])


def compare_sample(thawtest):
    for name, function in SAMPLE.items():
        spec = importlib.util.find_spec(name)
        data = marshalled(spec.origin)
        blocks, texts, count = thawtest.freeze([data])
        thawed = thawtest.Thawer(texts, count).thaw(blocks[0], spec.origin)
        stock = marshal.loads(data)
        files = {spec.origin, stock.co_filename}
        modules = [make_module(name, code, spec.origin) for code in (stock, thawed)]

        expect(repr(function(modules[0])) == repr(function(modules[1])), name, "result")
        for start, stop in ((sys.settrace, lambda: sys.settrace(None)), (sys.setprofile, lambda: sys.setprofile(None))):
            seen = [traced(function, module, files, start, stop) for module in modules]
            expect(repr(seen[0][0]) == repr(seen[1][0]), name, "result when traced")
            expect(seen[0][1] == seen[1][1], name, "trace")
        if hasattr(sys, "monitoring"):
            seen = [monitored(function, module, files) for module in modules]
            expect(repr(seen[0][0]) == repr(seen[1][0]), name, "result when monitored")
            expect(seen[0][1] == seen[1][1], name, "monitoring events")

        for _ in range(300):
            for module in modules:
                function(module)
        expect(specialised(stock) == specialised(thawed), name, "specialised otherwise")
        use_code(thawtest, thawed, stock, name)
        expect(repr(function(modules[0])) == repr(function(modules[1])), name, "result in the end")
        intern_constants(thawed)
    print("sample:", len(SAMPLE), "modules run, traced, profiled, monitored, specialised")


# --------------------------------------------------------------------------------------------------------------
# Damage


HEADER = struct.Struct("<8I")


def walk(code, depth=0):
    """Touches all that a damaged block may have given; its bytecode is not run."""
    for name in ("co_names", "co_varnames", "co_cellvars", "co_freevars", "co_consts"):
        value = getattr(code, name)
        repr(value) if depth < 3 else None
        sys.getsizeof(value)
    hash(code.co_name), hash(code.co_names), code.co_argcount, code.co_nlocals, len(code.co_linetable)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType) and depth < 20:
            walk(constant, depth + 1)


def damage(generator, block):
    """A copy with a few words changed, mostly where they count."""
    words = list(struct.unpack(f"<{len(block) // 4}I", block))
    for _ in range(generator.choice((1, 1, 1, 2, 5))):
        at = generator.randrange(8) if generator.random() < 0.2 else generator.randrange(len(words))
        words[at] = generator.choice((
            words[at] ^ 1 << generator.randrange(32),
            words[at] + generator.choice((-1, 1, 16, -16)) & 0xFFFFFFFF,
            generator.randrange(1 << 32),
            generator.randrange(len(words)),
            words[generator.randrange(len(words))],
            0,
            0xFFFFFFFF,
        ))
    damaged = struct.pack(f"<{len(words)}I", *words)
    return damaged[: generator.randrange(len(damaged))] if generator.random() < 0.05 else damaged


def compare_damage(thawtest, rounds, seed):
    generator = random.Random(seed)
    codes = [marshal.dumps(compile(CONSTANTS, "made", "exec"))]
    for name in ("keyword", "colorsys", "bisect", "string"):
        codes.append(marshalled(importlib.util.find_spec(name).origin))
    blocks, texts, count = thawtest.freeze(codes)
    outcomes = {"refused": 0, "thawed": 0, "no text": 0}
    if sys.flags.debug or hasattr(sys, "gettotalrefcount"):
        print("damage: not in a debug build, which asserts what content is like")
        return
    for number in range(rounds):
        block = damage(generator, generator.choice(blocks))
        table = damage(generator, texts) if generator.random() < 0.2 else texts
        try:
            thawer = thawtest.Thawer(table, count)
        except OSError:
            outcomes["no text"] += 1
            continue
        code = thawer.thaw(block, "damaged")
        outcomes["refused" if code is None else "thawed"] += 1
        if code is not None:
            walk(code)
        if number % 1000 == 999:
            gc.collect()
    print("damage:", outcomes, "seed", seed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("extension")
    parser.add_argument("--part", default="all")
    parser.add_argument("--limit", type=int, default=0, help="modules; 0: all")
    parser.add_argument("--rounds", type=int, default=10000, help="of damage")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    sys.path.insert(0, options.extension)
    import _thawtest

    why = _thawtest.supported()
    if why:
        print("unsupported:", why)
        return 77
    gc.collect()
    try:
        if options.part in ("all", "objects"):
            compare_constants(_thawtest)
            compare_objects(_thawtest, options.limit)
        if options.part in ("all", "sample"):
            compare_sample(_thawtest)
        if options.part in ("all", "damage"):
            compare_damage(_thawtest, options.rounds, options.seed)
    except Difference as difference:
        print("DIFFERENCE", difference)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
