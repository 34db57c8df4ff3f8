# SPDX-License-Identifier: MIT
"""The builder: turns one root into one sealed image, then ends.

The daemon starts it as `PYTHON -I -S -B .../builder.py` under the user who owns the root, with a packet socket as
descriptor 3 and an empty memory file for the image as descriptor 4. It compiles, and never executes a module; it writes no file. What it puts into the image is what stock's
FileFinder would find and SourceFileLoader.get_code() would load (importlib/_bootstrap_external.py), as far as that is
beyond doubt: anything else gets an entry of KIND_STOCK with the reason, and the processes ask stock for it.

Everything is opened relative to the root's descriptor, and a directory is listed only after the daemon watches it.

Where the image replaces another, a source that looks the same and whose bit is clear in the old one's state is taken
over with its code as it is. The bit is looked at after the directory was listed: a change that sets it later is in the
daemon's log of this build as well.
"""

import os
import stat
import sys

_CLIENT_DIRECTORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(_CLIENT_DIRECTORY)

import importlib.machinery as machinery

import _shimport_build as build
from shimport import preload, pyc
from shimport.distributions import Distributions
from shimport.patterns import Patterns
from shimport.reading import RACY, LeftOut, Source, fresh_since, is_utf8, reason_of

JOB_FD = 3
IMAGE_FD = 4  # the only memory file that a builder has, for it may make none

# The limits of one image, far above any directory of modules that is one: beyond them the root stays with stock.
MAX_ENTRIES = 500_000
MAX_SOURCE = 64 << 20

# In the order in which FileFinder tries them, see _get_supported_file_loaders().
SUFFIXES = (
    [(suffix, build.KIND_EXTENSION) for suffix in machinery.EXTENSION_SUFFIXES]
    + [(suffix, build.KIND_SOURCE) for suffix in machinery.SOURCE_SUFFIXES]
    + [(suffix, build.KIND_SOURCELESS) for suffix in machinery.BYTECODE_SUFFIXES]
)


class Directory:
    """A directory that is part of the image: the root, a package's, or the metadata of a distribution."""

    __slots__ = (
        "fd", "number", "parent", "name", "path", "previous", "linked", "follow", "watched", "identity", "metadata",
    )  # fmt: skip

    def __init__(self, path, fd, parent=None, name=None, is_link=False, metadata=False):
        self.path = path  # relative to the root
        self.fd = fd
        self.parent = parent
        self.name = name
        self.linked = is_link or bool(parent) and parent.linked  # a link on the way may be made to lead elsewhere
        self.follow = is_link or bool(parent) and parent.follow  # and is one below the root
        self.metadata = metadata  # of a distribution: it holds no modules
        self.watched = True  # what changes in it will be seen
        self.number = None
        self.previous = None  # its number in the image to be replaced
        self.identity = None  # (device, inode), as it was listed


