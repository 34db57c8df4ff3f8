# SPDX-License-Identifier: MIT
"""What an operator sees under systemd: the journal's fields, and the line of `systemctl status`."""

import json
import re
import subprocess

import harness
import machine as machines


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


def test_a_journal_that_goes_and_comes_back_is_survived(machine, venv, modules):
    """What is logged meanwhile is lost, and nothing else is."""
    journald = ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"]
    machine.systemctl("start", "shimportd.service")
    pid = machine.main_pid()
    machine.systemctl("stop", *journald)
    try:
        warm(machine, venv, modules)
        machine.systemctl("reload", "shimportd.service")
    finally:
        machine.systemctl("start", *journald)
    assert machine.main_pid() == pid
    machine.run("shimportctl", "drop", check=True)
    warm(machine, venv, modules)
    harness.wait_until(lambda: journal(machine, f"ROOT={modules}"), "the journal to be told again")
    assert machine.main_pid() == pid


def test_enabled_used_and_disabled_it_leaves_the_tree_as_it_was(machine, modules):
    """Units, an interpreter and an environment of it."""
    places = ["/etc", "/usr/local", "/usr/lib/python3", "/srv/tree"]
    pythons = [part for python in ("/usr/bin/python3", "/srv/tree/bin/python3") for part in ("--python", python)]
    sockets = ["shimportd.socket", "shimport-builder@0.socket"]
    script = f"PYTHONPATH={modules} /usr/bin/python3 -c 'import module1'; /srv/tree/bin/python3 -c pass"
    machine.shell(f"python3 -m venv --without-pip /srv/tree; {script}", check=True)
    machine.systemctl("stop", "shimportd.service", *sockets)
    before = machine.files(*places)
    machine.systemctl("enable", "--now", *sockets)
    machine.run("shimportctl", "enable", *pythons, check=True)
    assert len(machines.changed(before, machine.files(*places))) > 10
    warm(machine, "/usr/bin/python3", modules)
    warm(machine, "/srv/tree/bin/python3", modules)
    machine.shell(f"{script}; /usr/bin/python3 -m shimport", check=True)
    machine.run("shimportctl", "disable", *pythons, check=True)
    machine.systemctl("disable", "--now", *sockets)
    machine.systemctl("stop", "shimportd.service")
    assert machines.changed(before, machine.files(*places)) == {}
    assert machine.run("ls", "-A", "/run/shimport").stdout.split() == ["builder"]


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
