# SPDX-License-Identifier: MIT
"""
make race: change something, then attach or call the barrier, then import; in the same round stock does the same.

    tests/race.py [--rounds N] [--kills N] [--seed N] [--python PYTHON]

Every kind of change that an import can notice is made to three roots, one of them a git work tree, at random. With
--kills the daemon is killed (SIGKILL) at random points meanwhile and started again. The last line says how many rounds
there were, how many answers were stale and how many errors stock does not raise; the exit status says whether any.
"""

import argparse
import collections
import json
import os
import pathlib
import py_compile
import random
import select
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import harness  # noqa: E402

NAMES = ["m0", "m1", "m2", "m3", "m4"]
PACKAGES = ["p0", "p1", "p2"]
IMPORTED = [*NAMES, *PACKAGES, *(f"{p}.{m}" for p in PACKAGES for m in ("m0", "m1", "sub", "sub.m0")), "tree", "tree.a"]
HANG = 30  # seconds


class Worker:
    """A process that imports, see race_worker.py."""

    def __init__(self, python, env, mode):
        script = harness.ROOT / "tests" / "race_worker.py"
        command = [python, "-I", "-S", "-B", script, harness.BUILD / "python", mode]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
        )
        self.rest = b""

    def ask(self, question):
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        deadline = time.monotonic() + HANG
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError("a process hangs")
            data = self.process.stdout.read(1 << 20)
            if not data:
                raise AssertionError(f"a process ended with {self.process.wait()}")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(HANG)
        self.process.stdout.close()


