# SPDX-License-Identifier: MIT
"""
The daemon is not there, or no longer, or not well, or somebody else answers in its place: Python goes on as if
shimport did not exist, says nothing unless asked to, and does not wait longer than the budget.
"""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest

import harness
import wire

CODE = "import sys, json, argparse, asyncio, email.message; print(json.dumps([1]), argparse.__spec__, sys.path)"


def seconds(function):
    before = time.monotonic()
    function()
    return time.monotonic() - before


class Impostor:
    """Listens where the daemon should, and does with each connection what the test says."""

    def __init__(self, path, behave, kind=socket.SOCK_SEQPACKET):
        self.path = path
        self.behave = behave
        self.listener = socket.socket(socket.AF_UNIX, kind)
        self.listener.bind(str(path))
        self.listener.listen()
        self.asked = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.asked += 1
                with connection, contextlib.suppress(OSError):
                    self.behave(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def request_of(connection):
    """Takes one request, closes the descriptors beside it, returns how many there were."""
    _, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
    for fd in fds:
        os.close(fd)
    return len(fds)


def answering(*packets):
    def behave(connection):
        request_of(connection)
        for packet in packets:
            connection.send(packet)
        connection.settimeout(1)
        connection.recv(1)

    return behave


def served_without_image(connection):
    n = request_of(connection)
    answer = wire.field(1, wire.field(1, wire.SERVED) + wire.field(4, 1))
    connection.send(wire.field(1, answer * n))
    connection.recv(1)


def more_answers_than_roots(connection):
    n = request_of(connection)
    connection.send(wire.field(1, wire.field(1, wire.field(1, wire.BUILDING)) * (n + 50)))
    connection.recv(1)


def descriptors_nobody_asked_for(connection):
    n = request_of(connection)
    read, write = os.pipe()
    socket.send_fds(connection, [wire.field(1, wire.field(1, wire.field(1, wire.BUILDING)) * n)], [read, write] * 100)
    os.close(read)
    os.close(write)
    connection.recv(1)


def not_an_image(seals=True, size=4096, fill=b"\xff"):
    """Every root answered by a memfd of our own making."""

    def behave(connection):
        n = request_of(connection)
        fds = []
        for _ in range(n):
            fd = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(fd, (fill * size)[:size])
            if seals:
                import fcntl

                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0xF)
            fds.append(fd)
        answer = wire.field(1, wire.field(1, wire.SERVED) + wire.field(3, 1) + wire.field(4, 1))
        socket.send_fds(connection, [wire.field(1, answer * n)], fds)
        for fd in fds:
            os.close(fd)
        connection.recv(1)

    return behave


RUBBISH = {
    "closes at once": lambda connection: None,
    "reads and closes": lambda connection: request_of(connection),
    "random bytes": answering(os.urandom(300)),
    "zeros": answering(b"\0" * 1000),
    "a huge packet": answering(b"\x0a" * 100_000),
    "an endless length": answering(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    "no body": answering(wire.field(15, 1)),
    "another kind of reply": answering(wire.field(2, wire.field(1, "done"))),
    "an error": answering(wire.field(6, wire.field(1, "no"))),
    "no answers": answering(wire.field(1, b"")),
    "many packets": answering(*[wire.field(6, wire.field(1, "no"))] * 10),
    "served without image": served_without_image,
    "more answers than roots": more_answers_than_roots,
    "descriptors nobody asked for": descriptors_nobody_asked_for,
    "an image not sealed": not_an_image(seals=False),
    "an image of nothing": not_an_image(size=0),
    "an image of ones": not_an_image(),
    "an image of magic and zeros": not_an_image(fill=b"SHIMPORT" + b"\0" * 4088),
    "a short image": not_an_image(size=20, fill=b"SHIMPORT"),
}


@pytest.mark.parametrize("behave", RUBBISH.values(), ids=RUBBISH)
def test_socket_answers_rubbish(one_pair, tmp_path, behave):
    with Impostor(tmp_path / "socket", behave) as impostor:
        result = one_pair.same("-c", CODE, env=one_pair.daemon.env(SHIMPORT_SOCKET=impostor.path))
        assert impostor.asked > 0
        assert result.stderr == ""
        fds = "import os, json, email.message; print(len(os.listdir('/proc/self/fd')))"
        one_pair.same("-c", fds, env=one_pair.daemon.env(SHIMPORT_SOCKET=impostor.path))


def test_daemon_that_never_answers_costs_the_budget(pair, tmp_path):
    def mute(connection):
        time.sleep(5)

    with Impostor(tmp_path / "socket", mute) as impostor:
        env = pair.daemon.env(SHIMPORT_SOCKET=impostor.path)
        pair.same("-c", CODE, env=env)
        patient = pair.daemon.env(SHIMPORT_SOCKET=impostor.path, SHIMPORT_BUDGET_MS="1500")
        code = "import json"
        assert seconds(lambda: pair.run_shim("-c", code, env=patient)) >= 1.5
        assert seconds(lambda: pair.run_shim("-c", code, env=env)) < 1.5


def test_daemon_that_is_stopped(one_pair, make_daemon):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        env = daemon.env(SHIMPORT_BUDGET_MS=None)
        stock = min(seconds(lambda: one_pair.run_stock("-c", CODE, env=env)) for _ in range(3))
        one_pair.same("-c", CODE, env=env)
        ours = min(seconds(lambda: one_pair.run_shim("-c", CODE, env=env)) for _ in range(3))
        assert ours < stock + 0.5  # fifty milliseconds, and what a busy machine adds
        for _ in range(150):  # more than a listening socket queues
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                connection.connect(str(daemon.socket))
        one_pair.same("-c", CODE, env=env)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    harness.wait_until(lambda: one_pair.status(code=CODE, env=daemon.env())["served"] > 0, "the daemon to be back")


def test_daemon_absent(pair, tmp_path):
    for place in (tmp_path / "nothing", "/nonexistent/directory/socket", "relative", "", "x" * 500, tmp_path):
        result = pair.same("-c", CODE, env=pair.daemon.env(SHIMPORT_SOCKET=place, XDG_RUNTIME_DIR=tmp_path))
        assert result.stderr == ""
        assert result.returncode == 0


def test_socket_that_nobody_listens_on(pair, tmp_path):
    left_over = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left_over.bind(str(tmp_path / "socket"))
    left_over.close()
    pair.same("-c", CODE, env=pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "socket"))


