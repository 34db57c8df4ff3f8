# SPDX-License-Identifier: MIT
"""The system instance and the user instance under a real systemd: activation, readiness, reload, watchdog, end."""

import json
import os
import signal
import subprocess
import time

import pytest

import harness
import machine as machines


def status(machine, user=None):
    return json.loads(machine.run("shimportctl", "status", "--json", user=user, check=True).stdout)


def active(machine, unit="shimportd.service", user=None):
    return machine.systemctl("is-active", unit, user=user, check=False).stdout.strip()


def imports(machine, python, path, code, user=None):
    """Runs code with a directory on sys.path; returns what it printed and what shimport says of itself."""
    script = f"{code}\nimport json, _shimport\nprint(json.dumps(_shimport.status(), default=repr))"
    result = machine.run("env", f"PYTHONPATH={path}", python, "-c", script, user=user, check=True)
    *printed, last = result.stdout.splitlines()
    return printed, json.loads(last)


def warm(machine, python, *paths, user=None):
    arguments = [part for path in paths for part in ("--path", path)]
    return machine.run("shimportctl", "warm", "--python", python, *arguments, user=user, timeout=120)


def override(machine, text, unit="shimportd.service"):
    machine.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
    machine.systemctl("daemon-reload")


def test_units_verify(machine):
    units = [f"/usr/local/lib/systemd/system/{name}" for name in (
        "shimportd.socket", "shimportd.service", "shimport-builder@0.socket", "shimport-builder@.service")]
    result = machine.run("env", "-u", "SYSTEMD_UNIT_PATH", "systemd-analyze", "verify", "--man=no", *units)
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if "shimport" in line]
    assert (result.returncode, complaints) == (0, [])


def test_user_units_verify(machine, user):
    units = [f"/usr/local/lib/systemd/user/{name}" for name in ("shimportd.socket", "shimportd.service")]
    result = machine.run("systemd-analyze", "verify", "--user", "--man=no", *units, user=user)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_system_unit_is_exposed_to_little(tmp_path):
    unit = machines.install(tmp_path) / "usr/local/lib/systemd/system/shimportd.service"
    result = harness.run(["systemd-analyze", "security", "--offline=yes", "--threshold=10", unit])
    assert result.returncode == 0, result.stdout
    print(result.stdout.strip().splitlines()[-1])


def test_every_directive_has_its_reason():
    """A comment stands above each block of directives, in every unit."""
    for unit in sorted((harness.ROOT / "systemd").glob("*/*.[cs]*[ter]")):
        commented = False
        for number, line in enumerate(unit.read_text().splitlines(), 1):
            if line.startswith("#"):
                commented = True
            elif not line.strip():
                commented = False
            elif line.startswith("["):
                section, commented = line, False
            elif not line.startswith(("Description=", "Documentation=", "WantedBy=", "Type=", "ExecStart=")):
                assert commented or section in ("[Install]",), f"{unit}:{number}: {line}"


def test_presets_enable_the_sockets_of_the_system_instance(machine):
    machine.shell("cp -r /usr/local/lib/systemd/system-preset /etc/systemd/", check=True)
    machine.systemctl("preset", "shimportd.socket", "shimport-builder@0.socket")
    assert machine.systemctl("is-enabled", "shimportd.socket").stdout.strip() == "enabled"
    assert machine.systemctl("is-enabled", "shimport-builder@0.socket").stdout.strip() == "enabled"
    assert machine.systemctl("is-enabled", "shimport-builder@1.socket", check=False).stdout.strip() != "enabled"
    machine.systemctl("disable", "shimportd.socket", "shimport-builder@0.socket")


def test_the_first_import_starts_the_service(machine, venv):
    assert active(machine) == "inactive"
    machine.run(venv, "-c", "import json", check=True)
    harness.wait_until(lambda: active(machine) == "active", "the service to start", 10)
    assert machine.run("stat", "-c", "%U %a", "/run/shimport/socket").stdout == "root 666\n"
    assert machine.run("ps", "-o", "user=", "-p", machine.main_pid()).stdout.strip() == "shimport"


