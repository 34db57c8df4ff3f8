# SPDX-License-Identifier: MIT
"""
Every call that the daemon makes fails once, at each place in turn: the peer at hand is dropped or told, or nothing comes
of it; then an honest attach is served as before, and no descriptor, no child and no memory is left behind.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time

import pytest

import faults
import harness
import wire

WITHIN = "MAIN:libuv:libsystemd:libprotobuf:libc.so"
SYSTEM_ERRORS = {errno.errorcode[error]: error for error in faults.ERRORS}
LOOPS = [
    pytest.param(faults.MEMORY, errno.ENOMEM, faults.ONCE, id="memory"),
    *(pytest.param(faults.SYSTEM, error, faults.ONCE, id=name) for name, error in SYSTEM_ERRORS.items()),
    pytest.param(faults.SYSTEM, errno.EINTR, faults.OTHER, id="EINTR-every-other-time"),
    pytest.param(faults.SYSTEM, 0, faults.SHORT, id="short"),
]
PATIENCE = 2  # for an answer that may not come


class Served:
    """A daemon with the library in front of it, and two roots that it serves."""

    def __init__(self, directory, python, prefix=(), program=None, **changes):
        self.control = faults.Control(directory / "control")
        self.builder_control = faults.Control(directory / "builder-control")
        builder = {"FAULT_BUILDER_CONTROL": self.builder_control.path, "FAULT_BUILDER_WITHIN": "_shimport_build"}
        env = self.control.env(WITHIN, **builder, **changes)
        prefix = ["env", *(f"{name}={value}" for name, value in env.items()), *prefix]
        self.daemon = harness.Daemon(directory / "daemon", prefix=prefix, program=program)
        self.python = python
        self.described = python.describe()
        self.paths = []
        for name in ("first", "second"):
            (directory / name).mkdir()
            (directory / name / f"{name}.py").write_text("value = 1\n")
            self.paths.append(str(directory / name))

    def __enter__(self):
        self.daemon.start()
        self.daemon.warm(self.python.executable, paths=self.paths)
        self.attach()
        self.open = self.daemon.settled_fds()
        return self

    def __exit__(self, *_):
        self.control.disarm()
        self.daemon.__exit__()

    def attach(self):
        """Whether both roots are served, by a peer that has nothing to do with what failed."""
        with self.daemon.connect() as peer:
            peer.settimeout(harness.PATIENCE)
            answers = wire.ask_attach(peer, self.described, self.paths)
        for _, _, fd in answers:
            if fd is not None:
                os.close(fd)
        return all(state == wire.SERVED and fd is not None for state, _, fd in answers)

    def send(self, *packets, fds=()):
        """Says something, and does not mind what comes of it. The answers' first fields."""
        heard = []
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            peer.settimeout(PATIENCE)
            peer.connect(str(self.daemon.socket))
            for packet in packets:
                socket.send_fds(peer, [packet], list(fds))
                data, received, _, _ = socket.recv_fds(peer, wire.PACKET_SIZE_MAX, 253)
                for fd in received:
                    os.close(fd)
                heard += list(wire.fields(data))
        return heard

    def warm(self):
        """Has the first root built anew. Whether the answer was Done; it may also be an Error, or none."""
        request = wire.request(
            wire.WARM,
            wire.field(1, wire.interpreter(self.described)) + wire.field(2, wire.field(1, self.paths[0])),
        )
        roots = wire.open_roots(self.paths[:1])
        try:
            with contextlib.suppress(OSError), self.daemon.connect() as peer:
                peer.settimeout(5)
                socket.send_fds(peer, [request], roots)
                while data := peer.recv(wire.PACKET_SIZE_MAX):
                    if (heard := wire.fields(data)) and not heard.keys() & {3}:  # Progress
                        return 2 in heard  # Done
        finally:
            os.close(roots[0])
        return False

    def recovers(self):
        """The daemon is what it was."""
        assert self.daemon.process.poll() is None, self.daemon.log()[-2000:]
        harness.wait_until(self.attach, "an honest attach to be served")
        self.daemon.assert_fds(self.open)
        assert self.daemon.children() == []


@pytest.fixture(scope="module")
def served(one_python, tmp_path_factory):
    with Served(tmp_path_factory.mktemp("faults"), one_python) as made:
        yield made


def requests(served, path):
    """One of each, and one that is none. What asks for a build has a test of its own."""
    explain = wire.field(1, wire.interpreter(served.described)) + wire.field(2, wire.field(1, path)) + wire.field(4, "first")
    yield [wire.attach(served.described, [path])], True
    yield [wire.request(wire.EXPLAIN, explain)], True
    yield [wire.request(wire.BARRIER), wire.request(wire.STATUS), wire.request(wire.RELOAD)], False
    yield [b"\xff" * 20], False


def fail_requests(served, kinds, error, mode, step):
    def scenario(at):
        for packets, with_root in requests(served, served.paths[0]):
            roots = wire.open_roots(served.paths[:1]) if with_root else []
            served.send(*packets, fds=roots)
            for fd in roots:
                os.close(fd)
        ended = served.control.disarm()
        served.recovers()
        return ended

    return faults.loop(served.control, kinds, scenario, "daemon, requests", error, mode, step=step)


@pytest.mark.parametrize("kinds, error, mode", LOOPS)
def test_requests(served, kinds, error, mode):
    fail_requests(served, kinds, error, mode, faults.step(3))


