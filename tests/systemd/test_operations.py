# SPDX-License-Identifier: MIT
"""What an operator sees under systemd: the journal's fields, and the line of `systemctl status`."""

import json
import re
import subprocess

import harness


def journal(machine, *matches):
    result = machine.run("journalctl", "--no-pager", "-o", "json", "-u", "shimportd.service", *matches, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def warm(machine, python, *paths):
    arguments = [part for path in paths for part in ("--path", path)]
    return machine.run("shimportctl", "warm", "--python", python, *arguments, check=True, timeout=120)


def test_the_journal_is_asked_by_field(machine, venv, modules):
    warm(machine, venv, modules)
    entry = journal(machine, f"ROOT={modules}")[-1]
    assert f"{modules}: built for" in entry["MESSAGE"]
    assert int(entry["IMAGE"]) > 0
    assert entry["UID"] == "0"
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "shimportd"
    assert entry["INTERPRETER"].startswith("/usr/bin/python3")
    assert entry["_SYSTEMD_UNIT"] == "shimportd.service"
    assert not journal(machine, "ROOT=/nowhere")
    code = "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('/run/shimport/socket'); s.send(b'?'); s.recv(1)"
    machine.run("python3", "-c", code, user=61234, check=True)
    dropped = harness.wait_until(lambda: journal(machine, "UID=61234"), "the entry about a peer")[-1]
    assert dropped["REASON"] == "a packet that is no message"
    assert int(dropped["PEER_PID"]) > 1


def test_systemctl_status_has_a_line_of_figures(machine, venv, modules):
    warm(machine, venv, modules)
    machine.run("systemctl", "reload", "shimportd.service", check=True)
    line = machine.show("shimportd.service", "StatusText")
    assert re.fullmatch(r"1 images, 0\.\d of \d+ MiB, \d+ attaches, 1 builds", line), line


def test_at_rest_only_the_watchdog_wakes_the_daemon(machine):
    """And it is small, with all that it loads for the service manager."""
    machine.run("shimportctl", "status", check=True)
    pid = machine.main_pid()
    trace = machine.popen("timeout", "10", "strace", "-f", "-o", "/srv/trace", "-p", pid)
    assert trace.wait() == 124  # it has looked on for all that time
    calls = [line for line in machine.path("/srv/trace").read_text().splitlines() if "detached" not in line]
    pings = sum("WATCHDOG=1" in call for call in calls)
    assert pings <= 1  # WatchdogSec=30s, and a ping each half of it
    assert len(calls) <= 1 + 8 * pings, calls
    status = machine.run("cat", f"/proc/{pid}/status", check=True).stdout
    assert int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) <= 8 << 10


def test_what_is_mapped_is_known_over_a_restart(machine, venv, modules):
    warm(machine, venv, modules)

    def mapped():
        status = json.loads(machine.run("shimportctl", "status", "--json", check=True).stdout)
        return [image["mapped"] for image in status["images"] if image["root"] == modules]

    assert mapped() == [False]
    code = "import module1; print('ready', flush=True); input()"
    with machine.popen("env", f"PYTHONPATH={modules}", venv, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert mapped() == [True]
        machine.systemctl("restart", "shimportd.service")
        assert mapped() == [True]
        process.stdin.close()
        process.wait()
    harness.wait_until(lambda: mapped() == [False], "the process to be gone")
