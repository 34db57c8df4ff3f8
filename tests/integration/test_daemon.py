# SPDX-License-Identifier: MIT
"""shimportd as a program: its configuration, its socket, its end."""

import os
import re
import signal
import socket
import stat

import pytest

import harness


def start_and_fail(tmp_path, *arguments, timeout=20):
    command = [harness.SHIMPORTD, "--socket", tmp_path / "socket", *arguments]
    return harness.run(command, timeout=timeout)


BAD_CONFIGURATIONS = {
    "unknown key": ("[daemon]\nIdleExit=1\nNoSuchKey=1\n", 3, "NoSuchKey"),
    "unknown section": ("# a comment\n[nowhere]\nIdleExit=1\n", 3, "nowhere"),
    "no section": ("IdleExit=1\n", 1, "IdleExit"),
    "not a number": ("[daemon]\nBuildTimeout=soon\n", 2, "soon"),
    "negative": ("[daemon]\nBuildTimeout=-1\n", 2, "-1"),
    "too large": ("[daemon]\n\n\nMaxPeers=99999999999999999999\n", 4, "99999999999999999999"),
    "empty value": ("[daemon]\nBuildTimeout=\n", 2, "BuildTimeout"),
    "relative path": ("[daemon]\nClientPath=somewhere\n", 2, "somewhere"),
    "unit unknown": ("[daemon]\nMemoryMax=10X\n", 2, "10X"),
    "no key at all": ("[daemon]\njust words\n", 2, ""),
}


@pytest.mark.parametrize("name", BAD_CONFIGURATIONS)
def test_bad_configuration(tmp_path, name):
    text, line, word = BAD_CONFIGURATIONS[name]
    config = tmp_path / "shimport.conf"
    config.write_text(text)
    result = start_and_fail(tmp_path, "--config", config)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"{config}:{line}:" in result.stderr
    assert word in result.stderr
    assert "accepted" in result.stderr
    assert not (tmp_path / "socket").exists()


def test_missing_configuration(tmp_path):
    result = start_and_fail(tmp_path, "--config", tmp_path / "nothing")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / "nothing") in result.stderr


def test_configuration_that_is_no_text(tmp_path):
    config = tmp_path / "shimport.conf"
    for data in (bytes(range(256)) * 16, b"\0" * 100, b"[daemon]\n" + b"x" * 100_000):
        config.write_bytes(data)
        assert start_and_fail(tmp_path, "--config", config).returncode == 2
    assert start_and_fail(tmp_path, "--config", tmp_path).returncode == 2


def test_reload_keeps_the_old_configuration_when_the_new_one_is_bad(make_daemon):
    daemon = make_daemon(config="[daemon]\nBuildTimeout=100\n")
    daemon.config.write_text("[daemon]\nBuildTimeout=101\n")
    daemon.ctl("reload", check=True)
    daemon.config.write_text("[daemon]\nBuildTimeout=never\n")
    result = daemon.ctl("reload")
    assert result.returncode == 1
    assert f"{daemon.config}:2:" in result.stderr
    daemon.config.unlink()
    assert daemon.ctl("reload").returncode == 1
    assert daemon.status()["pid"] == daemon.pid


def test_unknown_option(tmp_path):
    result = start_and_fail(tmp_path, "--no-such-option")
    assert result.returncode == 2
    assert "--no-such-option" in result.stderr or "--help" in result.stderr


def test_help():
    result = harness.run([harness.SHIMPORTD, "--help"], check=True)
    assert "--config" in result.stdout
    assert "--socket" in result.stdout


def test_socket_in_use(make_daemon):
    daemon = make_daemon()
    result = harness.run([harness.SHIMPORTD, "--socket", daemon.socket])
    assert result.returncode == 1
    assert str(daemon.socket) in result.stderr
    assert daemon.status()["pid"] == daemon.pid


def test_leftover_socket_is_replaced(make_daemon):
    daemon = make_daemon()
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.status()["pid"] == daemon.pid


def test_something_else_at_the_socket_path_is_left_alone(tmp_path):
    (tmp_path / "socket").write_text("precious")
    result = start_and_fail(tmp_path)
    assert result.returncode == 1
    assert (tmp_path / "socket").read_text() == "precious"


def test_socket_of_a_live_server_of_another_kind_is_left_alone(tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        assert start_and_fail(tmp_path).returncode == 1
        assert stat.S_ISSOCK(os.stat(tmp_path / "socket").st_mode)


def test_socket_path_too_long_or_nowhere(tmp_path):
    for path in (tmp_path / ("x" * 200), "/proc/nothing/socket"):
        result = harness.run([harness.SHIMPORTD, "--socket", path])
        assert result.returncode in (1, 2)
        assert result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly(make_daemon, one_pair, number):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)
    daemon.process.send_signal(number)
    assert daemon.process.wait(harness.PATIENCE) == 0
    assert not daemon.socket.exists()


def test_ends_cleanly_while_it_builds(make_daemon, one_pair):
    daemon = make_daemon()
    one_pair.run_shim("-c", "pass", env=daemon.env(), check=True)  # asks for images
    builders = daemon.children()
    daemon.process.terminate()
    assert daemon.process.wait(harness.PATIENCE) == 0
    assert builders
    harness.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in builders), "builders to end", 10)


def test_images_are_built_when_a_process_first_asks(make_daemon, one_pair):
    """Nothing needs to be warmed: who comes later is served."""
    daemon = make_daemon()
    assert one_pair.run_shim("-c", "import argparse", env=daemon.env()).returncode == 0
    harness.wait_until(
        lambda: one_pair.status(code="import argparse", env=daemon.env())["served"] > 0, "images to be built"
    )


def test_a_change_is_seen_by_who_attaches_afterwards(make_daemon, one_pair, tmp_path):
    daemon = make_daemon()
    package = tmp_path / "site" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    module = package / "module.py"
    env = daemon.env(PYTHONPATH=package.parent)
    code = "from package import module; print(module.value)"
    module.write_text("value = 0\n")
    daemon.warm(one_pair.shim, paths=[package.parent])
    for value in range(1, 30):
        if value % 3 == 0:
            replacement = package / "replacement"
            replacement.write_text(f"value = {value}  # {'x' * value}\n")
            replacement.rename(module)
        else:
            module.write_text(f"value = {value}  # {'x' * value}\n")
        assert one_pair.run_shim("-c", code, env=env, check=True).stdout == f"{value}\n"
        if value % 10 == 0:
            daemon.warm(one_pair.shim, paths=[package.parent])
    (package / "new.py").write_text("value = 'new'\n")
    code = "import package.new; print(package.new.value)"
    assert one_pair.run_shim("-c", code, env=env, check=True).stdout == "new\n"
    (package / "new.py").unlink()
    result = one_pair.run_shim("-B", "-c", code, env=env)
    assert "No module named 'package.new'" in result.stderr
    # After a pause the changed root is served again.
    code = "from package import module"
    def served():
        roots = one_pair.status(code=code, env=env)["roots"]
        return [root for root in roots if root["path"] == str(package.parent) and root["served"]]

    harness.wait_until(served, "the changed root to be built anew")


def test_log_names_no_time_and_has_levels_under_a_journal(tmp_path):
    """systemd adds the time; lines that carry a level start with <N> only where the journal reads them."""
    with harness.Daemon(tmp_path / "daemon") as daemon:
        daemon.ctl("status", check=True)
    assert not re.search(r"^<\d>", daemon.log(), re.MULTILINE)
