# SPDX-License-Identifier: MIT
"""Each limit of shimport.conf(5) is reached: the process is told why, and so is the operator, and another user is served.
Users are real, so it takes root. test_tenants.py has MaxAttachesPerUser=, and the report that is beyond ReportMax=."""

import ast
import contextlib
import os
import subprocess
import time

import pytest

import harness
import wire
from test_reports import image_of, start_as
from test_tenants import ask_as, fake_client, refusals
from test_trust import ALICE, BOB, interpreter, pair, place, real, run_as, write  # noqa: F401: fixtures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

TEXT = 150_000  # bytes of a module, which its image holds twice


def own_root(place, name, owner, size=0):
    root = write(place / name / f"module_{name}.py", f"value = {'x' * size!r}\n", owner).parent
    os.chown(root, owner, owner)
    return root


def ask(daemon, uid, interpreter, *roots):
    """[(state, reason)] that a process of this user is told."""
    described, paths = interpreter.describe(), [str(root) for root in roots]
    code = f"print([answer[:2] for answer in wire.ask_attach(connect(), {described!r}, {paths!r})])"
    return ast.literal_eval(ask_as(uid, daemon, code))


def wait_served(daemon, uid, interpreter, root):
    harness.wait_until(lambda: ask(daemon, uid, interpreter, root)[0][0] == wire.SERVED, f"{root} to be served")


def assert_told(daemon, uid, pair, reason, *roots):
    """A process that has these on its path hears of it, and so does the operator."""
    shown = run_as(uid, pair, "pass", ":".join(map(str, roots)), daemon.socket).stderr
    assert reason in shown, shown
    assert reason in daemon.ctl("status").stdout


def test_memory_of_a_user(interpreter, pair, place):
    config = "[daemon]\nMemoryMaxPerUser=1M\n"
    large, one, other = (own_root(place, name, ALICE, size) for name, size in (("huge", 4 * TEXT), ("one", 2 * TEXT), ("other", 2 * TEXT)))
    bobs = own_root(place, "bobs", BOB, 2 * TEXT)
    with harness.Daemon(place / "memory", config=config) as daemon:
        wait_served(daemon, BOB, interpreter, bobs)
        failed = harness.wait_until(lambda: (told := ask(daemon, ALICE, interpreter, large)[0])[0] == wire.FAILED and told[1], "no room")
        assert failed.startswith("no room for ") and failed.endswith(f"images of user {ALICE} take 0, and MemoryMaxPerUser= is 1048576")
        assert_told(daemon, ALICE, pair, failed, large)
        wait_served(daemon, ALICE, interpreter, one)
        wait_served(daemon, ALICE, interpreter, other)  # one gives way
        assert image_of(daemon, one)["reason"] == "withdrawn: it gave way to others, as MemoryMaxPerUser= is 1048576"
        assert ask(daemon, BOB, interpreter, bobs)[0][0] == wire.SERVED  # of another's nothing does
        wait_served(daemon, 0, interpreter, own_root(place, "roots", 0, 4 * TEXT))  # it has no limits of a user's


def test_roots_of_a_user(interpreter, pair, place):
    roots = [own_root(place, f"root{n}", ALICE) for n in range(3)]
    bobs = own_root(place, "bobs-root", BOB)
    with harness.Daemon(place / "roots-daemon", config="[daemon]\nMaxRootsPerUser=1\n") as daemon:
        wait_served(daemon, ALICE, interpreter, roots[0])
        reason = "too many roots of this user: MaxRootsPerUser= is 1"
        assert [told[1] for told in ask(daemon, ALICE, interpreter, *roots)] == ["", reason, reason]
        assert_told(daemon, ALICE, pair, reason, *roots)
        assert (ALICE, reason) in refusals(daemon)
        wait_served(daemon, BOB, interpreter, bobs)


SLOW = "import runpy, time\ntime.sleep(0.5)\nrunpy.run_path({!r}, run_name='__main__')\n"


@pytest.fixture(scope="module")
def slow(place):
    """A client whose builders take their time."""
    return fake_client(place / "slowly", SLOW.format(str(harness.BUILD / "python" / "shimport" / "builder.py")))


def test_builds_of_a_user_that_wait(interpreter, pair, place, slow):
    roots = [own_root(place, f"waiting{n}", ALICE) for n in range(6)]
    bobs = own_root(place, "bobs-waiting", BOB)
    config = f"[daemon]\nClientPath={slow}\nBuildJobs=2\nMaxQueuedPerUser=2\n"
    with harness.Daemon(place / "waiting", config=config) as daemon:
        reason = "too many builds of this user wait: MaxQueuedPerUser= is 2"
        states = [told[0] for told in ask(daemon, ALICE, interpreter, *roots)]
        assert states == [wire.BUILDING] * 2 + [wire.SEEN] * 4
        assert_told(daemon, ALICE, pair, reason, *roots)
        assert (ALICE, reason) in refusals(daemon)
        wait_served(daemon, BOB, interpreter, bobs)
        for root in roots:
            wait_served(daemon, ALICE, interpreter, root)


def test_builds_of_a_user_at_once(interpreter, place, slow):
    """Nobody is refused for it: they wait, and others do not wait for them."""
    roots = [own_root(place, f"once{n}", ALICE) for n in range(3)]
    bobs = own_root(place, "bobs-once", BOB)
    config = f"[daemon]\nClientPath={slow}\nBuildJobs=4\nMaxBuildsPerUser=1\n"
    with harness.Daemon(place / "once", config=config) as daemon:
        assert [told[0] for told in ask(daemon, ALICE, interpreter, *roots)] == [wire.BUILDING] * 3
        ask(daemon, BOB, interpreter, bobs)
        users = set()

        def owners():
            found = []
            for pid in daemon.children():
                with contextlib.suppress(FileNotFoundError):
                    found.append(os.stat(f"/proc/{pid}/fd").st_uid)
            return [uid for uid in found if uid]  # one that has just been started is nobody's yet

        while not image_of(daemon, roots[2]).get("modules"):
            building = owners()
            assert building.count(ALICE) <= 1
            users.add(frozenset(building))
            time.sleep(0.02)
        assert frozenset({ALICE, BOB}) in users
        assert image_of(daemon, bobs)["built_at"] <= image_of(daemon, roots[1])["built_at"]


@pytest.mark.parametrize("key, reason", [
    ("MaxPeersPerUser", "too many connections of this user: MaxPeersPerUser= is 3"), ("MaxPeers", "too many connections: MaxPeers= is 3"),
])  # fmt: skip
def test_connections(interpreter, pair, place, key, reason):
    site = own_root(place, f"connected-{key}", 0)
    with harness.Daemon(place / key, config=f"[daemon]\n{key}=3\n") as daemon:
        hold = "cs = [connect() for _ in range(3)]\nprint('held', flush=True)\nsys.stdin.read()\n"
        with holding(daemon, hold):
            shown = run_as(ALICE, pair, "pass", site, daemon.socket).stderr
            assert reason in shown, shown
            if key == "MaxPeersPerUser":
                wait_served(daemon, BOB, interpreter, site)
        harness.wait_until(lambda: (ALICE, reason) in refusals(daemon), "the status to say so")
        assert reason in daemon.ctl("status").stdout
        wait_served(daemon, ALICE, interpreter, site)


@contextlib.contextmanager
def holding(daemon, code):
    """A process of ALICE's that has connections open meanwhile."""
    with start_as(ALICE, code, daemon.socket, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()
