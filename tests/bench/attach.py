# SPDX-License-Identifier: MIT
"""
make bench-attach: so many attaches from eight processes at once, of one user and of eight; and what neighbours at their
worst do to an honest one. Prints one JSON object a line.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import harness  # noqa: E402
import wire  # noqa: E402

PROGRAM = harness.BUILD / "bench" / "attach_load"
PROCESSES = 8
HONEST, HOSTILE = 61100, 61200


def memory(pid):
    """Bytes that the daemon has for itself."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) << 10


def end(load):
    """A load that Served.start() has started, and the processes that it has forked."""
    os.killpg(load.pid, signal.SIGKILL)
    load.wait()


class Served:
    """A daemon with the images of the standard library and three more directories, and loads on it."""

    def __init__(self, directory, interpreter):
        self.daemon = harness.Daemon(directory / "daemon").start()
        self.described = interpreter.describe()
        self.paths = [interpreter.stdlib()]
        for name in ("first", "second", "third"):
            (directory / name).mkdir()
            (directory / name / f"{name}.py").write_text("value = 1\n")
            self.paths.append(str(directory / name))
        self.daemon.warm(interpreter.executable, paths=self.paths)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.daemon.stop() == 0, self.daemon.log()

    def start(self, processes, attaches, *options):
        ours = [self.daemon.socket, self.described["tag"], self.described["executable"], processes, attaches, *self.paths]
        command = [PROGRAM, *options, *ours]
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, start_new_session=True)

    def load(self, processes, attaches, *options):
        """What attach_load prints, and what the daemon's memory grew by meanwhile."""
        before = memory(self.daemon.pid)
        running = self.start(processes, attaches, *options)
        result = json.loads(running.communicate()[0])
        return {**result, "memory_growth": memory(self.daemon.pid) - before}

    def honest(self, attaches=500):
        """One process of another user, that asks now and then."""
        return self.load(1, attaches, "--uid", HONEST, "--pause", 2000)

    @contextlib.contextmanager
    def silent_peers(self, silent, dripping, deaf):
        """Connections that never speak, that send a byte now and then, and that ask and never read."""
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(self.daemon.connect()) for _ in range(silent + dripping + deaf)]
            for peer in peers:
                peer.setblocking(False)
            for peer in peers[silent + dripping :]:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    for _ in range(2000):
                        peer.send(wire.request(wire.STATUS))
            yield peers, peers[silent : silent + dripping]


def drip(peers):
    for peer in peers:
        with contextlib.suppress(OSError):
            peer.send(b"\x08")


def hung_up(peer):
    """Whether the daemon has closed the connection; what it said before is read."""
    try:
        while True:
            if not peer.recv(wire.PACKET_SIZE_MAX):
                return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def main():
    attaches = int(os.environ.get("ATTACHES") or 100_000)
    with harness.public_directory() as directory, Served(directory, harness.interpreters()[0]) as served:
        served.load(PROCESSES, 2000)
        print(json.dumps({"of": "one user", **served.load(PROCESSES, attaches)}))
        if os.geteuid() != 0:
            return
        print(json.dumps({"of": "eight users", **served.load(PROCESSES, attaches, "--uid", HOSTILE)}))
        print(json.dumps({"of": "an honest user alone", **served.honest()}))
        for processes, nice in ((1, 19), (1, 0), (4, 0)):
            flood = served.start(processes, 10_000_000, "--uid", HOSTILE, "--nice", nice)
            time.sleep(1)
            told = f"an honest user, another floods, {processes} at priority {nice}"
            print(json.dumps({"of": told, **served.honest()}))
            end(flood)
        with served.silent_peers(1000, 200, 200) as (peers, dripping):
            drip(dripping)
            print(json.dumps({"of": "an honest user, 1,400 peers that are no good", **served.honest()}))
            deadline = time.monotonic() + 30
            while (left := sum(not hung_up(peer) for peer in peers)) and time.monotonic() < deadline:
                drip(dripping)
                time.sleep(1)
            print(json.dumps({"of": "peers that are no good, after 30 s at most", "left": left}))


if __name__ == "__main__":
    main()
