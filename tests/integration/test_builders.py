# SPDX-License-Identifier: MIT
"""Builders that were taken over, and programs that are none: each costs its own root, and nobody else notices. What they
do is done within the real confinement (tests/hostile_builder.py). Users are real, so it takes root."""

import contextlib
import os
import pathlib
import platform
import re
import socket
import subprocess
import time

import pytest

import harness
import hostile_builder
import wire
from test_trust import ALICE, BOB, interpreter, place, run_as, write  # noqa: F401: fixtures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

TIMEOUT = 3
DEADLINE = f"the builder was not ready within {TIMEOUT} seconds"

PACKETS = {
    "floods_with_progress": DEADLINE,
    "floods_with_long_scans": "the builder has more directories watched than an image may have",
    "floods_with_scans": f"(the builder has more directories watched than an image may have|{DEADLINE})",
    "does_not_listen": "the builder does not listen",
    "sends_too_much": "the builder broke the protocol: a packet that is too long",
    "sends_rubbish": "the builder broke the protocol: not a message",
    "sends_a_job": "the builder broke the protocol: not a message",
    "scans_nothing": "the builder broke the protocol: a scan without its descriptors",
    "scans_no_path": "the builder broke the protocol: a scan of what is no path",
    "ends_without_image": "the builder broke the protocol: a result without an image",
    "ends_with_two": "the builder broke the protocol: a result without an image",
    "hangs_up": "the builder hung up without a result, and went on",
    "says_nothing": DEADLINE,
    "says_no_and_stays": "no, and I stay",
    "floods_the_log": DEADLINE,
}

IMAGES = {
    "is_not_sealed": "the builder's image is not sealed",
    "is_half_sealed": "the builder's image is not sealed",
    "is_a_file": "the builder's image is not sealed",
    "is_the_root": "the builder's image is not sealed",
    "is_short": "the builder's image is of no possible size",
    "is_cut": "its size is not what its header says",
    "is_of_another_root": "the builder's image is of another directory",
    "is_huge": "the image of 2147483648 bytes is larger than MemoryMax= of 67108864",
}

FORBIDDEN = {
    "tries_all": r"the builder exited with status 1: all of \d+ refused",
    "becomes_another": "the builder exited with status 2: sh: 1: Cannot fork",
    "eats_address_space": "the builder exited with status 1: MemoryError",
    "eats_file": r"the builder exited with status 1: OSError: \[Errno 27\] File too large",
    "eats_time": f"(the builder was killed by signal 9|{DEADLINE})",
    "eats_time_at_once": f"(the builder was killed by signal 9|{DEADLINE})",
}


class Neighbours:
    """A daemon with hostile builders, roots for them, and one honest root beside."""

    def __init__(self, directory, interpreter, modes, victim=0):
        self.directory, self.interpreter, self.described = directory, interpreter, interpreter.describe()
        self.honest = self.root("honest")
        self.roots = {mode: self.root(mode) for mode in modes}
        self.client = hostile_builder.make(directory / "client", victim)
        config = f"[daemon]\nClientPath={self.client}\nBuildTimeout={TIMEOUT}\nBuildJobs=32\nMemoryMax=64M\n"
        self.daemon = harness.Daemon(directory / "daemon", config=config)

    def root(self, name):
        return write(self.directory / name / f"{name}_module.py", "value = 'from disk'\n").parent

    def __enter__(self):
        self.daemon.start()
        self.daemon.warm(self.interpreter.executable, paths=[self.honest])
        state, _, image = self.ask(self.honest)[0]
        assert state == wire.SERVED
        (self.client / "image").write_bytes(os.pread(image, os.fstat(image).st_size, 0))
        os.close(image)
        self.fds = self.daemon.settled_fds()
        return self

    def __exit__(self, *error):
        self.daemon.__exit__(*error)

    def ask(self, *roots):
        with self.daemon.connect() as connection:
            return wire.ask_attach(connection, self.described, [str(root) for root in roots])

    def is_served(self, root):
        """Whether it is, and how long the answer took."""
        began = time.monotonic()
        state, _, image = self.ask(root)[0]
        took = time.monotonic() - began
        if image is not None:
            os.close(image)
        return state == wire.SERVED, took

    def memory(self):
        text = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(text.partition("RssAnon:")[2].split()[0]) << 10

    def failed(self):
        """Why the roots of the hostile builders have failed, once all have."""
        images = {image["root"]: image for image in self.daemon.status()["images"]}
        told = {mode: images.get(str(root), {}) for mode, root in self.roots.items()}
        return all(image.get("state") == "failed" for image in told.values()) and {mode: told[mode]["reason"] for mode in told}


