# SPDX-License-Identifier: MIT
"""The client by pip: from the source tree and from a source distribution, offline, with what the system has."""

import json
import pathlib
import subprocess

import pytest

import harness

CLIENT = harness.ROOT / "client"


def files(site):
    """What was put into a site directory, and its bytes; of the extensions, which compilers make, their names."""
    found = {}
    for path in site.rglob("*"):
        name = str(path.relative_to(site))
        if path.is_file() and "__pycache__" not in name and ".dist-info" not in name and name != "shimport/.enabled":
            found[name] = None if path.suffix == ".so" else path.read_bytes()
    return found


@pytest.fixture
def make_venv(one_python, tmp_path):
    """Makes environments that see the system's setuptools, as one needs offline."""
    ask = "import setuptools, wheel, pip"
    if harness.run([one_python.executable, "-c", ask]).returncode:
        pytest.skip(f"{one_python.executable} has no pip, setuptools and wheel")

    def make(name):
        command = [one_python.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / name]
        harness.run(command, check=True)
        return tmp_path / name / "bin" / "python3"

    return make


def pip(python, *arguments, **options):
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *arguments]
    return harness.run(command, env=harness.environment(PIP_NO_INPUT="1"), check=True, timeout=600, **options)


def install(python, what):
    pip(python, "install", "--no-index", "--no-build-isolation", what)
    return harness.Pair.site(python)


def assert_serves(daemon, python):
    daemon.warm(python)
    code = "import argparse, _shimport, json; print(json.dumps([_shimport.__file__, _shimport.status()['served']]))"
    where, served = json.loads(harness.run([python, "-c", code], env=daemon.env(), check=True).stdout)
    assert pathlib.Path(where).parent == harness.Pair.site(python)
    assert served > 0


def test_pip_installs_what_enable_puts_there(daemon, make_venv):
    before = sorted(CLIENT.rglob("*"))
    ours, enabled = make_venv("pip"), make_venv("enabled")
    site = install(ours, CLIENT)
    daemon.ctl("enable", "--python", enabled, check=True)
    assert files(site) == files(harness.Pair.site(enabled))
    assert [path for path in sorted(CLIENT.rglob("*")) if "__pycache__" not in path.parts] == [
        path for path in before if "__pycache__" not in path.parts], "something is built beside the sources"
    assert_serves(daemon, ours)
    pip(ours, "uninstall", "--yes", "shimport")
    assert not files(site)


def test_a_source_distribution_is_complete(daemon, make_venv, tmp_path):
    """It builds outside of the tree, without what generates sources."""
    python = make_venv("venv")
    subprocess.run([str(python), "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path / "dist")], cwd=CLIENT,
                   env=harness.environment(), check=True, timeout=300)
    (archive,) = (tmp_path / "dist").iterdir()
    install(python, archive)
    assert_serves(daemon, python)


def test_one_version_everywhere(daemon):
    version = daemon.status()["version"]
    changelog = (harness.ROOT / "systemd" / "debian" / "changelog").read_text()
    assert changelog.startswith(f"shimport ({version})")
    for page in (harness.ROOT / "daemon").glob("*.[0-9]"):
        assert f'"shimport {version}"' in page.read_text()
