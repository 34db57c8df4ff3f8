# SPDX-License-Identifier: MIT
"""The builder's regular expressions: which may go into an image, and what they compile to.

What processes report is only a wish. A program is made here, by this interpreter's own `re`, and so is the decision:
an image is seen by others than who reported, so it holds nothing that its own modules do not show to all of them. The
text must be a constant of a module in the image, or put together from constants of one: every letter and digit of it
comes from strings that stand in that module.

What does not compile, warns, depends on the locale, takes long or grows large is left to the processes.
"""

import _sre
import importlib.machinery
import importlib.util
import marshal
import os
import re
import struct
import time

from shimport import snippets
from shimport.trial import Declined, trial

TEXT_MAX = 8192  # bytes; there are few longer ones, and processes report none
CODE_MAX = 16384  # words
COUNT_MAX = 4096  # in one image
BYTES_MAX = 4 << 20  # of them and their programs
ROOM_LEAST = 128 << 10  # what the largest takes

# Processor time for one pattern, and for all of one build.
SECONDS_EACH = 0.25
SECONDS_ALL = 5.0

MODULES = ("re._constants", "re._casefix", "re._parser", "re._compiler", "re")

NEVER = int(re.LOCALE | re.DEBUG | getattr(re, "TEMPLATE", 0))

PERCENT = re.compile(r"%%|%(?:\(\w+\))?[#0\- +]*(?:\d+|\*)?(?:\.\d+)?[sdrxXifcaeEgGuob]")
PERCENT_BYTES = re.compile(PERCENT.pattern.encode())
BRACES = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def compiler():
    """A number for the sources of this interpreter's `re`, and the directory that its package lies in; (0, None) if they
    are not all files in one directory."""
    directory = os.path.dirname(re.__file__)
    sources = []
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return 0, None
        if os.path.dirname(spec.origin) != directory:
            return 0, None
        sources.append(spec.loader.get_data(spec.origin))
    return int.from_bytes(importlib.util.source_hash(b"\0".join(sources)), "little") or 1, os.path.dirname(directory)


def text_of(data, width):
    """The text as re.compile() was given it. Raises Declined for what is no text of that width."""
    if width == 0:
        return data
    if len(data) % width or width not in (1, 2, 4):
        raise Declined("no text")
    try:
        return "".join(map(chr, memoryview(data).cast("BHBI"[width - 1])))
    except ValueError:
        raise Declined("no text") from None


class Module:
    """What a module's code shows of itself."""

    def __init__(self, code):
        self.constants = {constant for constant in snippets.constants(code) if isinstance(constant, (str, bytes))}
        self.fragments = {}  # of a type: {first character: [strings]}

    def shows(self, text):
        return text in self.constants or self.composes(text)

    def composes(self, text):
        """Whether strings of this module, or what stands between the fields of its templates, make up the text, but for
        punctuation. Two letters are no string: many a module has them all."""
        fragments = self.fragments_of(type(text))
        done = [False] * len(text) + [True]  # from there on it is made up
        for at in range(len(text) - 1, -1, -1):
            first = text[at : at + 1]
            done[at] = (done[at + 1] and not first.isalnum()) or any(
                done[at + len(part)] for part in fragments.get(first, ()) if text.startswith(part, at)
            )
        return done[0]

    def fragments_of(self, kind):
        if kind not in self.fragments:
            parts = set()
            for constant in self.constants:
                if type(constant) is kind and len(constant) <= TEXT_MAX:
                    parts.add(constant)
                    parts.update((PERCENT if kind is str else PERCENT_BYTES).split(constant))
                    if kind is str:
                        parts.update(BRACES.split(constant))
            by_first = self.fragments[kind] = {}
            for part in parts:
                if len(part) > 2 or (len(part) == 2 and not part.isalnum()):
                    by_first.setdefault(part[:1], []).append(part)
        return self.fragments[kind]


class Capture:
    """Stands for the module _sre where `re` calls its compile(): keeps the arguments."""

    def __init__(self):
        self.arguments = None

    def __getattr__(self, name):
        return getattr(_sre, name)

    def compile(self, *arguments):
        self.arguments = arguments
        return _sre.compile(*arguments)


def captured(text, flags):
    """The arguments of _sre.compile() that re.compile() comes to. Raises Declined."""
    capture = re._compiler._sre = Capture()
    try:
        with trial(SECONDS_EACH):
            re._compiler.compile(text, flags)
    finally:
        re._compiler._sre = _sre
    return capture.arguments


