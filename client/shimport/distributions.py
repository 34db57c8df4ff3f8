# SPDX-License-Identifier: MIT
"""What importlib.metadata finds in a root: its distributions, in the order in which it comes to them, the texts of what
they say of themselves, and their entry points.

Nothing here knows how importlib.metadata does that: the interpreter's own is asked, with a listing in place of a
directory. If it is not as expected, the root has no distributions, and processes ask stock.
"""

import io
import os

import _shimport_build as build
from shimport.reading import RACY, LeftOut, Source, is_utf8, reason_of

SUFFIXES = (".dist-info", ".egg-info")

# What is read of a distribution, as far as importlib.metadata and the installers are concerned, and in which order the
# texts lie in the image: those that are read of all distributions at once before those that are long.
TEXTS = (
    "entry_points.txt",
    "top_level.txt",
    "INSTALLER",
    "WHEEL",
    "direct_url.json",
    "requires.txt",
    "METADATA",
    "PKG-INFO",
    "installed-files.txt",
    "SOURCES.txt",
    "RECORD",
)
MAX_TEXT = 4 << 20


class Listing:
    """What stands for an importlib.metadata.FastPath: its children are their names."""

    def __init__(self, root, names):
        self.root = root
        self.names = names

    def children(self):
        return self.names

    @staticmethod
    def joinpath(child):
        return child


class Nothing:
    """What stands for the path of a distribution that holds no files."""

    def __init__(self, name):
        self.name = name

    def __str__(self):
        return self.name

    def joinpath(self, name):
        raise FileNotFoundError(name)


def normalized(stock, name):
    """Its _normalized_name, or "" if that takes more than the name."""
    try:
        found = stock.PathDistribution(Nothing(name))._normalized_name
    except Exception:
        return ""
    return found if type(found) is str and is_utf8(found) and "\0" not in found else ""


def found_in(stock, root, names):
    """[(name, what it is looked up by)], in order; None if that is more than a list of names can tell."""
    lookup = stock.Lookup(Listing(root, names))
    if lookup.eggs:
        return None
    found = [(name, key) for key, children in lookup.infos.items() for name in children]
    if list(lookup.search(stock.Prepared(None))) != [name for name, _ in found]:
        return None
    return found if all(is_utf8(name) for name, _ in found) else None


def point_of(point):
    """An entry point's attributes as ImageWriter.add_distribution() takes them. KeyError, TypeError: they are others."""
    attributes = dict(vars(point))
    parts = [attributes.pop(name) for name in ("name", "value", "group")]
    if attributes:
        match = vars(attributes.pop("_match"))
        parts += [match["module"], match["attr"] or "", match["extras"] or ""]
        if attributes or len(match) != 3:
            raise KeyError("more attributes than are known")
    else:
        parts += ["", "", ""]
    if not all(type(part) is str and "\0" not in part for part in parts):
        raise TypeError("an attribute that is no text")
    return tuple(parts)


def points_in(stock, text):
    """What entry_points.txt says, or None where stock must say."""
    try:
        return [point_of(point) for point in stock.EntryPoints._from_text(text)]
    except Exception:  # it may well be what stock raises
        return None


class Distributions:
    def __init__(self, job):
        self.job = job
        self.names = []  # all of the root's, as listed
        self.files = []  # (directory, name, status), or None where only the name is of interest
        self.points = {}  # {name in the root: text of its entry_points.txt}; None: stock must read it

    def list_root(self, root, found, make_directory):
        """Note what a root's listing has; gives the metadata directories that come next."""
        self.names = list(found)
        below = []
        for name, entry in found.items():
            if not name.lower().endswith(SUFFIXES) or not is_utf8(name):
                continue
            if entry.is_symlink():
                self.job.leave_out(root, name, "a symbolic link")
            elif entry.is_dir(follow_symlinks=False):
                below.append(make_directory(name))
            else:
                self.points[name] = ""
                self.note(root, entry)
        return below

    def list(self, directory, found):
        """Note what a metadata directory holds, which stands for itself in the root from here on."""
        job = self.job
        job.count()
        self.points[directory.name] = ""
        job.writer.add_entry(
            directory.parent.number, directory.name, build.KIND_METADATA, file=directory.name, child=directory.number
        )
        for name, entry in found.items():
            if is_utf8(name):
                self.note(directory, entry)

    def note(self, directory, entry):
        """Note a file in a metadata directory, or one in the root that is in the place of such a directory."""
        if directory.parent is not None and entry.name not in TEXTS:
            self.job.count()
            self.files.append((directory, entry.name, None))
            return
        try:
            if entry.is_symlink():
                raise LeftOut("a symbolic link")
            self.job.count()
            self.files.append((directory, entry.name, entry.stat(follow_symlinks=False)))
        except (LeftOut, OSError) as error:
            if directory.parent is not None and entry.name == "entry_points.txt":
                self.points[directory.name] = None
            self.job.leave_out(directory, entry.name, reason_of(error))

    def add(self):
        """Add to the image all that was noted."""
        ranks = {name: rank for rank, name in enumerate(TEXTS)}
        read = [(directory, name, *self.read(directory, name, status)) for directory, name, status in self.files]
        for directory, name, kind, entry in sorted(read, key=lambda file: ranks.get(file[1], -1)):
            self.job.writer.add_entry(directory.number, name, kind, file=name, **entry)
        if not any(name.lower().endswith(SUFFIXES) for name in self.names):
            self.job.writer.has_distributions()
            return
        import importlib.metadata as stock

        try:
            found = found_in(stock, self.job.root, self.names)
        except Exception:
            return
        if found is None:
            return
        for name, key in found:
            text = self.points.get(name)
            points = None if text is None else points_in(stock, text)
            self.job.writer.add_distribution(name, key, normalized(stock, name), points)
        self.job.writer.has_distributions()

    def read(self, directory, name, status):
        """(kind, what there is to it) of a file."""
        if status is None:
            return build.KIND_FILE, {}
        is_points = name == "entry_points.txt" and directory.parent is not None
        try:
            entry = self.text_of(directory, name, status)
        except (LeftOut, OSError) as error:
            if is_points:
                self.points[directory.name] = None
            return build.KIND_STOCK, {"reason": reason_of(error)}
        if is_points:
            self.points[directory.name] = entry["text"].decode()
        return build.KIND_FILE, entry

    def text_of(self, directory, name, status):
        """What Path.read_text(encoding="utf-8") gives of a file, and what it looked like."""
        job = self.job
        unseen = job.is_unseen(directory, name, status)
        if unseen and status.st_mtime_ns >= job.fresh:
            job.again = True
            raise LeftOut(RACY)
        job.go_to(directory)
        fd = job.open(name)
        try:
            source = Source(fd, os.fstat(fd))
            job.check(source.status)
            if source.status.st_size > MAX_TEXT:
                raise LeftOut("too large")
            data = source.read()
            source.check_unchanged()
        finally:
            os.close(fd)
        try:
            text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
        except UnicodeDecodeError:
            raise LeftOut("not UTF-8") from None
        return {"text": text.encode(), "stat": Source.look(source.status), "validate": unseen}
