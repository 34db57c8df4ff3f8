# SPDX-License-Identifier: MIT
"""What the daemon tells a service manager, and what it takes from one: sd_notify(3) and sd_listen_fds(3), spoken by hand.
tests/systemd has the same with the manager itself, where one can be booted."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import harness
import sites

# Executes the daemon with descriptors from 3 on, as LISTEN_PID's own process has to.
LAUNCH = """
import os, sys
names, fds, command = sys.argv[1], [int(fd) for fd in sys.argv[2].split(":") if fd], sys.argv[3:]
aside = [os.dup2(fd, 500 + n) for n, fd in enumerate(fds)]
for n, fd in enumerate(aside):
    os.dup2(fd, 3 + n)
os.closerange(3 + len(fds), 500 + len(fds))
os.execve(command[0], command, {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)),
                                "LISTEN_FDNAMES": names})
"""


class Manager:
    """Listens at the daemon's socket, starts it, and keeps what it is given to keep."""

    def __init__(self, directory, config=None):
        directory.mkdir()
        self.directory, self.path = directory, directory / "socket"
        self.config = directory / "shimport.conf"
        self.config.write_text(config or "[daemon]\n")
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(self.path))
        self.listening.listen(100)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        self.stored = []  # (name, descriptor)
        self.told = []
        self.daemon = None

    def start(self, **env):
        fds = [("shimportd.socket", self.listening.fileno()), *self.stored]
        env = harness.environment(SHIMPORT_SOCKET=None, NOTIFY_SOCKET=self.directory / "notify", **env)
        names, numbers = (":".join(str(part) for part in column) for column in zip(*fds))
        command = [harness.SHIMPORTD, "--config", self.config]
        self.daemon = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, names, numbers, *map(str, command)],
            env=env, pass_fds=[fd for _, fd in fds], stderr=open(self.directory / "log", "ab"),
        )
        self.wait_for("READY=1")
        return self

    def receive(self, seconds):
        """One message. It may keep descriptors, or have them dropped."""
        self.notify.settimeout(seconds)
        try:
            data, fds, _, _ = socket.recv_fds(self.notify, 4096, 16)
        except TimeoutError:
            return None
        message = data.decode()
        fields = dict(line.split("=", 1) for line in message.splitlines())
        if fields.get("FDSTORE") == "1":
            self.stored += [(fields["FDNAME"], fd) for fd in fds]
        elif fields.get("FDSTOREREMOVE") == "1":
            for _, fd in [kept for kept in self.stored if kept[0] == fields["FDNAME"]]:
                os.close(fd)
            self.stored = [kept for kept in self.stored if kept[0] != fields["FDNAME"]]
        self.told.append(message)
        return message

    def wait_for(self, line, seconds=harness.PATIENCE):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.receive(deadline - time.monotonic())
            if message and line in message.splitlines():
                return message
        raise AssertionError(f"waited in vain for {line}: {self.told}")

    def listen_for(self, seconds):
        """All that is said for a while."""
        deadline, heard = time.monotonic() + seconds, []
        while (left := deadline - time.monotonic()) > 0:
            if message := self.receive(left):
                heard.append(message)
        return heard

    def ctl(self, *arguments, **options):
        return harness.run([harness.SHIMPORTCTL, "--socket", self.path, *arguments], **options)

    def status(self):
        return json.loads(self.ctl("status", "--json", check=True).stdout)

    def log(self):
        return (self.directory / "log").read_text()

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        self.listening.close()
        self.notify.close()
        for _, fd in self.stored:
            os.close(fd)


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "manager")
    yield made
    made.close()


def test_it_tells_when_it_is_ready_reloads_and_stops(manager):
    manager.start()
    assert manager.status()["pid"] == manager.daemon.pid
    assert manager.receive(5).startswith("STATUS=0 images")
    for text, accepted in (("[daemon]\nBuildJobs=1\n", True), ("[daemon]\nBuildJobs=many\n", False)):
        manager.config.write_text(text)
        assert (manager.ctl("reload").returncode == 0) == accepted
        reloading = manager.wait_for("RELOADING=1")
        began = int(reloading.partition("MONOTONIC_USEC=")[2].split()[0])
        assert abs(time.monotonic() * 1e6 - began) < 10e6
        manager.wait_for("READY=1")
    manager.daemon.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert manager.daemon.wait(2) == 0
    assert manager.path.exists()  # the socket is the manager's