class Tree:
    """Three roots and what can be done to them."""

    def __init__(self, directory, chance):
        self.random = chance
        self.directory = directory
        self.count = 0
        self.roots = [directory / name for name in ("first", "second", "git")]
        self.aside = directory / "aside"
        self.changes = [getattr(self, name) for name in dir(Tree) if name.startswith("change_")]
        for path in (*self.roots, self.aside):
            path.mkdir(parents=True)
        self.make_git(self.roots[2])
        for root in self.roots[:2]:
            for name in NAMES[:3]:
                self.write(root / f"{name}.py")
            for name in PACKAGES[:2]:
                self.make_package(root / name)

    def text(self):
        self.count += 1
        return f"value = '{self.count:09}'\n"

    def write(self, path):
        path.write_text(self.text())

    def make_package(self, path):
        (path / "sub").mkdir(parents=True)
        for name in ("__init__", "m0", "m1", "sub/__init__", "sub/m0"):
            self.write(path / f"{name}.py")

    def make_git(self, root):
        self.git("init", "-q", "-b", "one")
        for branch in ("one", "two"):
            if branch == "two":
                self.git("checkout", "-q", "-b", branch)
            (root / "tree").mkdir(exist_ok=True)
            (root / "tree" / "__init__.py").write_text(f"value = '{branch}'\n")
            (root / "tree" / "a.py").write_text(f"value = '{branch} a'\n")
            if branch == "two":
                shutil.rmtree(root / "m4", ignore_errors=True)
                (root / "m4.py").write_text("value = 'two m4'\n")
            else:
                (root / "m4").mkdir()
                (root / "m4" / "__init__.py").write_text("value = 'one m4'\n")
            self.git("add", "-A")
            self.git("-c", "user.name=race", "-c", "user.email=race@localhost", "commit", "-qm", branch)

    def git(self, *arguments):
        harness.run(["git", "-C", self.roots[2], *arguments], check=True)

    def root(self):
        return self.random.choice(self.roots[:2])

    def place(self):
        """Somewhere a module may stand, in a package more often than not."""
        packages = [path.parent for path in self.root().glob("p*/**/__init__.py")]
        return self.random.choice([self.root(), *packages])

    def module(self):
        """A source that exists, or None."""
        found = sorted(path for path in self.root().rglob("*.py") if not path.is_dir())
        return self.random.choice(found) if found else None

    def remove(self, path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()

    def spare(self):
        """A path aside that nothing stands at."""
        self.count += 1
        return self.aside / f"spare{self.count}"

    # -- the changes --

    def change_write_in_place(self):
        if module := self.module():
            module.write_text(self.text() + "#" * self.random.randrange(40) + "\n")

    def change_same_size_and_time(self):
        module = self.module()
        if module and not module.is_symlink() and module.stat().st_nlink == 1:
            before = module.stat()
            text = module.read_text()
            new = self.text() + "#" * 100
            module.write_text(new[: max(len(text), 21)])
            os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))

    def change_write_and_rename(self):
        if module := self.module():
            spare = self.spare()
            self.write(spare)
            spare.rename(module)

    def change_delete(self):
        if module := self.module():
            module.unlink()

    def change_create(self):
        self.create(self.place() / f"{self.random.choice(NAMES)}.py")

    def create(self, path):
        self.remove(path)
        self.write(path)

    def change_shadow(self):
        """A module that stands in the second root appears in the first, or goes again."""
        path = self.roots[0] / f"{self.random.choice(NAMES)}.py"
        if path.exists():
            self.remove(path)
        else:
            self.create(path)

    def change_module_to_package_and_back(self):
        name = self.random.choice(NAMES + PACKAGES)
        root = self.root()
        package, module = root / name, root / f"{name}.py"
        if package.exists() or package.is_symlink():
            self.remove(package)
            self.create(module)
        else:
            self.remove(module)
            self.make_package(package)

    def change_directory_renamed_over(self):
        path = self.root() / self.random.choice(PACKAGES)
        spare = self.spare()
        self.make_package(spare)
        if path.is_dir() and not path.is_symlink():
            path.rename(self.spare())
        self.remove(path)
        spare.rename(path)

    def change_file_link(self):
        target = self.spare()
        self.write(target)
        self.age(target)
        path = self.place() / f"{self.random.choice(NAMES)}.py"
        self.remove(path)
        path.symlink_to(target)

    def age(self, path):
        """What changed a moment ago is not validated by stat, but left to stock: so it is made older, now and then."""
        if self.random.randrange(3):
            for below in (path, *path.rglob("*")):
                os.utime(below, (1e9 + self.count, 1e9 + self.count))

    def change_behind_a_link(self):
        links = [path for root in self.roots[:2] for path in root.rglob("*.py") if path.is_symlink() and path.exists()]
        if links:
            target = self.random.choice(links).resolve()
            self.random.choice([lambda: target.write_text(self.text() + "#\n"), target.unlink])()

    def change_directory_link(self):
        target = self.spare()
        self.make_package(target)
        self.age(target)
        path = self.root() / self.random.choice(PACKAGES)
        self.remove(path)
        path.symlink_to(target)

    def change_hard_link(self):
        source = self.spare()
        self.write(source)
        self.age(source)
        path = self.place() / f"{self.random.choice(NAMES)}.py"
        self.remove(path)
        os.link(source, path)

    def change_chmod(self):
        module = self.module()
        if module and module.exists():
            module.chmod(self.random.choice([0, 0o644, 0o600]))

    def change_chmod_directory(self):
        place = self.place()
        place.chmod(self.random.choice([0o700, 0o755]))

    def change_file_to_directory(self):
        path = self.root() / f"{self.random.choice(NAMES)}.py"
        if path.is_dir():
            self.remove(path)
            self.create(path)
        else:
            self.remove(path)
            path.mkdir()

    def change_syntax_error(self):
        if module := self.module():
            module.write_text("value = = 1\n")

    def change_compile(self):
        if module := self.module():
            try:
                py_compile.compile(str(module), doraise=True)
            except (py_compile.PyCompileError, OSError):
                pass

    def change_forget_compiled(self):
        for path in self.root().rglob("__pycache__"):
            shutil.rmtree(path)

    def change_branch(self):
        if self.random.random() < 0.3:
            self.git("checkout", "-q", "-f", self.random.choice(["one", "two"]))

    def change_root(self):
        """The whole root is another directory, or is gone for the time of a round."""
        root = self.root()
        if not self.random.randrange(10):
            spare = self.spare()
            shutil.copytree(root, spare, symlinks=True)
            root.rename(self.spare())
            spare.rename(root)

    def change(self):
        self.random.choice(self.changes)()
        if self.count % 500 == 0:
            for path in self.aside.iterdir():
                if not any(link.resolve() == path for root in self.roots[:2] for link in root.rglob("*") if link.is_symlink()):
                    self.remove(path)


