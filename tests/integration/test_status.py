# SPDX-License-Identifier: MIT
"""What the daemon tells of itself: to a person, to programs, to metrics, and how it rests."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as older_text

import harness
import wire

F_SETPIPE_SZ = 1031


def documented():
    """The members that shimportctl(1) promises: of the status, of an image, of what was left out, of a refused peer."""
    page = (harness.ROOT / "daemon" / "shimportctl.1").read_text()
    lists = re.findall(r"^\.\\\" members: (\w+)\n(.*?)^\.\\\" end", page, re.MULTILINE | re.DOTALL)
    tags = {name: " ".join(re.findall(r"^\.TP\n\.BR? (.*)", text, re.MULTILINE)) for name, text in lists}
    return {name: set(re.findall(r"\w+", text)) for name, text in tags.items()}


def numbers(daemon):
    text = daemon.ctl("status", "--metrics", check=True).stdout
    return {family.name: family for family in openmetrics(text)}, text


def test_json_has_what_the_manual_page_promises_and_nothing_else(pair):
    with pair.daemon.connect() as bad:
        bad.send(b"\xff\xff\xff")  # so that there is a refused peer
        assert bad.recv(1) == b""
    status = pair.daemon.status()
    promised = documented()
    assert set(status) == promised["status"]
    assert set(status["images"][0]) == promised["image"]
    left_out = [one for image in status["images"] for one in image["left_out"]]
    assert set(left_out[0]) == promised["left_out"]
    assert set(status["refused"][0]) == promised["refused"]


def test_counts(pair):
    before = pair.daemon.status()
    pair.run_shim("-c", "import argparse, json", check=True)
    harness.wait_until(lambda: pair.daemon.status()["served"] > before["served"], "the report of a process")
    after = pair.daemon.status()
    assert after["attaches"] > before["attaches"]
    assert 1 <= after["attaches_last_minute"] <= after["attaches"]
    assert after["attach_p99_us"] >= after["attach_p50_us"] > 0
    assert after["attach_sum_us"] > before["attach_sum_us"]
    assert abs(after["started_at"] + after["uptime"] - time.time()) < 5
    assert after["memory"] == sum(image["bytes"] for image in after["images"]) + after["memory_lingering"]
    stdlib = [image for image in after["images"] if image["root"] == pair.interpreter.stdlib()]
    assert any(abs(image["last_attach"] - time.time()) < 60 for image in stdlib)


def test_a_mapped_image_is_told_from_one_that_is_not(make_daemon, one_pair):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)

    def mapped():
        return {image["mapped"] for image in daemon.status()["images"]}

    assert mapped() == {False}
    code = "import argparse; print('ready', flush=True); input()"
    with subprocess.Popen([one_pair.shim, "-c", code], env=daemon.env(), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert True in mapped()
        process.stdin.close()
    assert mapped() == {False}


def test_metrics_are_valid_and_agree_with_the_status(pair):
    pair.run_shim("-c", "import argparse", check=True)
    families, text = numbers(pair.daemon)
    status = pair.daemon.status()
    assert text.endswith("# EOF\n")

    def value(name, sample=None):
        (only,) = [one for one in families[name].samples if one.name == (sample or name)]
        return only.value

    assert value("shimport_memory_limit_bytes") == status["memory_limit"]
    assert value("shimport_builds", "shimport_builds_total") == status["builds"]
    assert value("shimport_watches") == status["watches"]
    assert value("shimport_attach_seconds", "shimport_attach_seconds_count") == status["attaches"]
    sizes = {sample.labels["root"]: sample.value for sample in families["shimport_image_bytes"].samples}
    assert sizes[pair.interpreter.stdlib()] > 1 << 20
    states = [sample for sample in families["shimport_image_state"].samples if sample.value]
    assert len(states) == len(families["shimport_image_bytes"].samples)
    for family in families.values():
        assert family.documentation
        assert family.type != "unknown"
    # what node_exporter's textfile collector reads
    names = {family.name for family in older_text(text)}
    assert {"shimport_builds_total", "shimport_image_bytes"} <= names


def test_metrics_of_names_that_need_escaping(make_daemon, one_pair, tmp_path):
    daemon = make_daemon()
    name = 'a "quoted" \\ name, {ünï}\n'
    root = tmp_path / name
    root.mkdir()
    daemon.warm(one_pair.shim, paths=[root])
    families, _ = numbers(daemon)
    (sample,) = families["shimport_image_bytes"].samples
    assert sample.labels["root"] == str(root).replace("\n", "\\x0a")


class Terminal:
    """A command on a terminal of its own, and the screen as a person would see it."""

    def __init__(self, command, env, rows=20, columns=60):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(str(command[0]), [str(part) for part in command], env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.rows, self.columns, self.output = rows, columns, ""

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.output += data.decode()
        return self.output

    def screens(self):
        """What was drawn, each time from the top left corner."""
        return self.read().split("\x1b[H")[1:]

    def end(self):
        os.kill(self.pid, signal.SIGINT)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_watch_draws_in_place(make_daemon, one_pair):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)
    command = [harness.SHIMPORTCTL, "--socket", daemon.socket, "status", "--watch=0.1"]
    terminal = Terminal(command, harness.environment())
    harness.wait_until(lambda: len(terminal.screens()) > 4, "a screen")
    before = len(terminal.screens())
    one_pair.run_shim("-c", "pass", env=daemon.env(), check=True)
    harness.wait_until(lambda: len(terminal.screens()) > before + 3, "more screens")
    first, last = terminal.screens()[2], terminal.screens()[-2]
    for screen in (first, last):
        lines = re.sub(r"\x1b\[[0-9]*[A-Z]", "", screen).split("\r\n")
        assert len(lines) <= terminal.rows
        assert all(len(line) <= terminal.columns for line in lines)
    assert "attaches: 0," in first and re.search(r"attaches: [1-9]", last)
    daemon.stop()
    harness.wait_until(lambda: "no daemon answers" in terminal.screens()[-1], "the end of the daemon to be told")
    daemon.start()
    harness.wait_until(lambda: "attaches: 0" in terminal.screens()[-1], "the next daemon")
    assert terminal.end() == 0


def test_watch_is_for_a_terminal(daemon):
    assert daemon.ctl("status", "--watch").returncode == 2
    assert daemon.ctl("status", "--watch=never").returncode == 2
    assert daemon.ctl("status", "--json", "--metrics").returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_refused_peers_are_told_with_their_reasons():
    with harness.public_directory() as directory:
        with harness.Daemon(directory / "daemon", config="[daemon]\nMaxPeersPerUser=4\n") as daemon:
            other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            if harness.run([*other, harness.SHIMPORTCTL, "--help"]).returncode:
                pytest.skip("another user may not run what was built here")
            for _ in range(3):
                harness.run([*other, harness.SHIMPORTCTL, "--socket", daemon.socket, "drop"])
            with contextlib.ExitStack() as stack:
                peers = [stack.enter_context(daemon.connect()) for _ in range(5)]
                assert b"too many connections of this user" in peers[-1].recv(1000)
            harness.wait_until(lambda: daemon.ctl("status").returncode == 0, "the connections to be gone")
            refused = {(one["uid"], one["reason"]): one for one in daemon.status()["refused"]}
            assert refused[65534, "only root or user 0, who runs the daemon, may ask for that"]["count"] == 3
            assert (0, "too many connections of this user: MaxPeersPerUser= is 4") in refused
            text = daemon.ctl("status", check=True).stdout
            assert re.search(r"refused: +user 65534.*only root.*3 times", text)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_one_users_noise_does_not_silence_the_log_about_another():
    with harness.public_directory() as directory, harness.Daemon(directory / "daemon") as daemon:
        for _ in range(100):
            with daemon.connect() as noisy:
                noisy.send(b"\xff\xff\xff")
                assert noisy.recv(1) == b""
        assert 10 <= daemon.log().count("of user 0 dropped") <= 30
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]);"
            " s.send(b'\\xff'); s.recv(1)"
        )
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
        harness.run([*other, daemon.socket], check=True)
        assert "of user 65534 dropped" in daemon.log()


JOURNAL = """
import json, os, socket, subprocess, sys
os.makedirs("/run/systemd/journal")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
log, command = sys.argv[1], sys.argv[2:]
with open(log, "w") as stderr:
    status = os.fstat(stderr.fileno())
    stream = f"{status.st_dev}:{status.st_ino}"
    daemon = subprocess.Popen(command, stderr=stderr, env={**os.environ, "JOURNAL_STREAM": stream})
