# SPDX-License-Identifier: MIT
"""
make race: change something, then attach or call the barrier, then import; in the same round stock does the same.

    tests/race.py [--rounds N] [--kills N] [--seed N] [--python PYTHON] [--validate stat] [--preload used] [--user UID]

Every kind of change that an import can notice is made at random to four roots, one of them a git work tree with two
branches of packages of the standard library, and one the site-packages of a virtual environment that pip installs into.
With --kills the daemon is killed (SIGKILL) at random points meanwhile and started again. Started by root, half of it is
run as an ordinary user, at the same time: root may read what has lost its permissions. The last line says how many
rounds there were, how many answers were stale and how many errors stock does not raise; the exit status says whether
any.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import harness  # noqa: E402
import wire  # noqa: E402
from race_tree import IMPORTED, Tree  # noqa: E402

REAL_AT_ONCE = 3  # modules of the real tree that a round imports
HANG = 30  # seconds
LATE = 0.1  # seconds after which a change is seen without asking
QUIET = 50  # modules that nobody changes
AGAIN_PAUSE = 0.005
AGAIN_SLACK = 0.5  # seconds beyond one build, to be scheduled
USER = 65534
CONFIG = "[daemon]\nBuildJobs=8\nValidate={0.validate}\nPreload={0.preload}\n"


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


class Load(threading.Thread):
    """Processes that import what never changes, one after the other or one that runs on, whatever becomes of the daemon."""

    def __init__(self, python, env, mode, root):
        super().__init__(daemon=True)
        self.worker = Worker(python, env, mode)
        names = [f"quiet{n}" for n in range(QUIET)]
        self.question = {"path": [root], "names": names, "shim": True, "barrier": False}
        self.mode = mode
        self.asked = self.served = 0
        self.failed = None
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                answer = self.worker.ask(self.question)
                values = [found[0] for found in answer["found"]]
                assert values == list(range(QUIET)), f"{self.mode}: {answer['found']}"
                self.asked += 1
                self.served = answer["counts"][0] + (self.served if self.mode == "fork" else 0)
                time.sleep(0.005)
        except BaseException as error:
            self.failed = error

    def end(self):
        self.stopping = True
        self.join()
        self.worker.close()
        if self.failed:
            raise self.failed


class Race:
    def __init__(self, python, directory, options):
        self.python = python
        self.random = random.Random(options.seed)
        # So many builders that the standard library's, of which no image is needed here, keep no other waiting.
        self.daemon = harness.Daemon(directory / "daemon", config=CONFIG.format(options))
        self.daemon.start()
        self.env = self.daemon.env(SHIMPORT_BUDGET_MS=5000)
        self.tree = Tree(directory / "tree", self.random, python, watched=options.validate == "auto")
        self.make_quiet(directory / "quiet")
        self.fork = Worker(python, self.env, "fork")
        self.stay = None
        self.stay_is_warm = False
        self.stale = self.errors = self.stock_stale = 0
        self.stopping = False
        self.load = []
        self.again = []  # (seconds until a new daemon served, seconds its build took)
        self.counts = [0, 0, 0]
        self.ways = collections.Counter()
        self.history = collections.deque(maxlen=6)
        self.names = []

    def close(self):
        self.fork.close()
        if self.stay:
            self.stay.close()
        if self.tree.vanished:
            self.tree.vanished()
        self.daemon.stop()

    def question(self, shim, barrier=True):
        return {"path": [str(root) for root in self.tree.roots], "names": self.names, "shim": shim, "barrier": barrier}

    def ask_shim(self, seen):
        """A process that attaches (most are forked from one that did not), or one that ran on: after the barrier, or, if
        the changes are of a kind that is seen without it, a while later."""
        way = self.random.choices(["fork", "stay", "late", "fresh"], [73, 20, 5, 2])[0]
        if way == "late" and not (seen and self.stay_is_warm):
            way = "stay"
        self.ways[way] += 1
        if way == "fork":
            return way, self.fork.ask(self.question(True))
        if way == "fresh":
            worker = Worker(self.python, self.env, "once")
            try:
                return way, worker.ask(self.question(True))
            finally:
                worker.close()
        # Where a directory was gone, sys.path_importer_cache has it that nothing is there, stock's too, until the next
        # importlib.invalidate_caches().
        self.stay_is_warm = not self.tree.vanished
        if way == "late":
            time.sleep(LATE)
            return way, self.stay.ask(self.question(True, barrier=False))
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
        changes, seen = self.tree.change()
        self.history.extend(changes)
        if not self.random.randrange(10):
            time.sleep(self.random.random() * 0.3)  # let a builder get somewhere
        self.names = IMPORTED + self.random.sample(self.tree.real, REAL_AT_ONCE)
        way, ours = self.ask_shim(seen)
        theirs = self.fork.ask(self.question(False))
        for name, mine, stock in zip(self.names, ours["found"], theirs["found"]):
            if mine != stock:
                self.differ(way, name, mine, stock)
        if way in ("fork", "fresh"):
            self.counts = [a + b for a, b in zip(self.counts, ours["counts"])]

    def differ(self, way, name, mine, stock):
        if self.stock_is_stale(mine, stock):
            self.stock_stale += 1
            return
        if len(mine) == 2:
            self.errors += 1
        else:
            self.stale += 1
        print("WRONG:", sum(self.ways.values()), way, name, mine, stock, list(self.history), sep="\n  ", flush=True)

    def run(self, rounds, enough=lambda: False):
        done = 0
        while (done < rounds or rounds == 0) and not enough() and not self.stopping:
            self.round()
            done += 1
            if sys.stderr.isatty() and done % 20 == 0:
                sys.stderr.write(f"\r\033[K{done} rounds, {self.stale + self.errors} wrong")
        return done

    def make_quiet(self, root):
        """A root that nobody changes, to see how soon a new daemon serves it."""
        root.mkdir()
        for n in range(QUIET):
            (root / f"quiet{n}.py").write_text(f"value = {n}\n" * 50)
        describe = harness.BUILD / "python" / "shimport" / "describe.py"
        self.described = json.loads(harness.run([self.python, describe], check=True).stdout)
        self.quiet = str(root)

    def serve_again(self):
        """A daemon that has just been started serves within the time of one build, counted from the first request."""
        began = time.monotonic()
        busy = 0  # how long the daemon took to answer, for the machine has others to run
        state = None
        while state != wire.SERVED:
            asked = time.monotonic()
            with self.daemon.connect() as connection:
                ((state, reason, fd),) = wire.ask_attach(connection, self.described, [self.quiet])
            if fd is not None:
                os.close(fd)
            assert state in (wire.SERVED, wire.BUILDING), reason
            assert time.monotonic() < began + HANG, "a new daemon does not serve"
            time.sleep(AGAIN_PAUSE)
            busy += time.monotonic() - asked - AGAIN_PAUSE
        taken = time.monotonic() - began
        images = self.daemon.status()["images"]
        built = next(image["built_ms"] for image in images if image["root"] == self.quiet) / 1000
        self.again.append((taken, built))
        assert taken - busy < built + AGAIN_SLACK, f"{taken:.3f} s until a new daemon served, for a build of {built:.3f} s"

    def run_kills(self, kills):
        """Rounds go on, and other processes import, while the daemon dies and comes back."""
        self.load = [Load(self.python, self.env, mode, self.quiet) for mode in ("fork", "fork", "stay")]
        done = threading.Event()
        chance = random.Random(self.random.random())
        failed = []

        def kill():
            for _ in range(kills):
                if self.stopping:
                    return
                way = chance.randrange(4)
                if way > 1:
                    self.serve_again()
                if way < 3:
                    time.sleep(chance.random())
                self.daemon.kill()
                time.sleep(chance.random() * 0.1)
                self.daemon.start()

        def killer():
            try:
                kill()
            except BaseException as error:
                failed.append(error)
            done.set()

        thread = threading.Thread(target=killer, daemon=True)
        for starting in (thread, *self.load):
            starting.start()
        rounds = self.run(0, done.is_set)
        thread.join()
        for load in self.load:
            load.end()
        if failed:
            raise failed[0]
        return rounds


def as_user(options, python, directory):
    """The command for an ordinary user's half, with copies of what that user might not come at; or None."""
    if os.geteuid() != 0 or options.user is not None or not harness.user_may_run(harness.Interpreter(python, "", ""), USER):
        return None
    ignore = shutil.ignore_patterns("obj", "tests", "bench", "stdlib", "clang", "sanitize", "__pycache__")
    shutil.copytree(harness.ROOT / "tests", directory / "tests")
    shutil.copytree(harness.BUILD, directory / "build", ignore=ignore)
    home = directory / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", f"HOME={home}"]
    command += [f"SHIMPORT_BUILD={directory / 'build'}", sys.executable, "-B", directory / "tests" / "race.py"]
    command += ["--rounds", (options.rounds + 1) // 2, "--kills", (options.kills + 1) // 2, "--validate", options.validate]
    command += ["--preload", options.preload]
    return [str(part) for part in [*command, "--seed", options.seed + 1, "--python", python, "--user", USER]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--python", default=None, help="the first that the client was built for")
    parser.add_argument("--validate", choices=["auto", "stat"], default="auto", help="how the daemon learns of changes")
    parser.add_argument("--preload", choices=["all", "used"], default="all", help="whose code is held")
    parser.add_argument("--user", type=int, default=None, help="who runs it")
    options = parser.parse_args()
    python = options.python or harness.interpreters()[0].executable
    with harness.public_directory() as directory:
        command = as_user(options, python, directory)
        if command:
            user = subprocess.Popen(command)
            options.rounds //= 2
            options.kills //= 2
        try:
            status = run(options, python)
        finally:
            users = user.wait() if command else 0
    return status | users


def run(options, python):
    who = f"as user {os.geteuid()}"
    print(f"{who}: seed {options.seed}, {python}", flush=True)
    with harness.public_directory() as directory:
        race = Race(python, directory, options)
        signal.signal(signal.SIGTERM, lambda *_: setattr(race, "stopping", True))  # what was done is summed up
        began = time.monotonic()
        try:
            rounds = race.run_kills(options.kills) if options.kills else race.run(options.rounds)
        finally:
            race.close()
    served, fallback, stale = race.counts
    ways = ", ".join(f"{n} {way}" for way, n in sorted(race.ways.items()))
    text = f"{who}: {time.monotonic() - began:.0f} s; {ways}; {served} modules served, {fallback} by stock, {stale} stale bits heeded"
    if race.load:
        asked, modules = sum(load.asked for load in race.load), sum(load.served for load in race.load)
        text += f"; beside them {asked} times {QUIET} imports, {modules} of them served"
    if race.again:
        taken, built = (max(seconds) for seconds in zip(*race.again))
        text += f"; a new daemon served after {taken:.2f} s at most, for a build of {built:.2f} s at most"
    print(text)
    print(
        f"{who}: {rounds} rounds, {options.kills} kills: {race.stale} stale, {race.errors} errors that stock does not raise;"
        f" {race.stock_stale} times stock believed a pyc of another source",
        flush=True,
    )
    return 1 if race.stale or race.errors else 0


if __name__ == "__main__":
    sys.exit(main())
