# SPDX-License-Identifier: MIT
"""Neighbours: limits of a user, builders and what they may do, namespaces. Users are real, so it takes root."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

import harness
import wire
from test_trust import ALICE, BOB, as_user, interpreter, place, run_as, write  # noqa: F401: fixtures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

ASK = f"""
import os, socket, sys
sys.path.insert(0, {str(harness.ROOT / "tests")!r})
import wire
def connect():
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(20)
    connection.connect(sys.argv[1])
    return connection
described = {{"tag": "a tag", "executable": "/usr/bin/python3", "options": ""}}
"""


def ask_as(uid, daemon, code):
    return as_user(uid, sys.executable, "-c", ASK + code, daemon.socket, check=True).stdout


def refusals(daemon):
    return {(one["uid"], one["reason"]) for one in daemon.status()["refused"]}


def test_limits_of_a_user_are_told_with_their_reason(interpreter, place):
    config = "[daemon]\nMaxQueuedPerUser=1\nMaxBuildsPerUser=1\nReportMax=64\nMaxAttachesPerUser=1\n"
    roots = []
    for n in range(6):
        (place / f"limited{n}").mkdir()
        roots.append(str(place / f"limited{n}"))
    with harness.Daemon(place / "limits", config=config) as daemon:
        told = ask_as(ALICE, daemon, f"print([answer[1] for answer in wire.ask_attach(connect(), described, {roots!r})])")
        assert "too many builds of this user wait: MaxQueuedPerUser= is 1" in told
        time.sleep(1.1)
        report = "c = connect(); c.send(wire.request(wire.REPORT, wire.field(1, 1) + wire.field(15, 'x' * 100))); print(c.recv(1000))"
        assert "ReportMax= is 64" in ask_as(BOB, daemon, report)
        many = "cs = [connect() for _ in range(3)]\nfor c in cs: c.send(wire.request(wire.BARRIER))\nprint([c.recv(1000) for c in cs])"
        assert "MaxAttachesPerUser= is 1 a second" in ask_as(BOB, daemon, many)
        reasons = {reason for uid, reason in refusals(daemon) if uid in (ALICE, BOB)}
        assert len(reasons) == 3, reasons
        assert "MaxQueuedPerUser" in daemon.ctl("status").stdout
        pair = harness.Pair(interpreter, daemon, place / "limited-pair")
        time.sleep(1.1)
        run_as(ALICE, pair, "pass", roots[5], daemon.socket)
        shown = run_as(ALICE, pair, "pass", roots[5], daemon.socket).stderr
        assert "MaxAttachesPerUser= is 1 a second" in shown
    with harness.Daemon(place / "few", config="[daemon]\nMaxRootsPerUser=3\n") as daemon:
        told = ask_as(ALICE, daemon, f"print([answer[1] for answer in wire.ask_attach(connect(), described, {roots!r})])")
        assert told.count("too many roots of this user: MaxRootsPerUser= is 3") == 3
        assert (ALICE, "too many roots of this user: MaxRootsPerUser= is 3") in refusals(daemon)


PROBE = """
import json, os, resource, socket, sys
def tried(call, *arguments):
    try:
        call(*arguments)
    except (OSError, PermissionError) as error:
        return error.errno
    return 0
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
seen = {
    "fds": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "caps": [status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")],
    "new": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "inet": tried(socket.socket, socket.AF_INET), "unix": tried(socket.socket, socket.AF_UNIX),
    "fork": tried(os.fork), "write": tried(os.open, "/tmp/x", os.O_WRONLY | os.O_CREAT), "mkdir": tried(os.mkdir, "/tmp/x"),
    "kill": tried(os.kill, os.getppid(), 0), "unshare": tried(lambda: os.unshare(0x40000000)) if hasattr(os, "unshare") else 1,
    "limits": [resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in ("AS", "CPU", "FSIZE", "CORE")],
}
text = json.dumps(seen)
for at in range(0, len(text), 200):
    print("PROBE " + text[at : at + 200], file=sys.stderr)
print("END", file=sys.stderr)
sys.exit(3)
"""


def fake_client(directory, text):
    """A client directory whose builder is the text: what a builder may do is what such a one may."""
    path = write(directory / "shimport" / "builder.py", text)
    return path.parent.parent


@pytest.mark.parametrize("who", [0, ALICE], ids=["root", "tenant"])
def test_a_builder_may_read_and_no_more(interpreter, place, who):
    client = fake_client(place / f"probe-{who}", PROBE)
    site = place / f"probed-{who}"
    write(site / "m.py", "", who)
    os.chown(site, who, who)
    with harness.Daemon(place / f"probing-{who}", config=f"[daemon]\nClientPath={client}\nBuildTimeout=33\n") as daemon:
        described = interpreter.describe()
        with daemon.connect() as connection:
            wire.ask_attach(connection, described, [str(site)])
        log = harness.wait_until(lambda: ": END" in daemon.log() and daemon.log(), "the probe")
    seen = json.loads("".join(line.partition(": PROBE ")[2] for line in log.splitlines()))
    assert seen["fds"] == [0, 1, 2, 3, 4]
    assert (seen["uid"], seen["gid"], seen["groups"]) == ([who] * 3, [65534] * 3, [])
    assert set(seen["caps"]) == {"0" * 16}
    assert (seen["new"], seen["seccomp"]) == ("1", "2")
    for name in ("inet", "unix", "fork", "write", "mkdir", "kill", "unshare"):
        assert seen[name] == 1, (name, seen)  # EPERM
    assert seen["limits"] == [8 << 30, 33, 4 << 30, 0]


def test_a_builder_that_crashes_or_hangs_costs_its_root_alone_and_is_backed_off(interpreter, place):
    text = (
        "import os, sys, runpy\n"
        f"sys.path.insert(0, {str(harness.BUILD / 'python')!r})\n"
        "import socket\n"
        "data = socket.socket(fileno=os.dup(3)).recv(100000, socket.MSG_PEEK)\n"
        "if b'/crashes' in data: os.abort()\n"
        "if b'/hangs' in data:\n    import time; time.sleep(1000)\n"
    )
    text = text.replace("import socket\n", "").replace(
        "data = socket.socket(fileno=os.dup(3)).recv(100000, socket.MSG_PEEK)\n",
        "import array, select\nselect.select([3], [], [])\nimport ctypes\nbuffer = ctypes.create_string_buffer(100000)\n"
        "ctypes.CDLL(None).recv(3, buffer, 100000, 2)\ndata = buffer.raw\n",
    )
    text += f"runpy.run_path({str(harness.BUILD / 'python' / 'shimport' / 'builder.py')!r}, run_name='__main__')\n"
    client = fake_client(place / "trouble", text)
    roots = {name: write(place / name / "m.py", "value = 1\n").parent for name in ("crashes", "hangs", "works")}
    with harness.Daemon(place / "troubled", config=f"[daemon]\nClientPath={client}\nBuildTimeout=5\n") as daemon:
        described = interpreter.describe()

        def ask():
            with daemon.connect() as connection:
                answers = wire.ask_attach(connection, described, [str(root) for root in roots.values()])
            return dict(zip(roots, answers))

        ask()
        ended = lambda: (now := ask())["hangs"][0] == wire.FAILED and now["works"][0] == wire.SERVED and now
        answers = harness.wait_until(ended, "all to end", 60)
        assert answers["crashes"][:2] == (wire.FAILED, "the builder was killed by signal 6")
        assert answers["hangs"][:2] == (wire.FAILED, "the builder was not ready within 5 seconds")
        builds = daemon.status()["builds_failed"]
        for _ in range(20):
            ask()
        time.sleep(0.5)
        assert daemon.status()["builds_failed"] <= builds + 1  # not one for each that asked
        harness.wait_until(lambda: not daemon.children(), "the builders to be gone")


CONTAINER = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/shared"
printf "value = 'of the container'\\n" >"$1/shared/module.py"
printf "value = 'link in container'\\n" >"$1/target.py"
ln -s "$1/target.py" "$1/shared/linked.py"
find "$1" -exec touch -h -d '2020-01-01 00:00:00' {} +
shift
exec "$@"
"""


def test_two_roots_of_one_path_in_two_mount_namespaces(interpreter, place):
    """Each process gets what is in its own: files and links, though all are called alike."""
    host = place / "twice"
    host.mkdir()
    (host / "shared").mkdir()
    (host / "shared" / "module.py").write_text("value = 'of the very host'\n")
    (host / "target.py").write_text("value = 'link within a host'\n")
    (host / "shared" / "linked.py").symlink_to(host / "target.py")
    harness.run(["find", host, "-exec", "touch", "-h", "-d", "2020-01-01 00:00:00", "{}", "+"], check=True)
    with harness.Daemon(place / "host-daemon") as daemon:
        pair = harness.Pair(interpreter, daemon, place / "container-pair").warm()
        code = "import module, linked, _shimport; print(module.value, linked.value, [r['served'] for r in _shimport.status()['roots'] if r['path'].endswith('/shared')])"
        env = daemon.env(PYTHONPATH=host / "shared", SHIMPORT_BUDGET_MS="3000")
        run = {
            "host": lambda: harness.run([pair.shim, "-B", "-c", code], env=env, check=True).stdout,
            "container": lambda: harness.run(
                ["unshare", "--mount", "sh", "-c", CONTAINER, "sh", host, pair.shim, "-B", "-c", code], env=env, check=True
            ).stdout,
        }
        expected = {"host": "of the very host link within a host", "container": "of the container link in container"}
        for _ in range(4):
            for where in run:
                assert run[where]().startswith(expected[where])
                time.sleep(0.4)
        assert not run["host"]().endswith(("[0]\n", "[]\n"))


def test_the_number_of_all_strangers_is_nobodys(interpreter, place):
    """In a user namespace a stranger's socket looks as if it were of 65534, and so do we."""
    path = place / "stranger"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen()
    with harness.Daemon(place / "unmapped") as daemon:
        pair = harness.Pair(interpreter, daemon, place / "unmapped-pair").warm()
        env = harness.environment(SHIMPORT_SOCKET=path, SHIMPORT_DEBUG="1")
        inside = harness.run(["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups", "unshare", "--user", pair.shim, "-c",
                              "import os; print(os.geteuid())"], env=env)
        if "unshare" in inside.stderr:
            pytest.skip(f"there are no user namespaces: {inside.stderr}")
        assert inside.stdout == "65534\n"
        assert "Operation not permitted" in inside.stderr
    listener.close()