def test_the_builder_is_the_owner_of_the_root_and_has_no_privileges(machine, venv, modules):
    """Its socket is the daemon's alone; the image belongs to root, and so every user takes it."""
    assert machine.run("stat", "-c", "%U %a", "/run/shimport/builder/0").stdout == "shimport 600\n"
    assert warm(machine, venv, modules).returncode == 0
    for user in (None, machines.USER):
        printed, told = imports(machine, venv, modules, "import module3, package.inner; print(module3.value)", user)
        assert printed == ["3"]
        served = {root["path"]: root["served"] for root in told["roots"]}
        assert served[modules] == 3, told


def test_a_running_builder_has_no_capability(machine, venv):
    """Caught in the act, building the standard library."""
    warming = machine.popen("shimportctl", "warm", "--python", venv, stdout=subprocess.DEVNULL)
    try:
        def builder():
            script = 'for p in $(grep -l [s]himport/builder.py /proc/[0-9]*/cmdline); do cd ${p%/*}; cat status; readlink ns/net; done'
            return machine.shell(script + " 2>/dev/null || true").stdout.partition("Name:")[2]

        text = harness.wait_until(builder, "a builder", 10)
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert fields["CapEff"] == fields["CapPrm"] == fields["CapAmb"] == "0" * 16
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        assert fields["Uid"].split() == ["0"] * 4
        assert fields["Gid"].split() == ["65534"] * 4
        assert fields["Groups"].strip() == ""
        assert "net:[" in text
        assert machine.run("readlink", "/proc/1/ns/net").stdout not in text
    finally:
        warming.kill()
        warming.wait()


def test_another_users_directory_takes_that_users_builder(machine, venv):
    machine.shell(
        f"""
        rm -rf /srv/theirs; mkdir /srv/theirs; echo 'value = 7' >/srv/theirs/theirs.py
        chown -R {machines.USER} /srv/theirs; find /srv/theirs -exec touch -d '1 hour ago' {{}} +
        """,
        check=True,
    )
    result = warm(machine, venv, "/srv/theirs")
    assert result.returncode == 1
    assert f"enable shimport-builder@{machines.USER}.socket" in result.stderr
    machine.systemctl("start", f"shimport-builder@{machines.USER}.socket")
    try:
        assert warm(machine, venv, "/srv/theirs").returncode == 0
        printed, told = imports(machine, venv, "/srv/theirs", "import theirs; print(theirs.value)")
        assert printed == ["7"]
        assert [root["served"] for root in told["roots"] if root["path"] == "/srv/theirs"] == [1]
    finally:
        machine.systemctl("stop", f"shimport-builder@{machines.USER}.socket")