class Race:
    def __init__(self, python, directory, seed):
        self.python = python
        self.random = random.Random(seed)
        # The standard library, of which no image is needed here, would keep each new daemon busy for seconds.
        self.daemon = harness.Daemon(directory / "daemon", config="[daemon]\nBuildTimeout=1\nBuildJobs=4\n").start()
        self.env = self.daemon.env(SHIMPORT_BUDGET_MS=5000)
        self.tree = Tree(directory / "tree", self.random)
        self.fork = Worker(python, self.env, "fork")
        self.stay = None
        self.wrong = []
        self.stock_stale = 0
        self.counts = [0, 0, 0]
        self.ways = collections.Counter()
        self.history = collections.deque(maxlen=6)

    def close(self):
        self.fork.close()
        if self.stay:
            self.stay.close()
        self.daemon.stop()

    def question(self, shim):
        return {"path": [str(root) for root in self.tree.roots], "names": IMPORTED, "shim": shim}

    def ask_shim(self):
        """A process that attaches (most are forked from one that did not), or one that calls the barrier."""
        way = self.random.choices(["fork", "stay", "fresh"], [75, 23, 2])[0]
        self.ways[way] += 1
        if way == "fork":
            return way, self.fork.ask(self.question(True))
        if way == "fresh":
            worker = Worker(self.python, self.env, "once")
            try:
                return way, worker.ask(self.question(True))
            finally:
                worker.close()
        if self.stay and not self.random.randrange(50):
            self.stay.close()
            self.stay = None
        if self.stay is None:
            self.stay = Worker(self.python, self.env, "stay")
        return way, self.stay.ask(self.question(True))

    @staticmethod
    def stock_is_stale(mine, stock):
        """Stock believes a pyc of another source of the same size and second (PEP 552 has only these two to compare).
        So it is where all but the content agrees, ours is what the file holds now, and the pyc is taken for its own."""
        if len(mine) < 5 or mine[1:] != stock[1:]:
            return False
        try:
            source, pyc = pathlib.Path(mine[1]), pathlib.Path(mine[3]).read_bytes()
            status = source.stat()
            seen = (int.from_bytes(pyc[8:12], "little"), int.from_bytes(pyc[12:16], "little"))
            return source.read_text() == f"value = {mine[0]!r}\n" and seen == (int(status.st_mtime), status.st_size)
        except OSError:
            return False

    def round(self):
        if not self.random.randrange(8):  # let an image be built, to be the one that is changed
            time.sleep(0.3 + self.random.random() * 0.3)
        for _ in range(self.random.choice([1, 1, 1, 2, 4])):
            change = self.random.choice(self.tree.changes)
            change()
            self.history.append(change.__name__)
        if not self.random.randrange(10):
            time.sleep(self.random.random() * 0.3)  # let a builder get somewhere
        way, ours = self.ask_shim()
        theirs = self.fork.ask(self.question(False))
        for name, mine, stock in zip(IMPORTED, ours["found"], theirs["found"]):
            if mine != stock and self.stock_is_stale(mine, stock):
                self.stock_stale += 1
            elif mine != stock:
                self.wrong.append((way, name, mine, stock, list(self.history)))
                print("WRONG:", *self.wrong[-1], sep="\n  ", flush=True)
        if way != "stay":
            self.counts = [a + b for a, b in zip(self.counts, ours["counts"])]

    def run(self, rounds, enough=lambda: False):
        done = 0
        while (done < rounds or rounds == 0) and not enough():
            self.round()
            done += 1
            if sys.stderr.isatty() and done % 20 == 0:
                sys.stderr.write(f"\r\033[K{done} rounds, {len(self.wrong)} wrong")
        return done

    def run_kills(self, kills):
        """Rounds go on while the daemon dies and comes back."""
        done = threading.Event()
        chance = random.Random(self.random.random())

        def killer():
            for _ in range(kills):
                time.sleep(chance.random() * 1.2)
                self.daemon.kill()
                time.sleep(chance.random() * 0.1)
                self.daemon.start()
            done.set()

        thread = threading.Thread(target=killer, daemon=True)
        thread.start()
        rounds = self.run(0, done.is_set)
        thread.join()
        return rounds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--python", default=None, help="the first that the client was built for")
    options = parser.parse_args()
    python = options.python or harness.interpreters()[0].executable
    print(f"seed {options.seed}, {python}", flush=True)
    with harness.public_directory() as directory:
        race = Race(python, directory, options.seed)
        began = time.monotonic()
        try:
            rounds = race.run_kills(options.kills) if options.kills else race.run(options.rounds)
        finally:
            race.close()
    served, fallback, stale = race.counts
    ways = ", ".join(f"{n} {way}" for way, n in sorted(race.ways.items()))
    print(f"{time.monotonic() - began:.0f} s; {ways}; {served} modules served, {fallback} by stock, {stale} stale bits heeded")
    print(f"{rounds} rounds, {options.kills} kills: {len(race.wrong)} answers are wrong,"
          f" {race.stock_stale} times stock believed a pyc of another source")
    return 1 if race.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