def test_socket_of_another_type(pair, tmp_path):
    with Impostor(tmp_path / "socket", lambda connection: None, kind=socket.SOCK_STREAM):
        pair.same("-c", CODE, env=pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "socket"))
    (tmp_path / "file").write_text("")
    pair.same("-c", CODE, env=pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_socket_not_writable(one_pair):
    if not harness.user_may_run(one_pair.interpreter, 65534):
        pytest.skip("another user may not run the interpreter")
    with harness.public_directory() as directory, harness.Daemon(directory / "daemon") as daemon:
        daemon.socket.chmod(0o600)
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        stock, shim = (
            harness.run([*other, python, "-c", CODE], env=daemon.env()) for python in (one_pair.stock, one_pair.shim)
        )
        harness.assert_same(one_pair.neutral(harness.shown(shim)), one_pair.neutral(harness.shown(stock)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_daemon_of_another_user_is_not_spoken_to(one_pair):
    """Neither root's nor the process's own: whoever listens there could serve anything."""
    if not harness.user_may_run(one_pair.interpreter, 65534):
        pytest.skip("another user may not run the interpreter")
    with harness.public_directory() as directory:
        (directory / "daemon").mkdir()
        os.chown(directory / "daemon", 65534, 65534)
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"HOME={directory}"]
        with harness.Daemon(directory / "daemon", prefix=other) as daemon:
            daemon.socket.chmod(0o777)
            status = one_pair.status(code=CODE, env=daemon.env())
            assert not status["active"]
            assert status["served"] == 0


def test_daemon_killed_between_attach_and_import(one_pair, make_daemon):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)
    code = f"""
import os, signal, sys
try:
    os.kill({daemon.pid}, signal.SIGKILL)
except ProcessLookupError:
    pass
import json, argparse, asyncio, email.message, importlib, xml.dom.minidom
importlib.invalidate_caches()
import difflib, http.server
print(json.dumps([1]), argparse.__spec__, difflib.__spec__, sys.modules["http.server"].__spec__)
"""
    shim = one_pair.run_shim("-c", code, env=daemon.env(), check=True)
    assert daemon.process.wait(10) == -signal.SIGKILL
    stock = one_pair.run_stock("-c", code, env=daemon.env(), check=True)
    harness.assert_same(one_pair.neutral(harness.shown(shim)), one_pair.neutral(harness.shown(stock)))


def test_daemon_stopped_and_started_between_imports(one_pair, make_daemon):
    first = make_daemon()
    first.warm(one_pair.shim)
    code = f"""
import importlib, os, signal, time
os.kill({first.pid}, signal.SIGTERM)
while os.path.exists({str(first.socket)!r}):
    time.sleep(0.01)
import argparse
importlib.invalidate_caches()
import difflib, email.message
print(difflib.__spec__, argparse.__file__)
"""
    shim = one_pair.run_shim("-c", code, env=first.env(), check=True)
    assert shim.stderr == ""
    assert first.process.wait(harness.PATIENCE) == 0
    first.start()
    first.warm(one_pair.shim)
    assert one_pair.status(code="import argparse", env=first.env())["served"] > 0


def test_image_of_another_interpreter_is_refused(one_pair, site, tmp_path):
    """An impostor that hands out real images, but those of another version: the tag is looked at."""
    others = [other for other in harness.interpreters() if other.minor != one_pair.interpreter.minor]
    if not others:
        pytest.skip("there is only one version")
    other = others[0].describe()
    site.daemon.warm(others[0].executable, paths=[site.root])

    def behave(connection):
        data, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
        request = wire.fields(data)
        if wire.ATTACH not in request:
            return
        asked = wire.fields(request[wire.ATTACH][0])
        theirs = wire.field(1, wire.interpreter(other)) + b"".join(wire.field(2, root) for root in asked.get(2, []))
        with site.daemon.connect() as real:
            socket.send_fds(real, [wire.request(wire.ATTACH, theirs)], fds)
            reply, images, _, _ = socket.recv_fds(real, wire.PACKET_SIZE_MAX, 253)
        handed.append(len(images))
        socket.send_fds(connection, [reply], images)
        for fd in [*fds, *images]:
            os.close(fd)
        connection.recv(1)

    handed = []
    with Impostor(tmp_path / "socket", behave) as impostor:
        env = site.env | {"SHIMPORT_SOCKET": str(impostor.path)}
        assert one_pair.status(code="import module", env=env)["served"] == 0
        one_pair.same("-c", "import module; print(module.value, module.__spec__)", env=env)
    assert max(handed) > 0


def test_image_of_another_root_is_refused(one_pair, tmp_path):
    """Images in the wrong order: each names its root, and the process compares."""

    def behave(connection):
        data, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
        if wire.ATTACH not in wire.fields(data):
            return
        with one_pair.daemon.connect() as real:
            socket.send_fds(real, [data], fds)
            reply, images, _, _ = socket.recv_fds(real, wire.PACKET_SIZE_MAX, 253)
        handed.append(len(images))
        images.reverse()
        socket.send_fds(connection, [reply], images)
        for fd in [*fds, *images]:
            os.close(fd)
        connection.recv(1)

    handed = []
    with Impostor(tmp_path / "socket", behave) as impostor:
        env = one_pair.daemon.env(SHIMPORT_SOCKET=impostor.path)
        status = one_pair.status(code=CODE, env=env)
        one_pair.same("-c", CODE, env=env)
    assert max(handed) > 1
    assert status["served"] == 0 or handed[0] % 2  # the one in the middle stays where it was


def test_unknown_tag_gets_no_image(one_pair):
    described = one_pair.interpreter.describe()
    paths = [one_pair.interpreter.stdlib()]
    with one_pair.daemon.connect() as connection:
        assert wire.ask_attach(connection, described, paths)[0][0] == wire.SERVED
        described["tag"] = described["tag"] + "x"
        described["executable"] = ""
        state, reason, image = wire.ask_attach(connection, described, paths)[0]
        assert image is None
        assert state != wire.SERVED


def test_tag_that_the_executable_does_not_have_gets_no_image(one_pair):
    """Whoever names an interpreter that is another one gets no image of its."""
    described = one_pair.interpreter.describe()
    described["tag"] = "not what that executable is"
    paths = [one_pair.interpreter.stdlib()]

    def ended():
        with one_pair.daemon.connect() as connection:
            state, reason, image = wire.ask_attach(connection, described, paths)[0]
            assert image is None
            return state == wire.FAILED and reason

    assert harness.wait_until(ended, "the build to fail")


def test_debug_says_why(one_pair, tmp_path):
    gone = one_pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "nothing", SHIMPORT_DEBUG="1")
    assert "shimport" in one_pair.run_shim("-c", "pass", env=gone).stderr
    silent = one_pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "nothing")
    assert one_pair.run_shim("-c", "pass", env=silent).stderr == ""
    zero = one_pair.daemon.env(SHIMPORT_SOCKET=tmp_path / "nothing", SHIMPORT_DEBUG="")
    assert one_pair.run_shim("-c", "pass", env=zero).stderr == ""


def test_disable(pair):
    env = pair.daemon.env(SHIMPORT_DISABLE="1")
    pair.same("-c", CODE, env=env)
    result = pair.run_shim("-c", "import sys, json; print(sys.path_hooks, sys.meta_path)", env=env, check=True)
    assert "shimport" not in result.stdout
    status = pair.status(env=env, code=CODE)
    assert not status["active"]
    assert "SHIMPORT_DISABLE" in status["reason"]
    assert pair.status(env=pair.daemon.env(SHIMPORT_DISABLE=""), code=CODE)["active"]


def test_extension_that_is_gone_or_broken_is_silent(one_pair, public):
    """The file was taken away, or is no longer what it was, and the line that loads it stayed."""
    broken = harness.Pair(one_pair.interpreter, one_pair.daemon, public / "broken")
    library = next(broken.shim.parent.parent.rglob("_shimport.*.so"))
    broken.same("-c", CODE)
    library.write_bytes(b"\x7fELF no more")
    assert broken.same("-c", CODE).stderr == ""
    library.unlink()
    assert broken.same("-c", CODE).stderr == ""
