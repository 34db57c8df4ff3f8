# SPDX-License-Identifier: MIT
"""The Debian packages: installed by apt on a Debian 12 under its own systemd, used, upgraded, purged."""

import json
import os
import pathlib
import platform
import shutil
import subprocess

import pytest

import harness
import machine as machines

HERE = pathlib.Path(__file__).resolve().parent

@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    release = platform.freedesktop_os_release()
    if (release["ID"], release.get("VERSION_ID")) != ("debian", "12"):
        pytest.skip("packages for Debian 12 are built on Debian 12")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    build = tmp_path_factory.mktemp("build")
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    harness.run(["make", "-C", harness.ROOT, "deb", f"BUILD={build}"], env=env, check=True, timeout=900)
    return sorted((build / "deb").glob("*.deb"))


@pytest.fixture(scope="module")
def debian(debs):
    made = subprocess.run([HERE / "bookworm.sh"], stdout=subprocess.PIPE, text=True, timeout=900)
    if made.returncode == 77:
        pytest.skip("no Debian mirror answers")
    assert made.returncode == 0
    machine = machines.Machine(made.stdout.strip())
    try:
        machine.boot()
    except machines.CannotBoot as reason:
        pytest.skip(f"systemd does not boot here: {reason}")
    for deb in debs:
        shutil.copy(deb, machine.path("/srv"))
    yield machine
    machine.halt()


def apt(machine, *arguments):
    return machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--no-install-recommends", *arguments,
                       check=True, timeout=300)


def served(machine, user=None):
    """Of a process that does nothing but import, what shimport has served."""
    code = "import asyncio, _shimport, json; print(json.dumps(_shimport.status(), default=repr))"
    return json.loads(machine.run("python3", "-c", code, user=user, check=True).stdout)


def test_installed_used_and_purged(debian):
    """One test, for it is one story: nothing is done but apt, and python3."""
    before = debian.files()
    apt(debian, "install", *(f"/srv/{path.name}" for path in debian.path("/srv").glob("*.deb")))

    assert debian.systemctl("is-enabled", "shimportd.socket").stdout == "enabled\n"
    assert debian.systemctl("is-active", "shimportd.socket", "shimport-builder@0.socket").stdout == "active\nactive\n"
    assert debian.systemctl("is-active", "shimportd.service", check=False).stdout == "inactive\n"
    served(debian)  # the first one, which starts the service
    harness.wait_until(lambda: debian.systemctl("is-active", "shimportd.service").stdout == "active\n", "the service")
    harness.wait_until(lambda: served(debian)["served"] > 50, "python3 -c 'import asyncio' to be served")
    assert served(debian, user=machines.USER)["served"] > 50
    assert "served" in debian.run("python3", "-m", "shimport", "explain", "asyncio", check=True).stdout

    daemon = debian.main_pid()
    apt(debian, "install", "--reinstall", *(f"/srv/{path.name}" for path in debian.path("/srv").glob("*.deb")))
    assert debian.main_pid() not in (0, daemon), "an upgrade does not put the new daemon in place of the old one"
    harness.wait_until(lambda: served(debian)["served"] > 50, "it to be served after an upgrade")

    apt(debian, "purge", "--autoremove", "shimportd", "python3-shimport")
    debian.run("python3", "-c", "import asyncio", check=True)
    assert debian.run("systemctl", "is-active", "shimportd.socket", "shimportd.service").stdout == "inactive\ninactive\n"
    assert debian.run("sh", "-c", "ls -d /run/shimport*").returncode != 0
    after = debian.files()
    assert not machines.changed(before, after)
