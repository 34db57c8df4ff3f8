# SPDX-License-Identifier: MIT
"""
Makes the inputs of the fuzz targets, DIRECTORY/TARGET/NAME: golden ones, and those that are wrong in one way that their
name says. Images and blocks come from the builder's own extension and are then changed in place, with the structures as
the headers have them.

    tests/fuzz/make_corpus.py DIRECTORY            with an interpreter that the client was built for
"""

import marshal
import os
import pathlib
import shutil
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SHIMPORT_BUILD", HERE.parent.parent / "build"))
sys.path[:0] = [str(HERE.parent), str(BUILD / "python")]

import _shimport_build as build  # noqa: E402
import wire  # noqa: E402
from structs import Struct, constant  # noqa: E402

ROOT = "/tmp/shimport-fuzz-XXXXXX"  # of the length that the targets' own has: they put theirs in its place
NONE = 0xFFFFFFFF


HEADER = Struct("shared/image.h", "ImageHeader")
DIRECTORY = Struct("shared/image.h", "ImageDirectory")
ENTRY = Struct("shared/image.h", "ImageEntry")
PATTERN = Struct("shared/image.h", "ImagePattern")
DISTRIBUTION = Struct("shared/image.h", "ImageDistribution")
POINT = Struct("shared/image.h", "ImagePoint")
STATE = Struct("shared/staleness.h", "StalenessHeader")
NOTE = Struct("daemon/kept.h", "KeptNote")
STATE_VERSION = constant("shared/staleness.h", "STALENESS_VERSION")
NOTE_VERSION = constant("daemon/kept.h", "KEPT_NOTE_VERSION")

SOURCE = '''
"""A module with something of everything that freeze knows."""
import os as system
from json import loads, dumps as write
NUMBERS = (0, 1, -7, 2**70, -(2**70), 1.5, 2j, True, False, None, ...)
TEXTS = ("a", "name", "not a name", "\\xe4\\xf6", "\\u20ac", "\\U0001f600", b"", b"x", b"bytes")
SET = 3 in {1, 2, 3, "a", (1, 2)}

class Thing:
    value: int = 3
    def method(self, *arguments, key=None, **others):
        inner = lambda n: n + self.value
        try:
            return [inner(n) for n in arguments if n in ("x", "y")]
        finally:
            del key

async def wait(one, /, two=2, *, three):
    async for item in one:
        yield item, two, three
'''


class Packed:
    """A copy of bytes, with named fields of a record in it to read and to set."""

    def __init__(self, data):
        self.data = bytearray(data)

    def record(self, of, at):
        return dict(zip(of.names, struct.unpack_from(of.form, self.data, at)))

    def set(self, of, at, **changes):
        record = self.record(of, at)
        assert changes.keys() <= record.keys()
        struct.pack_into(of.form, self.data, at, *(record | changes).values())
        return self

    @property
    def header(self):
        return self.record(HEADER, 0)

    def set_header(self, **changes):
        return self.set(HEADER, 0, **changes)

    def set_directory(self, number, **changes):
        return self.set(DIRECTORY, self.header["directories_offset"] + number * DIRECTORY.size, **changes)

    def set_entry(self, number, **changes):
        return self.set(ENTRY, self.header["entries_offset"] + number * ENTRY.size, **changes)

    def set_distribution(self, number, **changes):
        return self.set(DISTRIBUTION, self.header["distributions_offset"] + number * DISTRIBUTION.size, **changes)

    def set_point(self, number, **changes):
        return self.set(POINT, self.header["points_offset"] + number * POINT.size, **changes)

    def set_buckets(self, value):
        header = self.header
        for at in range(header["buckets_offset"], header["buckets_offset"] + header["buckets_size"], 4):
            struct.pack_into("<I", self.data, at, value)
        return self


def memfd_bytes(fd):
    with open(fd, "rb") as file:
        return file.read()


