# SPDX-License-Identifier: MIT
"""Fixtures. Tests share one booted machine; each finds the service stopped, its socket listening and nothing built."""

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


@pytest.fixture
def modules(machine):
    """A directory of few modules on a file system that is watched, and how to have it served: quicker than the
    standard library."""
    machine.shell(
        """
        rm -rf /srv/modules
        mkdir -p /srv/modules/package
        cd /srv/modules
        for i in 0 1 2 3 4 5 6 7 8 9; do echo "value = $i" >module$i.py; done
        echo "value = 'package'" >package/__init__.py
        echo "value = 'inner'" >package/inner.py
        find /srv/modules -exec touch -d '1 hour ago' {} +
        """,
        check=True,
    )
    return "/srv/modules"