def program(text, flags):
    """What ImageWriter.add_pattern() takes between a text and its file. Raises Declined."""
    if flags & NEVER:
        raise Declined("its flags")
    if (b"\\N" if isinstance(text, bytes) else "\\N") in text:
        raise Declined("`re` would import unicodedata")
    pattern, made_flags, code, groups, groupindex, indexgroup = captured(text, flags)
    if pattern is not text or made_flags & NEVER or len(code) > CODE_MAX:
        raise Declined("its flags, or its size")
    named = [None] * (groups + 1)
    names = []
    for name, group in groupindex.items():
        named[group] = name
        data = name.encode()
        names.append(struct.pack("<II", group, len(data)) + data + bytes(-len(data) % 4))
    if tuple(named) != indexgroup:
        raise Declined("its groups")
    return flags, made_flags, struct.pack(f"<{len(code)}I", *code), groups, b"".join(names), len(names)


class Patterns:
    """Those of one image, and its snippets."""

    def __init__(self, wanted):
        self.compiler, self.home = compiler()
        self.wanted = {}  # {(text, flags): [files]}, in order
        self.kept = []  # of the image that is replaced
        self.files = set()  # whose code is wanted
        self.codes = {}  # {file: marshalled code}
        self.same = set()  # files that have not changed
        for data, width, flags, files in wanted:
            try:
                self.want(text_of(data, width), flags, [os.fsdecode(file) for file in files])
            except Declined:
                pass

    def want(self, text, flags, files):
        if len(text) <= TEXT_MAX:
            self.wanted.setdefault((text, flags), []).extend(files)
            self.files.update(files)

    def take_over(self, previous):
        """Those of an image that is to be replaced: what the same `re` or the same interpreter made of them, else to be made
        anew."""
        same = previous.compiler() == self.compiler
        number = 0
        while number < COUNT_MAX and (found := previous.pattern(number)) is not None:
            number += 1
            files = found[-1].split("\n")
            if found[1] & snippets.SNIPPET or (same and self.compiler):
                self.kept.append(found)
                self.files.update(files)
            else:
                self.want(found[0], found[1], files)

    def add_module(self, file, code, same):
        """A module of the image: its marshalled code, and whether it has been taken over as it was."""
        if file in self.files:
            self.codes[file] = code
            if same:
                self.same.add(file)

    def forget(self):
        """An image that is full gives up the older half, whoever may have filled it: what is still compiled is reported anew."""
        size = sum(len(pattern[0]) + len(pattern[3]) for pattern in self.kept)
        if self.wanted and (len(self.kept) >= COUNT_MAX or size >= BYTES_MAX - ROOM_LEAST):
            del self.kept[: len(self.kept) // 2]

    def write(self, writer, root_stat):
        """Put all that may go into the image. The `re` must still be the one that was there at first."""
        has_compiler = bool(self.compiler) and compiler()[0] == self.compiler
        if has_compiler:
            writer.set_compiler(self.compiler, os.path.samestat(os.stat(self.home), root_stat))
        room = Room(writer)
        self.forget()
        for pattern in self.kept:
            files = pattern[-1].split("\n")
            if not self.same.issuperset(files):
                self.want(pattern[0], pattern[1], files)
            elif has_compiler or pattern[1] & snippets.SNIPPET:
                room.add(*pattern)
        modules, vocabulary = {}, snippets.Vocabulary()
        end = time.process_time() + SECONDS_ALL
        for (text, flags), files in self.wanted.items():
            if time.process_time() > end or room.is_full():
                break
            try:
                if flags & snippets.SNIPPET:
                    self.add_snippet(room, text, flags, files, vocabulary)
                elif has_compiler and (file := self.shown(text, files, modules)) is not None:
                    room.add(text, *program(text, flags), file)
            except Declined:
                pass

    def add_snippet(self, room, text, flags, files, vocabulary):
        codes = {file: self.codes[file] for file in files if file in self.codes}
        if codes and isinstance(text, str) and vocabulary.shows(text, flags, codes):
            room.add(text, *snippets.program(text, flags), "\n".join(codes))

    def shown(self, text, files, modules):
        """Which of the files shows the text, or None."""
        for file in dict.fromkeys(files):
            if file in self.codes:
                if file not in modules:
                    modules[file] = Module(marshal.loads(self.codes[file]))
                if modules[file].shows(text):
                    return file
        return None


class Room:
    def __init__(self, writer):
        self.writer = writer
        self.count = self.bytes = 0

    def is_full(self):
        return self.count >= COUNT_MAX or self.bytes >= BYTES_MAX

    def add(self, text, asked, flags, code, *rest):
        if not self.is_full() and self.writer.add_pattern(text, asked, flags, code, *rest):
            self.count += 1
            self.bytes += len(text) + len(code)
