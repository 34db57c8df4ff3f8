# SPDX-License-Identifier: MIT
"""The builder's snippets: texts that modules give to exec(), eval() and compile(), and what these compile to.

As with regular expressions (patterns.py) a report is only a wish, and an image holds nothing that its own modules do not
show to everybody who sees it. A text must be a constant of a module that the report names. Or it must be put together
from what these modules show, and the standard library's own that write code: each word, be it a name, a number or in a
string, must be a word of theirs, or put together from such; and nothing but a little punctuation may stand between
the words of a string. There are no comments.

A snippet is compiled, as modules are, and not executed.
"""

import ast
import builtins
import importlib.util
import keyword
import marshal
import re
import types

from shimport.trial import Declined, trial

# The flags of a key, see shared/image.h.
SNIPPET = 1 << 31
EVAL = 1 << 30
FUTURES = 0xFF
FUTURES_SHIFT = 17

SECONDS_EACH = 0.25
CODE_MAX = 64 << 10  # bytes

# Modules of the standard library that write code for others.
WRITERS = ("collections", "dataclasses", "enum", "functools", "typing")

WORD = re.compile(r"\w+")
WORD_MAX = 128  # letters
MADE_MAX = 256  # words of a text that are put together from others
LONG_NUMBER = re.compile(r"(?:\d_?){500}")  # a process may have set a limit, see sys.set_int_max_str_digits()
LANGUAGE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "0", "1"}
BETWEEN = frozenset(" \n\t(),.:;=[]{}<>'\"_-")


class Shown:
    """What a module's code object shows, with all code in it: its strings, and the words of these, of its names and
    numbers."""

    def __init__(self, code):
        self.strings, self.words = set(), set()
        todo = [code]
        while todo:
            constant = todo.pop()
            if isinstance(constant, str):
                self.strings.add(constant)
                self.words.update(WORD.findall(constant))
            elif isinstance(constant, bytes):
                self.strings.add(constant)
            elif isinstance(constant, (int, float)):
                self.words.update(WORD.findall(repr(constant)))
            elif isinstance(constant, (tuple, frozenset)):
                todo += constant
            elif isinstance(constant, types.CodeType):
                self.words.update((constant.co_name, *constant.co_names, *constant.co_varnames, *constant.co_freevars))
                todo += constant.co_consts


def writers_words():
    """The words of the modules that write code, as this interpreter has them."""
    found = set()
    for name in WRITERS:
        try:
            found |= Shown(importlib.util.find_spec(name).loader.get_code(name)).words
        except (ImportError, AttributeError):
            pass
    return found


class Vocabulary:
    """What an image's modules show."""

    def __init__(self):
        self.language = None
        self.of = {}  # {file: Shown}

    def shows(self, text, flags, codes):
        """Whether those modules, {file: marshalled code}, show a text. Raises Declined."""
        if self.language is None:
            self.language = writers_words() | LANGUAGE
        for file in codes.keys() - self.of.keys():
            self.of[file] = Shown(marshal.loads(codes[file]))
        with trial(SECONDS_EACH):
            tree = parsed(text, flags)
            if any(text in self.of[file].strings for file in codes):
                return True
            words = self.language.union(*(self.of[file].words for file in codes))
            strings = set().union(*(self.of[file].strings for file in codes))
            return "#" not in text and are_shown(set(WORD.findall(text)), words) and all(
                is_shown(node.value, words, strings) for node in ast.walk(tree) if isinstance(node, ast.Constant)
            )


def parsed(text, flags):
    """Raises Declined for what would take long to compile: the compiler writes what is finally done once for each way there,
    and so on for what stands in it."""
    tree = ast.parse(text, mode="eval" if flags & EVAL else "exec")
    if sum(bool(getattr(node, "finalbody", None)) for node in ast.walk(tree)) > 1:
        raise Declined("it would take long")
    return tree


def are_shown(wanted, words):
    others = [word for word in wanted if word not in words]
    return len(others) <= MADE_MAX and all(is_made_of(word, words) for word in others)


def is_made_of(word, words):
    """Whether it is put together from some of these, of more than two letters each, but for underscores."""
    if len(word) > WORD_MAX:
        return False
    done = [False] * len(word) + [True]  # from there on it is made up
    for at in range(len(word) - 1, -1, -1):
        done[at] = (done[at + 1] and word[at] == "_") or any(
            done[end] and word[at:end] in words for end in range(at + 3, len(word) + 1)
        )
    return done[0]


def is_shown(constant, words, strings):
    if isinstance(constant, (str, bytes)):
        return constant in strings or (isinstance(constant, str) and BETWEEN.issuperset(WORD.sub("", constant)))
    return constant is None or constant is ... or are_shown(set(WORD.findall(repr(constant))), words)


def program(text, flags):
    """What ImageWriter.add_pattern() takes between a text that is shown and its file. Raises Declined."""
    if not isinstance(text, str) or flags & ~(SNIPPET | EVAL | FUTURES) or LONG_NUMBER.search(text):
        raise Declined("no snippet")
    with trial(SECONDS_EACH):
        code = compile(text, "<string>", "eval" if flags & EVAL else "exec", (flags & FUTURES) << FUTURES_SHIFT, True)
        data = marshal.dumps(code)
    if len(data) > CODE_MAX:
        raise Declined("its size")
    return flags, 0, data + bytes(-len(data) % 4), 0, b"", 0
