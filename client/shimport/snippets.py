# SPDX-License-Identifier: MIT
"""The builder's snippets: texts that modules give to exec(), eval() and compile(), and what these compile to.

As with regular expressions (patterns.py) a report is only a wish, and an image holds nothing that its own modules do not
show to everybody who sees it: each word of a text must be a name or stand in a string of the modules that the report
names, or of the standard library's own that write code, or be put together from such words; or be one of the language's.

A snippet is compiled, as modules are, and not executed.
"""

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
LONG_NUMBER = re.compile(r"\d{500}")  # a process may have set a limit, see sys.set_int_max_str_digits()
LANGUAGE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *"0123456789"}


def words_of(code):
    """The names of a code object and the words of its strings and numbers, with those of all code in it."""
    found, todo = set(), [code]
    while todo:
        constant = todo.pop()
        if isinstance(constant, str):
            found.update(WORD.findall(constant))
        elif isinstance(constant, int):
            found.add(str(abs(constant)))
        elif isinstance(constant, (tuple, frozenset)):
            todo += constant
        elif isinstance(constant, types.CodeType):
            found.update((constant.co_name, *constant.co_names, *constant.co_varnames, *constant.co_freevars))
            todo += constant.co_consts
    return found


def writers_words():
    """Those of the modules that write code, as this interpreter has them."""
    found = set()
    for name in WRITERS:
        try:
            spec = importlib.util.find_spec(name)
            found |= words_of(spec.loader.get_code(name))
        except (ImportError, AttributeError):
            pass
    return found


class Vocabulary:
    """The words that an image's modules show."""

    def __init__(self):
        self.writers = None
        self.of = {}  # {file: words}

    def shows(self, text, codes):
        """Whether those modules, {file: marshalled code}, show a text."""
        if self.writers is None:
            self.writers = writers_words() | LANGUAGE
        sets = [self.writers]
        for file, code in codes.items():
            if file not in self.of:
                self.of[file] = words_of(marshal.loads(code))
            sets.append(self.of[file])
        return all(is_made_of(word, sets) for word in set(WORD.findall(text)))


def is_made_of(word, sets):
    """Whether it is a word of these, or put together from some, but for underscores: of more than two letters each."""
    if any(word in words for words in sets):
        return True
    done = [False] * len(word) + [True]  # from there on it is made up
    for at in range(len(word) - 1, -1, -1):
        done[at] = (done[at + 1] and word[at] == "_") or any(
            done[end] and any(word[at:end] in words for words in sets) for end in range(at + 3, len(word) + 1)
        )
    return done[0]


def program(text, flags):
    """What ImageWriter.add_pattern() takes between a text and its file. Raises Declined."""
    if not isinstance(text, str) or flags & ~(SNIPPET | EVAL | FUTURES) or LONG_NUMBER.search(text):
        raise Declined("no snippet")
    with trial(SECONDS_EACH):
        code = compile(text, "<string>", "eval" if flags & EVAL else "exec", (flags & FUTURES) << FUTURES_SHIFT, True)
        data = marshal.dumps(code)
    if len(data) > CODE_MAX:
        raise Declined("its size")
    return flags, 0, data + bytes(-len(data) % 4), 0, b"", 0