while True:
    entry = journal.recv(1 << 20).decode()
    print(json.dumps(dict(line.split("=", 1) for line in entry.splitlines() if "=" in line)), flush=True)
"""


def without_journal(*command):
    """The command with a /run of its own, in which no journal listens."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a /run of its own")
    propagation = "private"
    mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    if "/" not in mounts:  # a chroot, of whose root unshare(1) cannot change the propagation
        if "/run" not in mounts:
            pytest.skip("/run is no file system here")
        propagation = "unchanged"
    script = 'mount --make-private /run 2>/dev/null; mount -t tmpfs tmpfs /run && exec "$@"'
    unshare = ["unshare", "--mount", f"--propagation={propagation}", "--kill-child", "sh", "-c", script, "sh"]
    return [str(part) for part in [*unshare, *command]]


def test_fields_for_the_journal(tmp_path, one_pair):
    """What the journal's socket gets when stderr is the journal; nothing goes to stderr then."""
    socket_path, log = tmp_path / "socket", tmp_path / "log"
    command = without_journal("/usr/bin/python3", "-c", JOURNAL, log, harness.SHIMPORTD, "--socket", socket_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=harness.environment(SHIMPORT_SOCKET=None)) as journal:
        def entries(until):
            for line in journal.stdout:
                entry = json.loads(line)
                yield entry
                if until(entry):
                    return
            raise AssertionError("the journal has ended")

        try:
            list(entries(lambda entry: "listens" in entry["MESSAGE"]))
            site = tmp_path / "site"
            site.mkdir()
            harness.run([harness.SHIMPORTCTL, "--socket", socket_path, "warm", "--python", one_pair.shim, "--path",
                         site], check=True)
            *_, built = entries(lambda entry: "ROOT" in entry)
            assert built["ROOT"] == str(site)
            assert built["IMAGE"] == "1"
            assert built["UID"] == "0"
            assert built["PRIORITY"] == "6"
            assert built["SYSLOG_IDENTIFIER"] == "shimportd"
            assert os.path.realpath(built["INTERPRETER"]) == os.path.realpath(one_pair.interpreter.executable)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bad:
                bad.connect(str(socket_path))
                bad.send(b"\xff")
                assert bad.recv(1) == b""
            *_, dropped = entries(lambda entry: "dropped" in entry["MESSAGE"])
            assert (dropped["UID"], dropped["PEER_PID"]) == ("0", str(os.getpid()))
            assert dropped["REASON"] == "a packet that is no message"
            assert dropped["PRIORITY"] == "4"
            assert log.read_text() == ""
        finally:
            journal.kill()
            daemon = harness.run([harness.SHIMPORTCTL, "--socket", socket_path, "status", "--json"])
            if daemon.returncode == 0:
                os.kill(json.loads(daemon.stdout)["pid"], signal.SIGTERM)


