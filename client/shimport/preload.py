# SPDX-License-Identifier: MIT
"""For the builder: whose code an image holds (Preload=), and how an image is made of another one when nothing has
changed but what processes have asked for."""

import os

# What processes have asked for comes as a file, which the daemon keeps below this.
WANTED_SIZE_MAX = 4 << 20

UNASKED = "nobody has asked for it"


def wanted_names(fd):
    """The names of the daemon's file, which is closed."""
    if fd < 0:
        return []
    with open(fd, "rb") as file:
        names = file.read(WANTED_SIZE_MAX).split(b"\0")
    return [name.decode(errors="replace") for name in names if name]


class Preload:
    """Whether an image holds the code of a module."""

    def __init__(self, words, limit, wanted):
        self.words = words.split(",")
        self.limit = limit
        self.wanted = frozenset(wanted)
        self.patterns = None
        self.all = "all" in self.words
        self.learns = "used" in self.words
        patterns = [word for word in self.words if word not in ("all", "used")]
        if patterns:
            import fnmatch
            import re

            self.patterns = re.compile("|".join(map(fnmatch.translate, patterns)))

    def count(self, modules):
        """So many modules there are: too many for the code of all."""
        if self.all and modules > self.limit:
            self.all = False
            self.learns = True

    def holds(self, name):
        if self.all:
            return True
        if self.learns and name in self.wanted:
            return True
        return self.patterns is not None and self.patterns.match(name) is not None


def module_name(directory, name):
    """Below the root, with dots."""
    return f"{directory}/{name}".replace("/", ".") if directory else name


class Where:
    """A directory that is not listed again. What it leads to now is believed only for files that are the very same."""

    follow = True
    identity = None
    fd = None

    def __init__(self, path):
        self.path = path


def supplement(job):
    """Makes the next image of the one before it: the same index, by the same numbers, with the code that is wanted
    now. The bits of the one before it are those of the next one, so whatever changes meanwhile, and whatever else has
    come in the place of a file, is known to be stale; and what looks otherwise than the index says gets no code."""
    previous = job.previous
    job.directories, job.entries = job.writer.take_index(previous)
    numbers = set()
    for number, name in previous.coded():
        if job.preload.holds(name):
            numbers.add(number)
        else:
            job.writer.set_code(number, reason=UNASKED)
    for name in job.preload.wanted:
        directory, _, tail = name.rpartition(".")
        numbers.add(previous.number(directory.replace(".", "/"), tail))
    numbers.discard(None)
    for done, number in enumerate(sorted(numbers)):
        if done % 256 == 0:
            job.channel.progress(done, len(numbers))
        add_code(job, number, *previous.entry(number))


def add_code(job, number, directory, file, cached, look, code, frozen, reason, uncached):
    same = bool(code)
    if not code or (uncached and job.is_there(os.path.join(directory, cached))):
        below, _, tail = os.path.join(directory, file).rpartition("/")
        found = job.try_code_of(Where(below), tail)
        if isinstance(found, str):
            job.writer.set_code(number, reason=found)
            return
        if found["stat"] != look:
            return
        code, frozen, reason, uncached = found["code"], found["frozen"], found["reason"], found["uncached"]
    job.patterns.add_module(os.path.join(directory, file), code, same)
    job.modules += 1
    job.declined += bool(reason)
    job.writer.set_code(number, code=code, frozen=frozen, reason=reason, uncached=uncached)
