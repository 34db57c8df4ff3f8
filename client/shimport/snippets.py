# SPDX-License-Identifier: MIT
"""The builder's snippets: texts that modules give to exec(), eval() and compile(), and what these compile to.

As with regular expressions (patterns.py) a report is only a wish, and an image holds nothing that its own modules do not
show to everybody who sees it. A text must be a constant of a module that the report names. Or it must be put together
from what these modules show, and the standard library's own that write code: each name and number must be a word of
theirs, or put together from such; and a string must be a part of one of theirs, or one word of theirs with a little
punctuation around it. There are no comments.

A snippet is compiled, as modules are, and not executed. Left to the processes is what marshal does not keep as the compiler
makes it (the order of a set's elements), and what the compiler imports a module for (unicodedata).
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

FILENAME = "<snippet>"  # processes put in what they are told, or what exec() and eval() have
WAYS_MAX = 32

WORD = re.compile(r"\w+")
WORD_MAX = 128  # letters
MADE_MAX = 256  # words of a text that are put together from others
LONG_NUMBER = re.compile(r"(?:\d_?){500}")  # a process may have set a limit, see sys.set_int_max_str_digits()
LANGUAGE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "0", "1"}
BETWEEN = frozenset(" \n\t(),.:;=[]{}<>'\"_-")


def constants(code):
    """A code object, its constants, what these hold, and the same of all code in it."""
    todo = [code]
    while todo:
        constant = todo.pop()
        yield constant
        if isinstance(constant, (tuple, frozenset)):
            todo += constant
        elif isinstance(constant, types.CodeType):
            todo += constant.co_consts


class Shown:
    """What a module's code object shows, with all code in it: its strings, and the words of these, of its names and
    numbers."""

    def __init__(self, code):
        self.strings, self.words = set(), set()
        self.add(code)

    def add(self, code):
        for constant in constants(code):
            if isinstance(constant, str):
                self.strings.add(constant)
                self.words.update(WORD.findall(constant))
            elif isinstance(constant, bytes):
                self.strings.add(constant)
            elif isinstance(constant, (int, float)):
                self.words.update(WORD.findall(repr(constant)))
            elif isinstance(constant, types.CodeType):
                self.words.update((constant.co_name, *constant.co_names, *constant.co_varnames, *constant.co_freevars))


def writers():
    """What the modules show that write code, as this interpreter has them, and the language's own words."""
    shown = Shown(None)
    for name in WRITERS:
        try:
            shown.add(importlib.util.find_spec(name).loader.get_code(name))
        except (ImportError, AttributeError):
            pass
    shown.words |= LANGUAGE
    return shown


class Vocabulary:
    """What an image's modules show."""

    def __init__(self):
        self.writers = None  # Shown
        self.of = {}  # {file: Shown}

    def shows(self, text, flags, codes):
        """Whether those modules, {file: marshalled code}, show a text. Raises Declined."""
        if self.writers is None:
            self.writers = writers()
        for file in codes.keys() - self.of.keys():
            self.of[file] = Shown(marshal.loads(codes[file]))
        with trial(SECONDS_EACH):
            tree = parsed(text, flags)
            if any(text in self.of[file].strings for file in codes):
                return True
            shown = [self.writers, *(self.of[file] for file in codes)]
            words = set().union(*(one.words for one in shown))
            strings = set().union(*(one.strings for one in shown))
            return "#" not in text and are_shown(set(WORD.findall(text)), words) and all(
                is_shown(node.value, words, strings) for node in ast.walk(tree) if isinstance(node, ast.Constant)
            )


def parsed(text, flags):
    """Raises Declined for what would take long to compile: what is finally done, and what leaves a `with`, is written once for
    each way there, and so on for what stands in it."""
    tree = ast.parse(text, mode="eval" if flags & EVAL else "exec")
    ways = finals = managers = 0
    for node in ast.walk(tree):
        ways += isinstance(node, (ast.Return, ast.Break, ast.Continue))
        finals += bool(getattr(node, "finalbody", None))
        managers += isinstance(node, ast.withitem)
    if finals > 1 or (ways + 1) * (finals + managers) > WAYS_MAX:
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
    if isinstance(constant, str):
        found = WORD.findall(constant)
        if len(found) <= 1 and words.issuperset(found) and BETWEEN.issuperset(WORD.sub("", constant)):
            return True
        return any(constant in string for string in strings if isinstance(string, str))
    if isinstance(constant, bytes):
        return constant in strings
    return constant is None or constant is ... or are_shown(set(WORD.findall(repr(constant))), words)


def only_searches(tree):
    """Whether sets are there for something to be looked for in them, and of strings, whose order is random anyway."""
    searched = {
        id(right)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for operator, right in zip(node.ops, node.comparators)
        if isinstance(operator, (ast.In, ast.NotIn))
    }
    return all(
        id(node) in searched and all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in node.elts)
        for node in ast.walk(tree)
        if isinstance(node, ast.Set)
    )


def program(text, flags):
    """What ImageWriter.add_pattern() takes between a text that is shown and its file. Raises Declined."""
    if not isinstance(text, str) or flags & ~(SNIPPET | EVAL | FUTURES) or LONG_NUMBER.search(text):
        raise Declined("no snippet")
    if not text.isascii() or "\\N" in text:
        raise Declined("the compiler would import unicodedata")
    with trial(SECONDS_EACH):
        code = compile(text, FILENAME, "eval" if flags & EVAL else "exec", (flags & FUTURES) << FUTURES_SHIFT, True)
        has_sets = any(isinstance(constant, frozenset) and len(constant) > 1 for constant in constants(code))
        if has_sets and not only_searches(parsed(text, flags)):
            raise Declined("marshal would change the order of a set")
        data = marshal.dumps(code)
    if len(data) > CODE_MAX:
        raise Declined("its size")
    return flags, 0, data + bytes(-len(data) % 4), 0, b"", 0