def test_a_journal_that_takes_nothing_gets_lines_with_levels(tmp_path):
    """JOURNAL_STREAM is right, and nobody listens at the journal's socket: stderr has it all."""
    log = tmp_path / "log"
    with open(log, "w") as stderr:
        status = os.fstat(stderr.fileno())
        env = harness.environment(SHIMPORT_SOCKET=None, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
        command = without_journal(harness.SHIMPORTD, "--socket", tmp_path / "socket", "--idle-exit", "1")
        subprocess.run(command, stderr=stderr, env=env, check=True, timeout=60)
    assert re.fullmatch(r"<6>shimportd .* listens at .*\n<6>nobody has come .*\n", log.read_text())


HUNG_JOURNAL = """
import os, socket, subprocess, sys, time
os.makedirs("/run/systemd/journal")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
reader, writer = os.pipe()
status = os.fstat(writer)
stream = f"{status.st_dev}:{status.st_ino}"
subprocess.run(sys.argv[1:], stderr=writer, env={**os.environ, "JOURNAL_STREAM": stream})
"""


@pytest.mark.parametrize("journal", [False, True])
def test_a_log_that_nobody_reads_is_not_waited_for(tmp_path, journal):
    """Neither the journal nor whoever is at the other end of stderr."""
    socket_path = tmp_path / "socket"
    command = [harness.SHIMPORTD, "--socket", socket_path]
    if journal:
        command = without_journal("/usr/bin/python3", "-c", HUNG_JOURNAL, *command)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    daemon = subprocess.Popen(command, stderr=writer, env=harness.environment(SHIMPORT_SOCKET=None))
    ctl = [harness.SHIMPORTCTL, "--socket", socket_path]
    try:
        status = harness.wait_until(lambda: harness.run([*ctl, "status", "--json"]).stdout, "the daemon to listen")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(5)
            asking.connect(str(socket_path))
            for _ in range(1000):  # each a line, and the queue of a socket is of 512 of them at most
                wire.ask(asking, wire.request(wire.DROP))
        harness.run([*ctl, "status"], check=True, timeout=5)
        os.kill(json.loads(status)["pid"], signal.SIGTERM)
        daemon.wait(5)
    finally:
        daemon.kill()
        daemon.wait()
        os.close(reader)
        os.close(writer)


def test_at_rest_the_daemon_makes_no_system_call(make_daemon):
    """No timer, no polling: it waits in one call. (With a service manager's watchdog there is one turn for each ping.)"""
    daemon = make_daemon()
    daemon.status()
    trace = daemon.directory / "trace"
    strace = subprocess.Popen(["strace", "-f", "-o", str(trace), "-p", str(daemon.pid)], stderr=subprocess.PIPE,
                              text=True)
    assert "attached" in strace.stderr.readline()
    time.sleep(5)
    strace.terminate()
    strace.wait(harness.PATIENCE)
    calls = [line for line in trace.read_text().splitlines() if "detached" not in line]
    assert len(calls) <= 1, calls
    assert all("epoll_" in call for call in calls), calls


def test_at_rest_the_daemon_is_small(make_daemon):
    daemon = make_daemon()
    daemon.status()
    assert resident(daemon.pid) <= 8 << 10


def resident(pid):
    """KiB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)[1])