def freeze(*sources):
    freezer = build.Freezer()
    blocks = []
    for source in sources:
        block, declined = freezer.add(marshal.dumps(compile(source, "module.py", "exec")))
        assert block, declined
        blocks.append(block)
    return blocks, *freezer.texts()


def make_image(generation=7, dev=0, ino=0, modules=3):
    """A root with modules, a package in it and a package in that, and two distributions."""
    writer = build.ImageWriter()
    (block,), texts, count = freeze(SOURCE)
    root = writer.add_directory("", True, (1, 1, 5), False)
    package = writer.add_directory("package", True, (1, 2, 5), False)
    below = writer.add_directory("package/below", False, (1, 3, 5), True)
    look = {"stat": (10, 20, 30, 5)}
    writer.add_entry(root, "abc", build.KIND_SOURCE, file="abc.py", cached="__pycache__/abc.pyc", frozen=block, **look)
    writer.add_entry(
        root, "package", build.KIND_SOURCE, file="package/__init__.py", package=True, child=package, code=b"N", **look
    )
    writer.add_entry(package, "inner", build.KIND_SOURCE, file="inner.py", code=b"code", validate=True, **look)
    writer.add_entry(package, "below", build.KIND_SOURCE, file="below/__init__.py", package=True, child=below, code=b"N")
    writer.add_entry(below, "deep", build.KIND_SOURCELESS, file="deep.pyc")
    writer.add_entry(root, "zlib", build.KIND_EXTENSION, file="zlib.so")
    writer.add_entry(root, "portion", build.KIND_NAMESPACE, file="portion")
    writer.add_entry(root, "odd", build.KIND_STOCK, file="odd.py", reason="it does not compile")
    info = writer.add_directory("thing-1.dist-info", True, (1, 4, 1), False, True)
    writer.add_entry(root, "thing-1.dist-info", build.KIND_METADATA, file="thing-1.dist-info", child=info)
    writer.add_entry(root, "old.egg-info", build.KIND_FILE, file="old.egg-info", text="Name: old\n", **look)
    writer.add_entry(info, "METADATA", build.KIND_FILE, file="METADATA", text="Name: thing\n", **look)
    writer.add_entry(info, "entry_points.txt", build.KIND_FILE, file="entry_points.txt", text="[x]\na = b\n", **look)
    writer.add_entry(info, "LICENSE", build.KIND_FILE, file="LICENSE")
    points = [("a", "b", "x", "", "", ""), ("c", "d:e [f]", "x", "d", "e", "[f]")]
    writer.add_distribution("thing-1.dist-info", "thing", "thing", points)
    writer.add_distribution("old.egg-info", "old", "", None)
    writer.has_distributions()
    for number in range(modules):
        writer.add_entry(root, f"module{number}", build.KIND_SOURCE, file=f"module{number}.py", code=b"x" * 40, **look)
    names = struct.pack("<II", 1, 4) + b"name" + struct.pack("<II", 2, 5) + b"other\0\0\0"
    writer.add_pattern("(?P<name>a)(?P<other>b)", 2, 34, struct.pack("<9I", *range(9)), 2, names, 2, "abc.py")
    writer.add_pattern(b"bytes", 0, 0, struct.pack("<3I", *range(3)), 0, b"", 0, "package/inner.py")
    writer.add_pattern("\u20ac", 0, 32, struct.pack("<3I", *range(3)), 0, b"", 0, "abc.py")
    writer.set_compiler(0x5678, True)
    writer.set_texts(texts, count)
    return memfd_bytes(writer.seal("tag", os.fsencode(ROOT), generation, dev, ino, 0x1234))


# ---------------------------------------------------------------------------------------------------------