class Job:
    def __init__(self, channel):
        job = channel.job()
        self.channel = channel
        self.root = os.fsdecode(job["path"]).rstrip("/") or "/"
        self.root_fd = job["root"]
        self.root_stat = os.fstat(self.root_fd)
        self.generation = job["generation"]
        self.shared = job["shared"]
        self.validate = job["validate"]
        self.max_entries = job["max_entries"] or MAX_ENTRIES
        self.supplements = job["supplement"]
        self.preload = preload.Preload(
            job["preload"].decode(errors="replace") or "all", job["preload_max"], preload.wanted_names(job["wanted"])
        )
        self.not_to_write = stat.S_IWOTH | (stat.S_IWGRP if self.shared else 0)  # a pyc that may be trusted
        self.writer = build.ImageWriter()
        self.patterns = Patterns(job["patterns"])
        self.previous, self.freezer = self.begin(job["image"], job["state"])
        self.entries = 0
        self.directories = 0
        self.modules = 0
        self.declined = 0
        self.files = []  # (where it stands, directory, name, file, kind, package, status)
        self.links = set()  # (path of a directory, file): those that are symbolic links
        self.seen = set()  # (device, inode) of the directories
        self.inits = {}  # of packages: what code_of() gave for their __init__, until it is needed again
        self.ways = {}  # whether everybody may go through a directory, see check_way()
        self.at = None  # the directory whose files are being read, with its fd open
        self.elsewhere = not self.is_here()
        self.top = os.readlink(f"/proc/self/fd/{self.root_fd}")  # what lies above it is not asked for: who has it open may
        self.fresh = fresh_since()
        self.again = False
        self.distributions = Distributions(self)

    def begin(self, image_fd, state_fd):
        """The image to take over from, if there is one to trust, and a freezer that goes on where it ended."""
        if image_fd >= 0:
            status = self.root_stat
            try:
                previous = build.Previous(
                    image_fd, state_fd, build.tag(), os.fsencode(self.root), status.st_dev, status.st_ino
                )
                self.patterns.take_over(previous)
                return previous, build.Freezer(*previous.texts())
            except ValueError as error:
                print(f"{self.root}: built from nothing, the image to be replaced is not taken: {error}", file=sys.stderr)
        return None, build.Freezer()

    def is_here(self):
        """Whether our path of the root leads to it as well. Not so for a process in another mount namespace: then no
        link can be followed, which might lead to a file of ours that only has the same name."""
        try:
            status = os.stat(self.root)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.root_stat.st_dev, self.root_stat.st_ino)

    def run(self):
        if not self.supplements:
            self.scan()
            self.add_files()
        elif self.previous is None:
            raise LeftOut("there is no image to supplement")
        else:
            preload.supplement(self)
        self.writer.set_texts(*self.freezer.texts())
        self.patterns.write(self.writer, self.root_stat)

    # -- walking ------------------------------------------------------------------------------------------------

    def scan(self):
        """List the root and every package below it, level by level, each directory watched first."""
        level = [Directory("", os.dup(self.root_fd))]
        while level:
            below = []
            for start in range(0, len(level), build.SCAN_MAX):
                batch = self.opened(level[start : start + build.SCAN_MAX])
                watched = self.channel.scan([(os.fsencode(d.path), d.fd) for d in batch])
                for directory, directory.watched in zip(batch, watched):
                    if not directory.watched and self.validate == build.VALIDATE_WATCH:
                        raise LeftOut("no more directories can be watched")
                    if directory.parent is None:
                        directory.linked = self.is_linked()
                    below += self.list(directory)
                    os.close(directory.fd)
                    directory.fd = None
            level = sorted(below, key=lambda directory: directory.linked)  # the real one of two comes first

    def is_linked(self):
        """Whether there is a symbolic link on the way to the root, or the way does not lead there now. The kernel is
        asked for the way to the root itself, once the directories on it are watched: from then on it is told if one of
        them moves. To follow the path would only show what is there at the moment, which may be nothing."""
        return os.readlink(f"/proc/self/fd/{self.root_fd}") != self.root

    def opened(self, directories):
        batch = []
        for directory in directories:
            if directory.fd is None:
                try:
                    directory.fd = self.open_directory(directory)
                except (LeftOut, OSError) as error:
                    reason = f"its directory does not open: {reason_of(error)}"
                    self.leave_out(directory.parent, directory.name, reason)
                    continue
            batch.append(directory)
        return batch

    def open_directory(self, directory):
        """Open it as it was found: by links only where there were some, whatever has been put in its place meanwhile by
        who may write to a directory above it."""
        if directory.follow:
            fd = os.open(directory.path or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.root_fd)
            try:
                self.check_where(fd)
            except BaseException:
                os.close(fd)
                raise
            return fd
        fd = os.dup(self.root_fd)
        for part in directory.path.split("/") if directory.path else ():
            above = fd
            try:
                fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            finally:
                os.close(above)
        return fd

    def list(self, directory):
        """Index what can be imported from a directory; give the packages whose directories come next."""
        status = os.fstat(directory.fd)
        if self.shared and self.is_closed(directory, status.st_mode):
            if directory.parent is None:
                raise LeftOut("some may list the directory and not open what is in it")
            self.leave_out(directory.parent, directory.name, "not everyone may read its directory")
            return []
        if (status.st_dev, status.st_ino) in self.seen:
            self.leave_out(directory.parent, directory.name, "the same directory as another one")
            return []
        directory.identity = status.st_dev, status.st_ino
        self.seen.add(directory.identity)
        with os.scandir(directory.fd) as listing:
            found = {entry.name: entry for entry in listing}

        init = None
        if directory.parent is not None and not directory.metadata:
            try:
                init = self.find_file(found, "__init__")
            except LeftOut:
                pass
            if init is None:  # a link, or it was there a moment ago
                self.leave_out(directory.parent, directory.name, "its __init__ is no file")
                return []
        look = self.directory_look(directory, status)
        directory.number = self.writer.add_directory(
            directory.path,
            True,
            look or (status.st_mtime_ns, status.st_ino, status.st_dev),
            look is not None,
            directory.metadata,
        )
        self.directories += 1
        if directory.metadata:
            self.distributions.list(directory, found)
            return []
        if self.previous is not None:
            directory.previous = self.previous.directory(directory.path)
        if init is not None:
            self.index(directory, directory.parent, directory.name, init, package=True)

        below = []
        if directory.parent is None:
            below += self.distributions.list_root(
                directory, found, lambda name: Directory(name, None, directory, name, metadata=True)
            )
        for name in self.importable(found):
            try:
                if self.is_package(directory, found, name):
                    is_link = found[name].is_symlink()
                    below.append(Directory(os.path.join(directory.path, name), None, directory, name, is_link))
                else:
                    self.index_module(directory, found, name)
            except LeftOut as reason:
                self.leave_out(directory, name, str(reason))
        return below

    @staticmethod
    def is_closed(directory, mode):
        """Whether the directory's mode keeps from its modules somebody whom the daemon gives the image: that is who can
        open the root."""
        if directory.parent is None:
            return (mode >> 2) & ~mode & 0o111 != 0
        return mode & 0o005 != 0o005

    def is_package(self, directory, found, name):
        """Whether a name is a directory to go into. Raises LeftOut for one whose answer may change unseen."""
        entry = found.get(name)
        if name == "__pycache__":
            raise LeftOut("a directory that is not watched")
        if entry is None:
            return False
        if not entry.is_symlink():
            return entry.is_dir() and self.has_init(directory, name)
        try:
            is_package = entry.is_dir() and self.has_init(directory, name)
        except OSError:  # a link that leads to itself
            is_package = False
        if not is_package:  # but it may lead to one some day
            raise LeftOut("a symbolic link")
        self.check_way(os.path.join(self.root, directory.path, name, "__init__"))
        return True

    def directory_look(self, directory, status):
        """What processes compare before they believe what is listed here; None: they need not."""
        if self.validate == build.VALIDATE_NEVER or not (directory.linked or self.is_way_unseen(directory)):
            return None
        if directory.watched or status.st_mtime_ns < self.fresh:
            return status.st_mtime_ns, status.st_ino, status.st_dev
        self.again = True
        return 0, 0, 0

    @staticmethod
    def is_way_unseen(directory):
        """Whether something may become of it, or of a directory above it in this root, without an event."""
        while directory is not None:
            if not directory.watched:
                return True
            directory = directory.parent
        return False

    def index_module(self, directory, found, name):
        file = self.find_file(found, name)
        if name in found and found[name].is_dir():  # nobody would see an __init__ appear in it
            raise LeftOut("a directory without __init__")
        if file is not None:
            self.index(directory, directory, name, file)

    @staticmethod
    def importable(found):
        """The names that an import could look for here, each once. No process can ask an image for one that is not
        UTF-8, and the last part of a module's name holds no dot."""
        names = {}
        for name, entry in found.items():
            if entry.is_symlink() or entry.is_dir():
                names[name] = True
            for suffix, _ in SUFFIXES:
                if name.endswith(suffix):
                    names[name[: -len(suffix)]] = True
        return [name for name in names if name and "." not in name and is_utf8(name)]

    def has_init(self, directory, name):
        for suffix, _ in SUFFIXES:
            try:
                mode = os.stat(f"{name}/__init__{suffix}", dir_fd=directory.fd).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode):
                return True
        return False

    @staticmethod
    def find_file(found, stem):
        """The file that FileFinder would take for a stem: (entry, kind), or None."""
        for suffix, kind in SUFFIXES:
            entry = found.get(stem + suffix)
            if entry is None:
                continue
            try:
                is_file = entry.is_file()
            except OSError:  # a link that leads to itself
                is_file = False
            if is_file:
                return entry, kind
            if entry.is_symlink():  # it may lead to a file one day, and no watch will tell
                raise LeftOut("a symbolic link")
        return None

    # -- entries ------------------------------------------------------------------------------------------------

    def index(self, where, directory, name, file, package=False):
        """Note a file that stands in `where` as what `name` is in `directory`: another one for a package's __init__."""
        self.count()
        entry, kind = file
        try:
            status = entry.stat()
            if entry.is_symlink():
                self.check_way(os.path.join(self.root, where.path, entry.name))
                self.links.add((where.path, entry.name))
        except (LeftOut, OSError) as error:
            self.leave_out(directory, name, reason_of(error), f"{name}/{entry.name}" if package else entry.name)
            return
        self.files.append((where, directory, name, entry.name, kind, package, status))

    def count(self):
        self.entries += 1
        if self.entries > self.max_entries:
            raise LeftOut(f"it holds more than {self.max_entries} names")

    def leave_out(self, directory, name, reason, file=None):
        self.count()
        self.writer.add_entry(directory.number, name, build.KIND_STOCK, file=file or name, reason=reason)

    def add_files(self):
        """Add the entries of all files noted, with the code of those whose code is held."""
        self.preload.count(sum(kind == build.KIND_SOURCE for *_, kind, _, _ in self.files))
        for done, (where, directory, name, file, kind, package, status) in enumerate(self.files):
            if done % 256 == 0:
                self.channel.progress(done, len(self.files))
            entry = {
                "file": f"{name}/{file}" if package else file,
                "package": package,
                "child": where.number if package else None,
            }
            try:
                self.go_to(where)
                if self.is_unseen(where, file, status):
                    if status.st_mtime_ns >= self.fresh:
                        self.again = True
                        raise LeftOut(RACY)
                    entry["validate"] = True
                    entry["stat"] = Source.look(status)
                if kind == build.KIND_SOURCE:
                    entry["cached"] = pyc.path_of(entry["file"])
                    self.add_code(entry, where, directory, name, file, status)
            except (LeftOut, OSError) as error:
                kind = build.KIND_STOCK
                entry["reason"] = reason_of(error)
            self.writer.add_entry(directory.number, name, kind, **entry)
        self.channel.progress(len(self.files), len(self.files))
        self.distributions.add()

    def add_code(self, entry, where, directory, name, file, status):
        if not self.preload.holds(preload.module_name(directory.path, name)):
            self.check(status)
            entry.update(stat=Source.look(status), reason=preload.UNASKED)
            return
        taken = self.taken(directory, name, entry, status)
        entry.update(taken or self.code_once(where, file, name))
        self.patterns.add_module(os.path.join(where.path, file), entry["code"], taken is not None)
        self.declined += bool(entry["reason"])
        self.modules += 1

    def is_unseen(self, where, file, status):
        """Whether a change of the file comes without an event in its directory."""
        if self.validate == build.VALIDATE_NEVER:
            return False
        return not where.watched or status.st_nlink > 1 or (where.path, file) in self.links

    def check_way(self, path):
        """Raises LeftOut for a symbolic link that may not be followed."""
        if self.validate == build.VALIDATE_WATCH:
            raise LeftOut("a symbolic link")
        if self.elsewhere:
            raise LeftOut("a symbolic link, in a mount namespace of its own")
        if self.shared:
            self.check_open(os.path.realpath(path))

    def check_where(self, fd):
        """Likewise, for where a link has led to in the end."""
        if self.shared:
            self.check_open(os.readlink(f"/proc/self/fd/{fd}"))

    def check_open(self, path):
        """Raises LeftOut for what lies below a directory that not everybody may go through: in an image that other users
        see nothing may come from there."""
        directory = path if path == self.top else os.path.dirname(path)
        while directory not in ("/", self.top):
            if directory not in self.ways:
                self.ways[directory] = bool(os.stat(directory).st_mode & stat.S_IXOTH)
            if not self.ways[directory]:
                raise LeftOut("a symbolic link to where not everyone may go")
            directory = os.path.dirname(directory)

    def check(self, status):
        """Raises LeftOut for what is no plain file that may be in this image.

        Rule 2 of the design: an image that other users see holds nothing that not everyone may read, or that others
        than its owner and root may write."""
        if not stat.S_ISREG(status.st_mode):
            raise LeftOut("not a regular file")
        if status.st_nlink > 1 and self.validate == build.VALIDATE_WATCH:
            raise LeftOut("a file with more than one hard link")
        if not self.shared:
            return
        if not status.st_mode & stat.S_IROTH:
            raise LeftOut("not everyone may read it")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise LeftOut("others than its owner may write it")
        if status.st_uid not in (0, self.root_stat.st_uid):
            raise LeftOut("it belongs to another user than its root")

    # -- code ---------------------------------------------------------------------------------------------------

    def go_to(self, where):
        """Have the directory open whose files come next: the very one that was listed."""
        if self.at is where:
            return
        self.leave()
        where.fd = self.open_directory(where)
        self.at = where
        status = os.fstat(where.fd)
        if where.identity not in (None, (status.st_dev, status.st_ino)):
            self.leave()
            raise LeftOut("its directory was replaced")

    def leave(self):
        if self.at is not None:
            os.close(self.at.fd)
            self.at.fd = None
        self.at = None

    def open(self, file, follow=False):
        """Open a file of the directory at hand."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        return os.open(file, flags, dir_fd=self.at.fd)

    def taken(self, directory, name, entry, status):
        """What the image to be replaced knows of a source that has not changed, or None."""
        if directory.previous is None:
            return None
        look = Source.look(status)
        found = self.previous.take(directory.previous, name, entry["file"], *look[:3])
        if found is None:
            return None
        code, frozen, reason, uncached = found
        if uncached and self.is_there(os.path.join(directory.path, entry["cached"])):
            return None
        self.check(status)
        return {"code": code, "frozen": frozen, "reason": reason, "stat": look, "uncached": uncached}

    def is_there(self, path):
        try:
            os.stat(path, dir_fd=self.root_fd)
        except OSError:
            return False
        return True

    def code_once(self, where, file, name):
        """Likewise; a package's __init__ is two entries, one after the other, of the same code."""
        if not file.startswith("__init__."):
            return self.code_of(where, file)
        found = self.inits.pop(where.path, None) or self.code_of(where, file)
        if name != "__init__":
            self.inits[where.path] = found
        return found

    def try_code_of(self, where, file):
        """Likewise, or as a string why there is none."""
        try:
            self.go_to(where)
            return self.code_of(where, file)
        except (LeftOut, OSError) as error:
            return reason_of(error)

    def code_of(self, where, file):
        """What SourceFileLoader.get_code() gives for a source, and what the source looked like."""
        linked = where.follow or (where.path, file) in self.links
        fd = self.open(file, linked)
        try:
            before = os.fstat(fd)
            self.check(before)
            if linked:
                self.check_where(fd)
            if before.st_size > MAX_SOURCE:
                raise LeftOut("too large")
            source = Source(fd, before)
            path = os.path.join(self.root, where.path, file)
            cached_fd = self.open_cached(file)
            data = None if cached_fd is None else pyc.cached(cached_fd, path, source, self.not_to_write)
            uncached = data is None
            if uncached:
                data = pyc.compiled(path, source)
            source.check_unchanged()
        finally:
            os.close(fd)
        frozen, declined = self.freezer.add(data)
        return {"code": data, "frozen": frozen, "reason": declined, "stat": source.look(before), "uncached": uncached}

    def open_cached(self, file):
        """The pyc of a file of the directory at hand, or None if it cannot be opened."""
        try:
            return self.open(pyc.path_of(file), follow=True)
        except OSError:
            return None


def main():
    channel = build.Channel(JOB_FD)
    tag = build.tag()
    try:
        job = Job(channel)
        job.run()
        image = job.writer.seal(
            tag,
            os.fsencode(job.root),
            job.generation,
            job.root_stat.st_dev,
            job.root_stat.st_ino,
            int.from_bytes(os.urandom(8), "little"),
            IMAGE_FD,
        )
    except (LeftOut, OSError, MemoryError) as error:
        channel.finish(tag, str(error) or type(error).__name__, -1, 0, 0, 0, 0, False, False)
        return
    counts = job.directories, job.entries, job.modules, job.declined
    channel.finish(tag, "", image, *counts, job.again, job.preload.learns)


if __name__ == "__main__":
    main()