def test_the_loop_itself_feeds_the_watchdog(manager):
    manager.start(WATCHDOG_USEC=400_000)
    manager.listen_for(0.1)
    heard = manager.listen_for(2).count("WATCHDOG=1")
    assert 7 <= heard <= 11
    os.kill(manager.daemon.pid, signal.SIGSTOP)
    manager.listen_for(0.1)
    assert manager.listen_for(0.5) == []
    os.kill(manager.daemon.pid, signal.SIGCONT)


@pytest.fixture
def site(manager, one_pair, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name, value in (("one", 1), ("two", 2)):
        (root / f"{name}.py").write_text(f"value = {value}\n")
        os.utime(root / f"{name}.py", (1e9, 1e9))
    manager.start()
    time.sleep(0.3)  # what is about as old as the image is not believed after a restart
    manager.ctl("warm", "--python", one_pair.shim, "--path", root, check=True)
    manager.listen_for(0.2)
    return root


def image(manager, root):
    return next((one for one in manager.status()["images"] if one["root"] == str(root)), None)


def again(manager, number):
    manager.daemon.send_signal(number)
    manager.daemon.wait(5)
    manager.listen_for(0.1)
    manager.start()
    manager.listen_for(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_it_has_kept_comes_back(manager, site, one_pair, number):
    before = image(manager, site)
    assert [name for name, _ in manager.stored].count(f"image-{before['generation']}") == 2
    running = sites.Running(one_pair.shim, harness.environment(SHIMPORT_SOCKET=manager.path, PYTHONPATH=site))
    try:
        assert running.value("one") == 1
        for _ in range(3):
            again(manager, number)
            after = image(manager, site)
            assert manager.status()["builds"] == 0
            assert (after["generation"], after["state"], after["stale"]) == (before["generation"], "served", 0)
        served = running.root(site)["served"]
        assert running.value("two") == 2
        assert running.root(site)["served"] == served + 1
    finally:
        running.close()


def test_what_changed_meanwhile_is_stale_and_built_again(manager, site, one_pair):
    before = image(manager, site)
    manager.daemon.kill()
    manager.daemon.wait()
    (site / "two.py").write_text("value = 22\n")
    manager.start()
    env = harness.environment(SHIMPORT_SOCKET=manager.path, PYTHONPATH=site)
    code = "import one, two; print(one.value, two.value)"
    assert one_pair.run_shim("-B", "-c", code, env=env, check=True).stdout == "1 22\n"
    harness.wait_until(lambda: image(manager, site)["generation"] > before["generation"], "another image")
    manager.listen_for(0.2)
    assert {name for name, _ in manager.stored if name == f"image-{before['generation']}"} == set()
    again(manager, signal.SIGKILL)
    assert manager.status()["builds"] == 0
    assert one_pair.run_shim("-B", "-c", code, env=env, check=True).stdout == "1 22\n"


def test_what_is_of_no_use_is_dropped_with_a_line_in_the_log(manager, site, tmp_path):
    """Descriptors of somebody else's, an image without its state, one whose state is another's, one of no image."""
    name = f"image-{image(manager, site)['generation']}"
    manager.daemon.kill()
    manager.daemon.wait()
    own = [fd for kept, fd in manager.stored if kept == name]
    reader, writer = os.pipe()
    os.close(writer)
    empty = os.memfd_create("empty", os.MFD_ALLOW_SEALING)
    manager.stored += [
        ("stranger", reader),
        ("a file", os.open(__file__, os.O_RDONLY)),
        ("image-empty", empty),
        ("image-alone", os.dup(own[0])),
        ("image-twice", os.dup(own[0])),
        ("image-twice", os.dup(own[0])),
    ]
    manager.start()
    manager.listen_for(0.2)
    for dropped in ("stranger", "a file", "image-empty", "image-alone", "image-twice"):
        assert f"kept by the service manager as '{dropped}': dropped: not an image and its state" in manager.log()
    assert {kept for kept, _ in manager.stored} == {name}
    assert image(manager, site)["state"] == "served"


def test_an_image_of_a_directory_that_is_another_by_now_is_dropped(manager, site):
    manager.daemon.kill()
    manager.daemon.wait()
    site.rename(site.with_name("aside"))
    site.mkdir()
    manager.start()
    manager.listen_for(0.2)
    assert image(manager, site) is None
    assert manager.stored == []
    assert "dropped: another directory is at its path" in manager.log()


def test_sockets_of_another_kind_are_passed_over(manager):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as other:
            manager.stored.insert(0, ("other", os.dup(other.fileno())))
    manager.start()
    assert manager.status()["pid"] == manager.daemon.pid