def images():
    golden = make_image()
    yield "golden", golden
    yield "golden-many-modules", make_image(modules=150)
    yield "empty", b""
    yield "one-byte", golden[:1]
    yield "header-cut-short", golden[:100]
    yield "header-alone", golden[: HEADER.size]
    yield "cut-short-by-one", golden[:-1]
    yield "one-byte-too-many", golden + b"\0"
    yield "cut-short-with-its-size-told", Packed(golden[: len(golden) // 2]).set_header(total_size=len(golden) // 2).data
    header = Packed(golden).header
    for name, letter in HEADER.letters().items():
        if name == "magic":
            yield "header-magic", Packed(golden).set_header(magic=b"shimport").data
            continue
        most = 2 ** (8 * struct.calcsize(letter)) - 1
        for word, value in {"0": 0, "plus-one": (header[name] + 1) & most, "most": most, "size": len(golden)}.items():
            yield f"header-{name}-{word}", Packed(golden).set_header(**{name: value}).data
    yield "entries-overlap-header", Packed(golden).set_header(entries_offset=0).data
    yield "buckets-all-of-one-entry", Packed(golden).set_buckets(1).data
    yield "buckets-all-outside", Packed(golden).set_buckets(NONE).data
    yield "buckets-all-empty", Packed(golden).set_buckets(0).data
    yield "directory-path-outside", Packed(golden).set_directory(1, path_offset=NONE).data
    yield "directory-path-without-end", Packed(golden).set_directory(1, path_length=2).data
    yield "directory-entries-outside", Packed(golden).set_directory(0, first_entry=NONE - 1, entry_count=9).data
    yield "directory-entries-all", Packed(golden).set_directory(2, first_entry=0, entry_count=NONE).data
    for number in range(header["entry_count"]):
        yield f"entry-{number}-child-is-root", Packed(golden).set_entry(number, child=0).data
        yield f"entry-{number}-child-outside", Packed(golden).set_entry(number, child=header["directory_count"]).data
    for name, value in {
        "name_offset": NONE, "name_length": NONE, "file_offset": NONE, "file_length": 3, "cached_offset": NONE,
        "reason_length": NONE, "directory": NONE, "child": NONE - 1, "kind": 255, "flags": 255, "code_offset": 2**64 - 1,
        "code_size": 2**64 - 1, "frozen_offset": 2**64 - 16, "frozen_size": 2**63, "file_size": 2**64 - 1,
    }.items():  # fmt: skip
        changed = Packed(golden)
        for number in range(header["entry_count"]):
            changed.set_entry(number, **{name: value})
        yield f"entries-{name}", changed.data
    for name, letter in PATTERN.letters().items():
        for word, value in {"0": 0, "most": 2 ** (8 * struct.calcsize(letter)) - 1, "odd": 5}.items():
            changed = Packed(golden)
            for number in range(header["pattern_count"]):
                changed.set(PATTERN, header["patterns_offset"] + number * PATTERN.size, **{name: value})
            yield f"patterns-{name}-{word}", changed.data
    for word, value in {"one": 1, "outside": NONE, "empty": 0}.items():
        changed = Packed(golden)
        for at in range(header["pattern_buckets_offset"], header["pattern_buckets_offset"] + header["pattern_buckets_size"], 4):
            struct.pack_into("<I", changed.data, at, value)
        yield f"pattern-buckets-{word}", changed.data
    for name in ("name_offset", "key_length", "normalized_offset", "entry", "points_entry", "first_point", "point_count", "flags"):
        yield f"distribution-{name}", Packed(golden).set_distribution(0, **{name: NONE}).data
    for name in ("name_offset", "value_length", "group_offset", "module_length", "attr_offset", "extras_length"):
        yield f"point-{name}", Packed(golden).set_point(1, **{name: NONE}).data


def blocks():
    def whole(block, texts, count):
        return struct.pack("<II", len(texts), count) + texts + block

    sources = {"everything": SOURCE, "empty": "", "one-name": "a", "deep": "x = " + "(" * 40 + "1," + "),0" * 39 + ")"}
    for name, source in sources.items():
        (block,), texts, count = freeze(source)
        yield f"golden-{name}", whole(block, texts, count)
    (block,), texts, count = freeze(SOURCE)
    words = list(struct.unpack(f"<{len(block) // 4}I", block))
    yield "no-input", b""
    yield "texts-longer-than-input", struct.pack("<II", NONE, count) + texts + block
    yield "texts-too-many", whole(block, texts, NONE)
    yield "texts-none", whole(block, b"", 0)
    yield "block-cut-short", whole(block[: len(block) // 2], texts, count)
    yield "block-none", whole(b"", texts, count)
    for at, name in enumerate(["magic", "words", "externals", "objects", "memory", "flags"]):
        for value in {0, 1, words[at] + 1, NONE}:
            changed = words[:at] + [value] + words[at + 1 :]
            yield f"block-{name}-{value if value != NONE else 'most'}", whole(struct.pack(f"<{len(changed)}I", *changed), texts, count)
    for at in range(8, len(words), 3):  # one word in three, to what it would not be
        for what, value in {"most": NONE, "kind": words[at] ^ 3, "passing": words[at] ^ 16}.items():
            changed = words[:at] + [value & NONE] + words[at + 1 :]
            if at < 8 + 3 * 30:
                yield f"word-{at}-{what}", whole(struct.pack(f"<{len(changed)}I", *changed), texts, count)
    for name, at, form, value in [
        ("offset-outside", 0, "<I", NONE), ("length-outside", 4, "<I", NONE), ("width-0", 8, "<B", 0),
        ("width-3", 8, "<B", 3), ("width-4-ascii", 8, "<B", 4), ("flags", 9, "<B", 255),
    ]:  # fmt: skip
        changed = bytearray(texts)
        for number in range(count):
            struct.pack_into(form, changed, number * 12 + at, value)
        yield f"texts-{name}", whole(block, bytes(changed), count)


def configurations():
    yield "golden", (
        b"; a comment\n[daemon]\nSocket=/run/x\nClientPath=/usr/lib/shimport/python\nBuildTimeout=5\nBuildJobs=2\n"
        b"MaxPeers=10\nMaxPeersPerUser=5\nMemoryMax=64M\nWatchLimit=9\nValidate=stat\nValidate=watch /usr/lib/*\n"
        b"GC=freeze\nRegex=off\nSnippets=off\nIdleExit=0\n"
    )
    lines = {
        "unknown-key": b"[daemon]\nNothing=1\n",
        "unknown-section": b"[other]\nSocket=/x\n",
        "before-any-section": b"Socket=/x\n",
        "number-negative": b"[daemon]\nBuildJobs=-1\n",
        "number-too-long": b"[daemon]\nBuildJobs=" + b"9" * 100 + b"\n",
        "number-with-tail": b"[daemon]\nBuildJobs=1x\n",
        "size-overflows": b"[daemon]\nMemoryMax=999999999999999999T\n",
        "size-percent": b"[daemon]\nMemoryMax=100%\n",
        "size-percent-too-much": b"[daemon]\nMemoryMax=101%\n",
        "size-of-unknown-unit": b"[daemon]\nMemoryMax=1Q\n",
        "path-relative": b"[daemon]\nSocket=x\n",
        "path-too-long": b"[daemon]\nSocket=/" + b"x" * 120 + b"\n",
        "twice": b"[daemon]\nSocket=/a\nSocket=/b\n",
        "nul": b"[daemon]\nSocket=/a\0b\n",
        "no-newline": b"[daemon]\nGC=hold",
        "indented": b"[daemon]\nSocket=/a\n  b\n",
        "line-too-long": b"[daemon]\nSocket=/" + b"x" * 5000 + b"\n",
        "section-without-end": b"[daemon\n",
        "byte-order-mark": b"\xef\xbb\xbf[daemon]\nGC=hold\n",
        "not-text": bytes(range(256)),
        "many-rules": b"[daemon]\n" + b"Validate=stat /x*\n" * 300,
        "odd-pattern": b"[daemon]\nValidate=never /[![a-\\\n",
        "empty": b"",
        "empty-value": b"[daemon]\nSocket=\n",
        "equals-alone": b"[daemon]\n=\n",
    }
    yield from lines.items()


# Of fuzz_packet.c.
PEER, BUILDER, CLOSES, BUILDER_CLOSES, TURN = 0, 3, 7, 8, 9
(IN_ROOT, IN_EMPTY, PATH_ONLY, IN_FILE, IN_PIPE, IN_SOCKET, IN_IMAGE, IN_OTHER_IMAGE, IN_UNSEALED, IN_SHORT,
 IN_PROCFS) = range(11)  # fmt: skip


def packets():
    described = {"tag": "tag", "executable": "/usr/bin/python3", "options": ""}

    def step(speaker, data=b"", *beside):
        return bytes([speaker, len(beside), *beside]) + struct.pack("<H", len(data)) + data

    def closes(speaker, number):
        return bytes([speaker, number, *[0] * number, 0, 0])

    def attach(*beside, **changes):
        return step(PEER, wire.attach({**described, **changes}, [ROOT] * len(beside)), *beside)

    def result(image, **fields):
        body = b"".join(wire.field(number, value) for number, value in {1: "tag", 3: 1, 4: 1, 5: 1, **fields}.items())
        return step(BUILDER, wire.field(RESULT, body), *([] if image is None else [image]))

    scan = step(BUILDER, wire.field(SCAN, wire.field(1, "") + wire.field(1, "package")), IN_ROOT, IN_EMPTY)
    progress = step(BUILDER, wire.field(PROGRESS, wire.field(1, 1) + wire.field(2, 2)))
    turn = step(TURN)
    explain = wire.request(
        wire.EXPLAIN, wire.field(1, wire.interpreter(described)) + wire.field(2, wire.field(1, ROOT)) + wire.field(4, "abc")
    )
    warm = wire.request(wire.WARM, wire.field(1, wire.interpreter(described)) + wire.field(2, wire.field(1, ROOT)))
    built = attach(IN_ROOT) + turn + scan + progress + result(IN_IMAGE)
    yield "golden-build-and-attach", built + attach(IN_ROOT) + step(PEER, explain, IN_ROOT)
    yield "golden-warm", step(PEER, warm, IN_ROOT) + turn + scan + progress + result(IN_IMAGE) + turn
    for name, kind in {"barrier": wire.BARRIER, "status": wire.STATUS, "reload": wire.RELOAD, "drop": wire.DROP}.items():
        yield f"golden-{name}", built + step(PEER, wire.request(kind))
    pattern = wire.field(1, 1) + wire.field(2, "a+") + wire.field(3, 1) + wire.field(4, 2) + wire.field(5, "abc.py")
    for name, some in {
        "": pattern, "-without-files": pattern[:-8], "-of-another-image": wire.field(1, 9) + pattern,
        "-outside": pattern[:-8] + wire.field(5, "/abc.py"), "-long": pattern + wire.field(2, "a" * 9000),
        "-odd": pattern + wire.field(3, 2**32 - 1),
    }.items():  # fmt: skip
        reported = step(PEER, wire.request(wire.REPORT, wire.field(8, some) * 3))
        yield f"golden-report-of-patterns{name}", built + reported + reported + turn
    yield "golden-report", built + step(PEER, wire.request(wire.REPORT, wire.field(1, 5) + wire.field(5, 1)))
    wanted = wire.field(1, "/root") + wire.field(2, 1) + wire.field(3, 2) + wire.field(4, "package.module") * 3
    yield "report-of-what-is-wanted", built + step(PEER, wire.request(wire.REPORT, wire.field(6, "tag") + wire.field(7, wanted) * 2))
    yield "two-peers", attach(IN_ROOT, IN_EMPTY) + step(1, wire.attach(described, [ROOT]), IN_ROOT) + closes(CLOSES, 0) + turn
    yield "peer-closes-while-it-waits", step(PEER, warm, IN_ROOT) + turn + closes(CLOSES, 0) + turn + result(IN_IMAGE)
    for beside in range(11):
        yield f"root-is-{beside}", attach(beside)
        yield f"image-is-{beside}", attach(IN_ROOT) + turn + scan + result(beside)
        yield f"scan-of-{beside}", attach(IN_ROOT) + turn + step(BUILDER, wire.field(SCAN, wire.field(1, "")), beside)
    yield "result-without-image", attach(IN_ROOT) + turn + result(None)
    yield "result-with-an-error", attach(IN_ROOT) + turn + step(BUILDER, wire.field(RESULT, wire.field(2, "it failed" * 99)))
    yield "result-twice", attach(IN_ROOT) + turn + scan + result(IN_IMAGE) + result(IN_IMAGE)
    yield "result-before-scan", attach(IN_ROOT) + turn + result(IN_IMAGE)
    yield "scan-without-descriptors", attach(IN_ROOT) + turn + step(BUILDER, wire.field(SCAN, wire.field(1, "")))
    yield "scan-with-odd-paths", attach(IN_ROOT) + turn + step(
        BUILDER, wire.field(SCAN, wire.field(1, "../..") + wire.field(1, b"a\0b") + wire.field(1, "x" * 5000)), 0, 0, 0
    )
    yield "builder-talks-rubbish", attach(IN_ROOT) + turn + step(BUILDER, b"\xff" * 40, IN_IMAGE)
    yield "builder-goes", attach(IN_ROOT) + turn + closes(BUILDER_CLOSES, 0) + turn + attach(IN_ROOT)
    good = wire.attach(described, [ROOT])
    yield "truncated", step(PEER, good[:-3], IN_ROOT)
    yield "no-descriptors", step(PEER, good)
    yield "too-many-descriptors", step(PEER, good, *[IN_ROOT] * 8)
    yield "zeros", step(PEER, b"\0" * 100)
    yield "ones", step(PEER, b"\xff" * 100)
    yield "no-body", step(PEER, wire.field(1, wire.PROTOCOL))
    yield "other-protocol", step(PEER, wire.request(wire.STATUS, protocol=99))
    yield "endless-length", step(PEER, wire.field(1, wire.PROTOCOL) + b"\x12\xff\xff\xff\xff\x0f")
    yield "unknown-request", step(PEER, wire.request(15, b"x"))
    yield "tag-empty", attach(IN_ROOT, tag="")
    yield "tag-too-long", attach(IN_ROOT, tag="x" * 600)
    yield "tag-with-nul", attach(IN_ROOT, tag="a\0b")
    yield "executable-relative", attach(IN_ROOT, executable="python3")
    yield "executable-none", attach(IN_ROOT, executable="")
    yield "options-too-long", attach(IN_ROOT, options="O" * 200)
    yield "path-relative", step(PEER, wire.attach(described, ["x"]), IN_ROOT)
    yield "path-too-long", step(PEER, wire.attach(described, ["/" + "x" * 5000]), IN_ROOT)
    yield "path-empty", step(PEER, wire.attach(described, [""]), IN_ROOT)
    yield "many-roots", step(PEER, wire.attach(described, [ROOT] * 101), *[IN_ROOT] * 8)


def handed():
    image, other, state, other_state, unsealed, directory, in_socket = range(7)

    def one(name, kind, data=b""):
        return bytes([name, kind]) + len(data).to_bytes(3, "little") + data

    def note(executable=b"/bin/sh\0", **changes):
        fields = {"version": NOTE_VERSION, "built_ms": 8, "built_at": 7, "last_attach": 6, "attaches": 5} | changes
        return NOTE.pack(**fields) + executable

    def make_state(of, generation=7, noted=None, bits=0, **changes):
        header = Packed(of).header
        noted = note() if noted is None else noted
        directories, entries = header["directory_count"], header["entry_count"]
        words = (directories + 31) // 32 + (entries + 31) // 32
        body = struct.pack(f"<{words}I", *[bits] * words)
        size = (STATE.size + len(body) + 7) // 8 * 8
        fields = {
            "magic": b"SHIMSTAT", "version": STATE_VERSION, "header_size": STATE.size, "total_size": size + len(noted),
            "generation": generation, "directory_count": directories, "entry_count": entries, "note_size": len(noted),
        } | changes  # fmt: skip
        return (STATE.pack(**fields) + body).ljust(size, b"\0") + noted

    golden = make_image()
    pair = one(0, image, golden)
    yield "golden", pair + one(0, state, make_state(golden))
    yield "golden-two", pair + one(0, state, make_state(golden)) + one(1, image, make_image(8, modules=40)) + one(
        1, state, make_state(make_image(8, modules=40), 8)
    )
    yield "golden-with-bits", pair + one(0, state, make_state(golden, bits=NONE))
    yield "golden-the-other-way-round", one(0, state, make_state(golden)) + pair
    yield "nothing", b""
    yield "image-alone", pair
    yield "state-alone", one(0, state, make_state(golden))
    yield "names-differ", pair + one(1, state, make_state(golden))
    yield "three-of-one-name", pair + one(0, state, make_state(golden)) * 2
    yield "image-twice", pair * 2
    yield "image-of-another-root", one(0, other, golden) + one(0, state, make_state(golden))
    yield "same-root-twice", pair + one(0, state, make_state(golden)) + one(1, image, golden) + one(1, state, make_state(golden))
    yield "unsealed", one(0, unsealed, golden) + one(0, unsealed, make_state(golden))
    yield "directory-and-socket", one(0, directory) + one(0, in_socket)
    yield "state-of-another-generation", pair + one(0, state, make_state(golden, 9))
    yield "state-superseded", pair + one(0, state, make_state(golden, superseded=1))
    for name, value in {"magic": b"shimstat", "version": 1, "header_size": 0, "directory_count": 0, "entry_count": NONE,
                        "note_size": NONE, "total_size": 0}.items():  # fmt: skip
        yield f"state-{name}", pair + one(0, state, make_state(golden, **{name: value}))
    yield "state-cut-short", pair + one(0, other_state, make_state(golden)[:100])
    yield "state-one-byte", pair + one(0, other_state, b"S")
    yield "note-none", pair + one(0, other_state, make_state(golden, noted=b""))
    yield "note-cut-short", pair + one(0, other_state, make_state(golden, noted=note()[:150]))
    yield "note-too-long", pair + one(0, other_state, make_state(golden, noted=note(executable=b"/" * 9000 + b"\0")))
    yield "note-of-another-version", pair + one(0, state, make_state(golden, noted=note(version=NOTE_VERSION + 1)))
    yield "note-validates-oddly", pair + one(0, state, make_state(golden, noted=note(validate=NONE)))
    yield "note-executable-without-end", pair + one(0, other_state, make_state(golden, noted=note(executable=b"/bin/sh!")))
    yield "note-executable-is-gone", pair + one(0, other_state, make_state(golden, noted=note(executable=b"/nonexistent\0")))
    yield "note-options-without-end", pair + one(0, state, make_state(golden, noted=note(options=b"O" * 99)))
    yield "note-validated-without-end", pair + one(0, state, make_state(golden, noted=note(validated=b"v" * 128)))
    for name, changed in images():
        if name.startswith(("header-", "entries-", "directory-", "buckets-")):
            yield f"image-{name}", one(0, image, bytes(changed)) + one(0, state, make_state(golden))


SCAN, PROGRESS, RESULT = 1, 2, 3  # of builder.proto, FromBuilder
TARGETS = {"image": images, "thaw": blocks, "config": configurations, "packet": packets, "kept": handed}


def main():
    for target, make in TARGETS.items():
        directory = pathlib.Path(sys.argv[1]) / target
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name, data in make():
            assert not (directory / name).exists(), name
            (directory / name).write_bytes(bytes(data))


if __name__ == "__main__":
    main()
