# SPDX-License-Identifier: MIT
"""Fixtures. Tests share one booted machine; each finds the service stopped, its socket listening and nothing built."""

import time

import pytest

import harness
import machine as machines


@pytest.fixture(scope="session")
def booted():
    machine = machines.Machine()
    try:
        machine.boot()
    except machines.CannotBoot as reason:
        pytest.skip(f"systemd does not boot here: {reason}")
    yield machine
    machine.halt()


@pytest.fixture(scope="session")
def venv(booted):
    """An environment in there that has shimport enabled, of the machine's own Python."""
    venv = "/srv/venv/bin/python3"
    if not harness.user_may_run(harness.Interpreter("/usr/bin/python3", "", ""), machines.USER):
        pytest.skip("there is no /usr/bin/python3 that every user may run")
    booted.shell(f"python3 -m venv --without-pip /srv/venv; shimportctl enable --python {venv}", check=True)
    return venv


@pytest.fixture
def machine(booted):
    stop_all(booted)
    booted.systemctl("start", "shimportd.socket", "shimport-builder@0.socket")
    yield booted


def stop_all(machine):
    machine.run("systemctl", "stop", "shimportd.socket", "shimportd.service", check=True)
    machine.run("systemctl", "reset-failed")
    for drop_in in ("shimportd.service.d", "shimportd.socket.d"):
        machine.run("rm", "-rf", f"/etc/systemd/system/{drop_in}", "/etc/shimport", check=True)
    machine.systemctl("daemon-reload")


SITES = 50  # directories of modules, one for each test that takes one

MAKE_SITES = f"""
mkdir -p /srv/sites/0/modules/package
cd /srv/sites/0/modules
for i in 0 1 2 3 4 5 6 7 8 9; do echo "value = $i" >module$i.py; done
echo "value = 'package'" >package/__init__.py
echo "value = 'inner'" >package/inner.py
find /srv/sites/0 -exec touch -d '1 hour ago' {{}} +
for i in $(seq {SITES - 1}); do cp -a /srv/sites/0 /srv/sites/$i; done
"""


@pytest.fixture(scope="session")
def sites(booted):
    """Directories of few modules on a file system that is watched: quicker than the standard library. They are as old
    as a file must be for the daemon to tell it from its next change."""
    booted.shell(MAKE_SITES, check=True)
    time.sleep(0.2)
    return iter(range(SITES))


@pytest.fixture
def modules(sites):
    return f"/srv/sites/{next(sites)}/modules"


@pytest.fixture
def serving(booted, venv):
    """The machine with the service running, and the standard library served. Tests that take it leave it so, and find
    whatever other images there are."""
    booted.systemctl("start", "shimportd.socket", "shimport-builder@0.socket")
    booted.systemctl("start", "shimportd.service")
    booted.run("shimportctl", "warm", "--python", venv, check=True, timeout=10 * harness.PATIENCE)
    return booted