@pytest.mark.parametrize("modes", [PACKETS, IMAGES], ids=["packets", "images"])
def test_a_hostile_builder_costs_its_own_root_alone(one_python, place, modes):
    with Neighbours(place / f"hostile-{len(modes)}", one_python, modes) as neighbours:
        daemon, before = neighbours.daemon, neighbours.memory()
        assert {state for state, _, _ in neighbours.ask(*neighbours.roots.values())} == {wire.BUILDING}
        beside, taken, most = neighbours.root("beside"), [], 0

        def all_have_failed():
            served, took = neighbours.is_served(neighbours.honest)
            assert served
            taken.append(took)
            nonlocal most
            most = max(most, neighbours.memory())
            time.sleep(0.02)
            return neighbours.failed()

        neighbours.ask(beside)  # built while the others do their worst
        reasons = harness.wait_until(all_have_failed, "all to fail", 60)
        for mode, reason in reasons.items():
            assert re.fullmatch(modes[mode], reason), (mode, reason)
        harness.wait_until(lambda: neighbours.is_served(beside)[0], "the root beside them")
        print(f"{len(taken)} attaches meanwhile, the slowest in {max(taken) * 1e3:.1f} ms; the daemon's memory {before >> 10} KiB, at most {most >> 10} KiB")
        assert sorted(taken)[len(taken) // 2] < 0.05
        assert most < before + (160 << 20)
        shown = daemon.ctl("status").stdout
        assert all(re.search(pattern, shown) for pattern in modes.values())

        built = daemon.status()["builds_failed"]
        assert built == len(modes)
        for _ in range(20):
            neighbours.ask(*neighbours.roots.values())
        harness.wait_until(lambda: not daemon.children(), "the builders to be gone")
        assert daemon.status()["builds_failed"] == built  # backed off
        assert len(daemon.log()) < 1 << 20
        daemon.ctl("drop", check=True)
        daemon.warm(one_python.executable, paths=[neighbours.honest])
        daemon.assert_fds(neighbours.fds)


def test_a_file_of_another_user_is_no_image(interpreter, place):
    """The one that a builder is given by the daemon, sealed and all, and hands back."""
    with Neighbours(place / "another", interpreter, ()) as neighbours:
        daemon = neighbours.daemon
        daemon.config.write_text(daemon.config.read_text() + "Preload=used\n")
        daemon.ctl("reload", check=True)
        root = neighbours.root("is_of_another_user")
        names = [f"a_rather_long_name_of_a_module_{n}" for n in range(20)]
        for name in names:
            write(root / f"{name}.py", "", ALICE)
        os.chown(root, ALICE, ALICE)
        neighbours.ask(root)
        harness.wait_until(lambda: neighbours.is_served(root)[0], "the first image")
        status = root.stat()
        wanted = wire.field(1, str(root)) + wire.field(2, status.st_dev) + wire.field(3, status.st_ino)
        wanted += b"".join(wire.field(4, name) for name in names)
        with daemon.connect() as connection:
            connection.send(wire.request(wire.REPORT, wire.field(6, neighbours.described["tag"]) + wire.field(7, wanted)))
            line = "is_of_another_user: not built: the builder's image belongs to another user"
            harness.wait_until(lambda: line in daemon.log(), "the image to be refused")
        assert neighbours.is_served(root)[0]  # as before


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")
def test_what_is_forbidden_is_refused_and_limits_end_a_builder(one_python, place):
    victim = subprocess.Popen(["sleep", "1000"])
    limits, priority = pathlib.Path(f"/proc/{victim.pid}/limits").read_text(), os.getpriority(os.PRIO_PROCESS, victim.pid)
    try:
        with Neighbours(place / "forbidden", one_python, FORBIDDEN, victim.pid) as neighbours:
            before = neighbours.memory()
            neighbours.ask(*neighbours.roots.values())

            def all_have_failed():
                assert neighbours.is_served(neighbours.honest)[0]
                return neighbours.failed()

            for mode, reason in harness.wait_until(all_have_failed, "all to fail", 60).items():
                assert re.fullmatch(FORBIDDEN[mode], reason), (mode, reason)
            assert "all of" in neighbours.daemon.ctl("status").stdout
            log = neighbours.daemon.log()  # of the shell that one has become
            assert "sh: 1: cannot create" in log and "sh: 1: kill: Operation not permitted" in log
            assert not (neighbours.client / "written").exists()
            assert neighbours.memory() < before + (16 << 20)
            harness.wait_until(lambda: not neighbours.daemon.children(), "the builders to be gone")
        assert victim.poll() is None
        assert pathlib.Path(f"/proc/{victim.pid}/limits").read_text() == limits
        assert os.getpriority(os.PRIO_PROCESS, victim.pid) == priority
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")
def test_a_builder_cannot_hinder_others_of_its_user(interpreter, place):
    """The kernel itself would let it: one of the same user and group, with no capability more."""
    victim = subprocess.Popen(["setpriv", f"--reuid={ALICE}", "--regid=65534", "--clear-groups", "sleep", "1000"])
    try:
        with Neighbours(place / "own", interpreter, ["tries_all"], victim.pid) as neighbours:
            os.chown(neighbours.roots["tries_all"], ALICE, ALICE)
            neighbours.ask(*neighbours.roots.values())
            reason = harness.wait_until(neighbours.failed, "it to fail")["tries_all"]
            assert re.fullmatch(FORBIDDEN["tries_all"], reason), reason
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def limits_of(pid):
    """The hard limits, as the kernel tells them."""
    text = pathlib.Path(f"/proc/{pid}/limits").read_text()
    return {line[:26].strip(): line[26:].split()[1] for line in text.splitlines()[1:]}


def test_the_limits_of_a_builder_as_the_kernel_has_them(one_python, place):
    with Neighbours(place / "limited", one_python, ["says_nothing"]) as neighbours:
        neighbours.ask(*neighbours.roots.values())

        def limited():
            with contextlib.suppress(FileNotFoundError, IndexError):
                found = limits_of(neighbours.daemon.children()[0])
                return found["Max address space"] != "unlimited" and found  # the last to be set

        seen = harness.wait_until(limited, "the builder")
        expected = {"cpu time": TIMEOUT, "address space": 8 << 30, "file size": 4 << 30, "open files": 4096, "core file size": 0}
        assert {name: seen[f"Max {name}"] for name in expected} == {name: str(most) for name, most in expected.items()}


def test_the_processor_time_of_a_builder_ends(one_python, place):
    """Whatever the daemon's deadline is: here there is no daemon."""
    client = hostile_builder.make(place / "time")
    root = write(place / "eats_time" / "m.py", "").parent
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    socket.send_fds(ours, [wire.field(1, wire.field(1, str(root)) + wire.field(6, one_python.executable))], [fd])
    os.close(fd)
    command = [str(harness.BUILD / "bin" / "shimport-builder"), "--child", "0", str(client), "1"]
    with subprocess.Popen(command, preexec_fn=lambda: os.dup2(theirs.fileno(), 3), pass_fds=[3, theirs.fileno()]) as process:
        theirs.close()
        assert process.wait(harness.PATIENCE) == -9
    ours.close()


# ---- programs that are no interpreters ------------------------------------------------------------------------

STARTED = "#!/bin/sh\necho I WAS STARTED >&2\nexit 9\n"


def program(path, owner=0, mode=0o755):
    return write(path, STARTED, owner, mode)


def programs(place):
    """(name, program, why it is not started)"""
    yield "a shell", pathlib.Path("/bin/sh"), "is not called python"
    yield "of root's, of another name", program(place / "programs" / "perl"), "is not called python"
    (place / "programs" / "python3").symlink_to("/bin/sh")
    yield "a link to a shell", place / "programs" / "python3", "is not called python"
    yield "a tenant's", program(place / "programs" / "python3.11", ALICE), "belongs to another user"
    yield "one that a group may write", program(place / "programs" / "python3.12", mode=0o775), "is writable by others"
    yield "one that is not executable", program(place / "programs" / "python3.13", mode=0o644), "is not executable"
    theirs = program(place / "theirs" / "python3")
    os.chown(theirs.parent, ALICE, ALICE)
    yield "root's, in a tenant's directory", theirs, "belongs to another user"
    (place / "programs" / "python3.14").symlink_to(theirs)
    yield "a link of root's into a tenant's directory", place / "programs" / "python3.14", "belongs to another user"
    (place / "programs" / "python4").mkdir()
    yield "a directory", place / "programs" / "python4", "is not a regular file"
    yield "nothing", place / "programs" / "python5", "No such file or directory"


def test_only_a_python_of_roots_or_of_the_builders_user_is_started(interpreter, place):
    place = place / "started"
    described = interpreter.describe()
    with harness.Daemon(place / "daemon") as daemon:

        def answer(name, executable, owner=0):
            root = write(place / "roots" / name.replace(" ", "-") / "m.py", "", owner).parent
            os.chown(root, owner, owner)
            asked = dict(described, executable=str(executable))

            def failed():
                with daemon.connect() as connection:
                    state, reason, _ = wire.ask_attach(connection, asked, [str(root)])[0]
                return state == wire.FAILED and (str(root), reason)

            return harness.wait_until(failed, name)

        for name, executable, why in programs(place):
            root, reason = answer(name, executable)
            assert "the interpreter is not trusted to build as uid 0: " in reason and why in reason, (name, reason)
            assert reason in daemon.ctl("status").stdout
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            body = wire.field(1, wire.interpreter(dict(described, executable=str(executable)))) + wire.field(2, wire.field(1, root))
            with daemon.connect() as connection:
                socket.send_fds(connection, [wire.request(wire.WARM, body)], [fd])
                os.close(fd)
                told = connection.recv(wire.PACKET_SIZE_MAX)
            assert why.encode() in told, (name, told)
        assert "I WAS STARTED" not in daemon.log()

        python = program(place / "theirs" / "pythons" / "python3", ALICE)
        os.chown(python.parent, ALICE, ALICE)
        assert "belongs to another user" in answer("a tenant's, for another", python, BOB)[1]
        assert "belongs to another user" in answer("a tenant's, for root", python)[1]
        assert "I WAS STARTED" not in daemon.log()
        assert answer("a tenant's own", python, ALICE)[1] == "the builder exited with status 9: I WAS STARTED"
        assert answer("root's", program(place / "programs" / "python3.9"))[1] == "the builder exited with status 9: I WAS STARTED"
