# SPDX-License-Identifier: MIT
"""
Neighbours at their worst, for SECONDS: processes of several users attach, import, crash, are killed in the middle of a
message, edit files, ask for roots that come and go, flood, say nothing, and never read their answers. At the end the
daemon has the descriptors, the memory, the children and the watches that it began with, and serves.

    tests/soak.py --seconds 600
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

import harness
import wire

UIDS = [60001, 60002, 60003] if os.geteuid() == 0 else [os.geteuid()]
MODULES = "import json, argparse, email.message, decimal"
MEMORY_SLACK = 4 << 20  # of the daemon's own: the C library's allocator keeps some
SETTLE = 60


class Soak:
    def __init__(self, directory, python, daemon, deadline):
        self.directory, self.python, self.daemon, self.deadline = directory, python, daemon, deadline
        self.described = python.describe()
        self.shared = directory / "shared"
        self.edited = directory / "edited"
        for root in (self.shared, self.edited):
            root.mkdir()
            for number in range(5):
                (root / f"{root.name}{number}.py").write_text("value = 0\n")
        self.roots = [str(self.shared), str(self.edited), python.stdlib()]

    # -- what a neighbour does, each time in a process of its own ------------------------------------------------

    def imports(self, dice, ending="pass"):
        env = harness.environment(SHIMPORT_SOCKET=self.daemon.socket, PYTHONPATH=f"{self.shared}:{self.edited}")
        code = f"{self.activate}\n{MODULES}\nimport shared{dice.randrange(5)}, edited{dice.randrange(5)}\n{ending}"
        os.execve(self.python.executable, [self.python.executable, "-B", "-c", code], env)

    @property
    def activate(self):
        return (
            "import _frozen_importlib as b, _frozen_importlib_external as e\n"
            f"l = e.ExtensionFileLoader('_shimport', {self.described['extension']!r})\n"
            "b._load(b.spec_from_loader('_shimport', l)).activate()"
        )

    def crashes(self, dice):
        self.imports(dice, dice.choice(["import os; os.abort()", "import os; os.kill(os.getpid(), 9)", "import os; os._exit(3)"]))

    def runs_on(self, dice):
        self.imports(dice, "import time, importlib\nfor n in range(5):\n time.sleep(.1); importlib.invalidate_caches()\n import html")

    def connection(self):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.settimeout(5)
        peer.connect(str(self.daemon.socket))
        return peer

    def attaches(self, dice):
        with self.connection() as peer:
            for _ in range(dice.randrange(1, 50)):
                for _, _, fd in wire.ask_attach(peer, self.described, dice.sample(self.roots, dice.randrange(1, 4))):
                    if fd is not None:
                        os.close(fd)

    def goes_amid_a_message(self, dice):
        for _ in range(20):
            peer = self.connection()
            roots = wire.open_roots(self.roots)
            packet = wire.attach(self.described, self.roots)
            with contextlib.suppress(OSError):
                socket.send_fds(peer, [packet[: dice.randrange(1, len(packet) + 1)]], roots)
            if dice.randrange(4) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            peer.close()
            for fd in roots:
                os.close(fd)

    def floods(self, dice):
        with self.connection() as peer:
            peer.setblocking(False)
            for _ in range(3000):
                with contextlib.suppress(BlockingIOError):
                    peer.send(wire.request(dice.choice([wire.BARRIER, wire.STATUS])))

    def talks_rubbish(self, dice):
        for _ in range(20):
            with self.connection() as peer, contextlib.suppress(OSError):
                peer.send(dice.randbytes(dice.randrange(1, 300)))
                peer.recv(100)

    def says_nothing(self, dice):
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(self.connection())
            time.sleep(dice.random() * 2)

    def edits(self, dice):
        path = self.edited / f"edited{dice.randrange(5)}.py"
        new = path.with_suffix(".new")
        new.write_text(f"value = {dice.random()}\n")
        new.rename(path)

    def makes_a_root_of_its_own(self, dice):
        root = pathlib.Path(tempfile.mkdtemp(dir=self.directory / "own"))
        root.chmod(0o755)
        (root / "own.py").write_text("value = 1\n")
        with self.connection() as peer:
            for _, _, fd in wire.ask_attach(peer, self.described, [str(root)], late=True) * dice.randrange(1, 3):
                if fd is not None:
                    os.close(fd)
        shutil.rmtree(root)

    ACTIONS = [imports, crashes, runs_on, attaches, goes_amid_a_message, floods, talks_rubbish, says_nothing, edits,
               makes_a_root_of_its_own]  # fmt: skip

    def act(self, seed):
        """One neighbour, forked. It may end as it likes."""
        pid = os.fork()
        if pid:
            return pid
        with contextlib.suppress(BaseException):
            dice = random.Random(seed)
            action = dice.choice(self.ACTIONS)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            if action is not Soak.edits and os.geteuid() == 0:
                uid = dice.choice(UIDS)
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            action(self, dice)
        os._exit(0)

    def run(self, seed, at_once=4):
        dice, running, done = random.Random(seed), set(), 0
        while time.monotonic() < self.deadline or running:
            while time.monotonic() < self.deadline and len(running) < at_once:
                running.add(self.act(dice.random()))
            pid, _ = os.waitpid(-1, 0)
            done += pid in running
            running.discard(pid)
        return done

    # -- what is looked at ---------------------------------------------------------------------------------------

    def look(self):
        return {
            "descriptors": len(self.daemon.fds()),
            "children": len(self.daemon.children()),
            "watches": self.daemon.status()["watches"],
            "memory": self.memory(),
        }

    def memory(self):
        """The daemon's own, without the images that it has mapped."""
        _, resident, shared, *_ = map(int, open(f"/proc/{self.daemon.pid}/statm").read().split())
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")

    def rest(self):
        """All that was asked for by the neighbours is over: none but ours are served."""
        self.daemon.ctl("drop", check=True)
        self.daemon.warm(self.python.executable)
        self.daemon.warm(self.python.executable, paths=self.roots[:2])
        self.daemon.settled_fds()

    def is_as_before(self, before):
        now = self.look()
        more = now["memory"] - before["memory"]
        return all(now[name] == before[name] for name in before if name != "memory") and more < MEMORY_SLACK and now


def soak(seconds, seed):
    python = next(python for python in harness.interpreters() if not python.free_threaded and python_is_public(python))
    with harness.public_directory() as directory:
        own = directory / "own"
        own.mkdir()
        own.chmod(0o1777)
        with harness.Daemon(directory / "daemon") as daemon:
            soaking = Soak(directory, python, daemon, 0)
            soaking.deadline = time.monotonic() + min(3, seconds)
            soaking.run(seed + 1)  # what grows once only has grown
            soaking.rest()
            before = soaking.look()
            soaking.deadline = time.monotonic() + seconds
            done = soaking.run(seed)
            soaking.rest()
            after = None
            with contextlib.suppress(AssertionError):
                after = harness.wait_until(lambda: soaking.is_as_before(before), "the daemon to be as before", SETTLE)
            print(f"{done} neighbours in {seconds:.0f} s; before {json.dumps(before)}, after {json.dumps(after or soaking.look())}")
            assert after, daemon.log()[-3000:]
            with daemon.connect() as peer:
                answers = wire.ask_attach(peer, soaking.described, soaking.roots)
                assert [state for state, _, _ in answers] == [wire.SERVED] * 3, answers


def python_is_public(python):
    return os.geteuid() != 0 or all(harness.user_may_run(python, uid) for uid in UIDS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    soak(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