BAD_JOBS = {
    "another user's root": ("/srv/theirs", "/usr/bin/python3", "belongs to another user"),
    "an interpreter that others may write": ("MODULES", "/srv/python-of-others", "writable by others"),
    "no python": ("MODULES", "/bin/sh", "not called python"),
    "nothing there": ("MODULES", "/usr/bin/python-nothing", "No such file"),
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_the_builder_service_does_not_trust_the_daemon(machine, modules, name):
    """Whoever has taken over the daemon connects as its user, and asks for what it must not get."""
    root, executable, reason = BAD_JOBS[name]
    root = root.replace("MODULES", modules)
    machine.shell(
        f"mkdir -p /srv/theirs; chown {machines.USER} /srv/theirs; cp /usr/bin/python3 /srv/python-of-others; "
        "chmod 777 /srv/python-of-others",
        check=True,
    )
    script = harness.ROOT / "tests" / "systemd" / "hostile_daemon.py"
    uid = machine.run("id", "-u", "shimport").stdout.strip()
    text = machine.run(
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "python3", "-", root, executable,
        stdin=open(script),
    )
    assert reason in text.stdout, text.stdout + text.stderr


def test_nobody_else_reaches_the_builder(machine):
    code = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/shimport/builder/0')"
    result = machine.run("python3", "-c", code, user=machines.USER)
    assert "PermissionError" in result.stderr


def test_a_bad_configuration_is_not_taken_and_reload_says_why(machine):
    machine.write("/etc/shimport/shimport.conf", "[daemon]\nBuildTimeout=100\n")
    machine.systemctl("start", "shimportd.service")
    pid = machine.main_pid()
    machine.write("/etc/shimport/shimport.conf", "[daemon]\nBuildTimeout=never\n")
    assert machine.systemctl("reload", "shimportd.service", check=False).returncode != 0
    assert "/etc/shimport/shimport.conf:2: bad value 'never' for BuildTimeout=" in machine.log("shimportd.service")
    machine.write("/etc/shimport/shimport.conf", "[daemon]\nBuildTimeout=101\n")
    machine.systemctl("reload", "shimportd.service")
    assert (active(machine), machine.main_pid()) == ("active", pid)
    machine.kill(pid, signal.SIGHUP)
    harness.wait_until(
        lambda: "configuration read from /etc/shimport/shimport.conf" in machine.log("shimportd.service"), "a reload", 10
    )
    assert (active(machine), machine.main_pid()) == ("active", pid)


def test_stopping_is_clean_and_quick(machine, venv, modules):
    warm(machine, venv, modules)
    began = time.monotonic()
    machine.systemctl("stop", "shimportd.service")
    assert time.monotonic() - began < 2
    assert machine.show("shimportd.service", "Result") == "success"
    assert machine.show("shimportd.service", "ExecMainStatus") == "0"


def test_a_daemon_that_is_killed_is_started_again(machine):
    machine.systemctl("start", "shimportd.service")
    pid = machine.main_pid()
    machine.kill(pid, signal.SIGKILL)
    harness.wait_until(lambda: machine.main_pid() not in (0, pid), "another daemon", 10)
    assert status(machine)["pid"] == machine.main_pid()


def test_the_watchdog_replaces_a_daemon_that_hangs(machine):
    override(machine, "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\n")
    machine.systemctl("start", "shimportd.service")
    pid = machine.main_pid()
    time.sleep(2.5)
    assert machine.main_pid() == pid  # the loop itself keeps it quiet
    machine.kill(pid, signal.SIGSTOP)
    harness.wait_until(lambda: machine.main_pid() not in (0, pid), "another daemon", 15)
    assert "Watchdog timeout" in machine.log("shimportd.service")
    assert status(machine)["pid"] == machine.main_pid()


def test_a_second_daemon_says_that_there_is_one(machine):
    machine.systemctl("start", "shimportd.service")
    result = machine.run("shimportd")
    assert result.returncode == 1
    assert result.stderr == "/run/shimport/socket is in use by a live daemon\n"
    assert status(machine)["pid"] == machine.main_pid()


def test_without_the_socket_unit_the_service_brings_it_along(machine):
    machine.systemctl("stop", "shimportd.socket")
    machine.systemctl("start", "shimportd.service")
    assert active(machine, "shimportd.socket") == "active"
    assert status(machine)["pid"] == machine.main_pid()


def test_unprivileged_without_a_socket_it_says_why_not(machine):
    machine.systemctl("stop", "shimportd.socket", "shimportd.service")
    uid = machine.run("id", "-u", "shimport").stdout.strip()
    result = machine.run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "shimportd", "--system")
    assert result.returncode == 1
    assert result.stderr == "cannot listen at /run/shimport/socket: Permission denied\n"