@pytest.mark.parametrize("kinds, error, mode", LOOPS)
def test_builds(served, kinds, error, mode):
    """A file changes, its root is built anew, and something on the way fails. The next build is one."""
    changes = 0

    def change():
        nonlocal changes
        changes += 1
        with open(f"{served.paths[0]}/first.py", "w") as file:
            file.write(f"value = {changes}\n")

    def scenario(at):
        change()
        served.warm()
        ended = served.control.disarm()
        change()
        assert harness.wait_until(served.warm, "a build after the one that failed")
        served.recovers()
        return ended

    faults.loop(served.control, kinds, scenario, "daemon, builds", error, mode, step=faults.step(17))


@pytest.mark.parametrize("kinds, error, mode", [loop for loop in LOOPS if loop.values[2] != faults.OTHER])
def test_builders(served, kinds, error, mode):
    """Likewise in the builder: an image, or a build that has failed and says so; and the next one is one."""
    def scenario(at):
        with open(f"{served.paths[0]}/first.py", "w") as file:
            file.write(f"value = {at}\n")
        served.warm()
        ended = served.builder_control.disarm()
        assert harness.wait_until(served.warm, "a build after the one that failed")
        served.recovers()
        return ended

    faults.loop(served.builder_control, kinds, scenario, "builder", error, mode, step=faults.step(5))


@pytest.mark.parametrize("kinds, error, mode", LOOPS)
def test_start(one_python, tmp_path, kinds, error, mode):
    """A daemon that cannot start says so and ends; one that starts serves."""
    control = faults.Control(tmp_path / "control")
    command = [harness.SHIMPORTD, "--socket", tmp_path / "socket"]
    env = harness.environment(SHIMPORT_SOCKET=None, **control.env(WITHIN))

    def scenario(at):
        running = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            answered = harness.wait_until(lambda: running.poll() is not None or answers(tmp_path / "socket"), "a start or an end")
            ended = control.disarm()
            if answered == "served":
                running.terminate()
            output = running.communicate(timeout=harness.PATIENCE)[0].decode()
        finally:
            running.kill()
        if ended[2] == "pipe2" and running.returncode == -signal.SIGABRT:
            return ended  # libuv's, without which nothing at all can begin
        assert running.returncode in ((0,) if answered == "served" else (1, 2)), output
        assert output or ended[2] == "write"
        return ended

    faults.loop(control, kinds, scenario, "daemon, start", error, mode, step=faults.step(5))


def answers(path):
    """'served' once a status is answered there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(1)
        peer.connect(str(path))
        peer.send(wire.request(wire.BARRIER))
        return "served" if peer.recv(wire.PACKET_SIZE_MAX) else None
    return None


def test_answers_that_never_go_out(served):
    """EAGAIN for ever: the peer is dropped in the end, and those who come afterwards are served."""
    served.control.arm(1, faults.SYSTEM, errno.EAGAIN, faults.EVER)
    with served.daemon.connect() as peer:
        peer.send(wire.request(wire.STATUS))
        time.sleep(1)
        _, failed, _ = served.control.disarm()
        assert failed
        assert served.attach()
        peer.settimeout(harness.PATIENCE)
        with contextlib.suppress(ConnectionError):
            peer.recv(wire.PACKET_SIZE_MAX)
    served.recovers()


def test_no_descriptors_for_a_while(served):
    """EMFILE for every call, for a second in which many come: nobody is served, and then everybody."""
    served.control.arm(1, faults.SYSTEM, errno.EMFILE, faults.EVER)
    for _ in range(20):
        with contextlib.suppress(OSError):
            served.daemon.connect().close()
    time.sleep(0.5)
    _, failed, _ = served.control.disarm()
    assert failed
    served.recovers()


def fail_a_build(served, error):
    served.control.arm(faults.step(20), faults.SYSTEM, error)
    served.warm()
    served.control.disarm()
    harness.wait_until(served.warm, "a build after the one that failed")
    served.recovers()


def test_nothing_leaks(one_python, tmp_path):
    """The leak sanitizer has a look at the end: the daemon's exit status tells."""
    program = harness.BUILD / "replay" / "bin" / "shimportd"
    client = harness.BUILD / "python"
    config = tmp_path / "shimport.conf"
    config.write_text(f"[daemon]\nClientPath={client}\n")
    options = "verify_asan_link_order=0:detect_leaks=1"
    served = Served(tmp_path, one_python, program=program, ASAN_OPTIONS=options)
    served.daemon.config = config
    with served:
        assert fail_requests(served, faults.MEMORY, errno.ENOMEM, faults.ONCE, faults.step(5))
        assert fail_requests(served, faults.SYSTEM, errno.ENOMEM, faults.ONCE, faults.step(9))
        fail_a_build(served, errno.ENOMEM)


def test_no_descriptor_is_left_at_the_end(one_python, tmp_path):
    """valgrind tells of every descriptor that is open when the daemon ends: none but those it was given."""
    valgrind = ["valgrind", "--track-fds=yes", f"--log-file={tmp_path / 'valgrind'}-%p", "--error-exitcode=9"]
    with Served(tmp_path, one_python, prefix=valgrind) as served:
        daemon = served.daemon.process.pid  # a child that could not become a builder is told of as well, with what it had
        assert fail_requests(served, faults.SYSTEM, errno.EMFILE, faults.ONCE, faults.step(5))
        fail_a_build(served, errno.EMFILE)
    told = (tmp_path / f"valgrind-{daemon}").read_text()
    opened = [line for line in told.splitlines() if "Open file descriptor" in line or "Open AF" in line]
    inherited = told.count("<inherited from parent>")
    assert "FILE DESCRIPTORS" in told and len(opened) == inherited, told
