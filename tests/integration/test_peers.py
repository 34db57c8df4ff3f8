# SPDX-License-Identifier: MIT
"""What a peer may send: whoever breaks the protocol is dropped with a line in the log, and nobody else notices."""

import contextlib
import os
import signal
import socket
import statistics
import time

import pytest

import harness
import wire


@pytest.fixture(scope="module")
def served(one_python, tmp_path_factory):
    """A daemon that has images, and what to ask it for: (daemon, described, paths)."""
    directory = tmp_path_factory.mktemp("peers")
    paths = [one_python.stdlib()]
    for name in ("first", "second", "third"):
        (directory / name).mkdir()
        (directory / name / f"{name}.py").write_text("value = 1\n")
        paths.append(str(directory / name))
    with harness.Daemon(directory / "daemon") as daemon:
        daemon.warm(one_python.executable, paths=paths)
        yield daemon, one_python.describe(), paths


def images_of(connection, described, paths):
    answers = wire.ask_attach(connection, described, paths)
    for _, _, fd in answers:
        if fd is not None:
            os.close(fd)
    return [fd is not None for _, _, fd in answers]


def dropped(connection):
    """Whether the daemon hangs up; an error reply may come first."""
    connection.settimeout(10)
    with contextlib.suppress(ConnectionError):
        for _ in range(10):
            if not connection.recv(wire.PACKET_SIZE_MAX):
                return True
        return False
    return True


def broken_packets(described, paths):
    good = wire.attach(described, paths)
    fds = len(paths)
    yield "truncated", good[:-3], fds
    yield "half", good[: len(good) // 2], fds
    yield "one byte", b"\x08", 0
    yield "zeros", b"\0" * 100, 0
    yield "ones", b"\xff" * 100, 0
    yield "text", b"GET / HTTP/1.1\r\n\r\n", 0
    yield "too few descriptors", good, fds - 1
    yield "no descriptors", good, 0
    yield "too many descriptors", good, fds + 1
    yield "as many descriptors as the kernel passes", good, 253
    yield "descriptors without a packet for them", wire.request(wire.STATUS), 3
    yield "no body", wire.field(1, wire.PROTOCOL), 0
    yield "an endless length", wire.field(1, wire.PROTOCOL) + b"\x12\xff\xff\xff\xff\x0f", 0
    yield "oversized", good + wire.field(15, b"\0" * wire.PACKET_SIZE_MAX), 0
    yield "more roots than an attach may have", wire.attach(described, paths[:1] * 101), 101
    yield "oversized with descriptors", good + wire.field(15, b"\0" * wire.PACKET_SIZE_MAX), fds
    yield "a reply in place of a request", wire.field(1, wire.field(1, wire.field(1, wire.SERVED))), 0


def test_broken_packets_drop_that_peer_only(served):
    daemon, described, paths = served
    with daemon.connect() as bystander:
        before = images_of(bystander, described, paths)
        assert all(before)
        open_before = daemon.settled_fds()
        for name, packet, n_fds in broken_packets(described, paths):
            log_before = len(daemon.log())
            with daemon.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                roots = wire.open_roots([paths[at % len(paths)] for at in range(n_fds)])
                socket.send_fds(peer, [packet], roots)
                for fd in roots:
                    os.close(fd)
                assert dropped(peer), name
            assert daemon.log()[log_before:].count("\n") >= 1, f"{name}: nothing in the log"
            assert images_of(bystander, described, paths) == before, name
        daemon.assert_fds(open_before)


def test_another_protocol_version_is_told_so(served):
    daemon, described, paths = served
    with daemon.connect() as peer:
        peer.send(wire.request(wire.STATUS, protocol=99))
        with contextlib.suppress(ConnectionError):
            data = peer.recv(wire.PACKET_SIZE_MAX)
            assert not data or 6 in wire.fields(data)


def test_descriptors_that_are_no_directories(served, tmp_path):
    """A file, a pipe, a socket, a memfd where a root should be."""
    daemon, described, paths = served
    (tmp_path / "file").write_text("")
    read, write = os.pipe()
    odd = [os.open(tmp_path / "file", os.O_RDONLY), read, write, os.memfd_create("x"), socket.socket().detach()]
    open_before = daemon.settled_fds()
    for fd in odd:
        with daemon.connect() as peer:
            socket.send_fds(peer, [wire.attach(described, paths[:1])], [fd])
            peer.settimeout(10)
            with contextlib.suppress(ConnectionError):
                data, fds, _, _ = socket.recv_fds(peer, wire.PACKET_SIZE_MAX, 253)
                assert not fds
        os.close(fd)
    daemon.assert_fds(open_before)
    with daemon.connect() as peer:
        assert all(images_of(peer, described, paths))


def test_peers_that_come_and_go_leave_nothing(served):
    daemon, described, paths = served
    open_before = daemon.settled_fds()
    for round in range(200):
        with daemon.connect() as peer:
            if round % 2:
                roots = wire.open_roots(paths)
                socket.send_fds(peer, [wire.attach(described, paths)], roots)  # and does not wait for the answer
                for fd in roots:
                    os.close(fd)
    daemon.assert_fds(open_before)


def test_peer_that_does_not_read_is_dropped_or_waits_alone(served):
    """Requests without end, answers never read: the daemon stays there for others and keeps its memory."""
    daemon, described, paths = served
    with daemon.connect() as flood:
        flood.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(20000):
                flood.send(wire.request(wire.STATUS))
        with daemon.connect() as peer:
            assert all(images_of(peer, described, paths))
        _, resident, shared, *_ = map(int, open(f"/proc/{daemon.pid}/statm").read().split())
        assert (resident - shared) * os.sysconf("SC_PAGE_SIZE") < 16 << 20  # its own: it has the images mapped


def test_peer_that_opens_its_state_over_and_over(served):
    """The daemon takes a lease on a state for a moment, to see whether anybody has it mapped; who opens the file just then
    breaks it, and the kernel tells the daemon by a signal. An O_PATH descriptor is no reader, and can be opened."""
    daemon, described, paths = served
    with daemon.connect() as peer:
        roots = wire.open_roots(paths[:1])
        _, received = wire.ask(peer, wire.attach(described, paths[:1]), roots)
        handle = os.open(f"/proc/self/fd/{received[1]}", os.O_PATH)
        for fd in [*roots, *received]:
            os.close(fd)
        opener = os.fork()
        if opener == 0:
            while True:
                with contextlib.suppress(OSError):
                    os.close(os.open(f"/proc/self/fd/{handle}", os.O_RDONLY))
        try:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                assert wire.ask(peer, wire.request(wire.STATUS))[0]
        finally:
            os.kill(opener, signal.SIGKILL)
            os.waitpid(opener, 0)
            os.close(handle)
        assert images_of(peer, described, paths)


def test_many_peers_at_once(served):
    daemon, described, paths = served
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(200)]
        for peer in peers:
            assert all(images_of(peer, described, paths))


def test_attach_is_quick(served):
    """Median below 300 microseconds, as measured by a peer written in Python, on a machine that is idle enough."""
    daemon, described, paths = served
    packet = wire.attach(described, paths)
    best = []
    for _ in range(5):
        taken = []
        for _ in range(200):
            roots = wire.open_roots(paths)
            before = time.perf_counter()
            with daemon.connect() as peer:
                socket.send_fds(peer, [packet], roots)
                _, fds, _, _ = socket.recv_fds(peer, wire.PACKET_SIZE_MAX, 253)
                taken.append(time.perf_counter() - before)
            for fd in [*roots, *fds]:
                os.close(fd)
        best.append(statistics.median(taken))
    assert min(best) < 300e-6