def test_a_read_only_run_takes_the_socket_unit(machine):
    """Handed the socket it needs to write nothing; without, it says why not."""
    override(machine, "[Service]\nReadOnlyPaths=/run\n")
    machine.systemctl("start", "shimportd.service")
    assert status(machine)["pid"] == machine.main_pid()
    machine.systemctl("stop", "shimportd.socket", "shimportd.service")
    result = machine.run("unshare", "--mount", "sh", "-c", "mount -o remount,bind,ro /run; exec shimportd")
    assert result.returncode == 1
    assert result.stderr == "cannot listen at /run/shimport/socket: Read-only file system\n"


def test_notify_and_log_that_vanish_are_survived(machine, tmp_path):
    """The notify socket leads nowhere, and nobody reads what is logged."""
    reader, writer = os.pipe()
    os.close(reader)
    env = harness.environment(SHIMPORT_SOCKET=None, NOTIFY_SOCKET=tmp_path / "nothing", WATCHDOG_USEC="200000")
    daemon = subprocess.Popen([harness.SHIMPORTD, "--socket", tmp_path / "socket"], stderr=writer, env=env)
    os.close(writer)
    try:
        ask = [harness.SHIMPORTCTL, "--socket", tmp_path / "socket", "status", "--json"]
        harness.wait_until(lambda: harness.run(ask).returncode == 0, "it to answer", 10)
        time.sleep(0.5)
        daemon.send_signal(signal.SIGHUP)
        assert json.loads(harness.run(ask, check=True).stdout)["pid"] == daemon.pid
    finally:
        daemon.terminate()
        assert daemon.wait(10) == 0


@pytest.fixture
def user(machine):
    """A user whose manager runs, with the instance's socket listening."""
    machine.systemctl("start", "user-manager.service")
    machine.systemctl("start", "shimportd.socket", user=machines.USER)
    yield machines.USER
    machine.systemctl("stop", "user-manager.service")
    machine.run("rm", "-rf", "/home/tester/.config", check=True)


def test_a_user_instance(machine, venv, user):
    """Started by the first import, for that user alone, it builds what is private to the user; and goes when nobody
    has come for a while."""
    machine.write("/home/tester/.config/shimport/shimport.conf", "[daemon]\nIdleExit=2\n")
    machine.shell(
        f"""
        rm -rf /srv/private; install -d -o {user} -m 700 /srv/private; cd /srv/private
        echo 'value = 9' >mine.py; chown {user} mine.py; find . -exec touch -d '1 hour ago' {{}} +
        """,
        check=True,
    )
    warm(machine, venv)  # the system's instance runs as well, and has what is root's
    assert active(machine, user=user) == "inactive"
    assert machine.run("stat", "-c", "%u %a", f"/run/user/{user}/shimport/socket").stdout == f"{user} 600\n"
    assert warm(machine, venv, "/srv/private", user=user).returncode == 0
    assert active(machine, user=user) == "active"
    printed, told = imports(machine, venv, "/srv/private", "import mine; print(mine.value)", user)
    assert printed == ["9"]
    assert told["socket"] == f"/run/user/{user}/shimport/socket"
    assert [root["served"] for root in told["roots"] if root["path"] == "/srv/private"] == [1]
    assert {root["socket"] for root in told["roots"] if root["path"] == "/srv/private"} == {told["socket"]}
    shared = {root["socket"] for root in told["roots"] if root["path"] != "/srv/private"}
    assert shared == {"/run/shimport/socket"}  # of the system's instance, in the same process
    harness.wait_until(lambda: active(machine, user=user) == "inactive", "it to end", 90)
    assert machine.show("shimportd.service", "Result", user=user) == "success"
    imports(machine, venv, "/srv/private", "import mine", user)
    harness.wait_until(lambda: active(machine, user=user) == "active", "it to start again", 10)


def test_a_user_instance_that_is_killed_comes_back(machine, user):
    machine.systemctl("start", "shimportd.service", user=user)
    pid = machine.main_pid(user=user)
    machine.kill(pid, signal.SIGKILL)
    harness.wait_until(lambda: machine.main_pid(user=user) not in (0, pid), "another daemon", 10)
    assert machine.systemctl("reload", "shimportd.service", user=user).returncode == 0
