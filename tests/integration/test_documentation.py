# SPDX-License-Identifier: MIT
"""The manual pages, the README and bash's completion name what the programs have, all of it."""

import re

import harness

DAEMON = harness.ROOT / "daemon"
COMMANDS = ("status", "warm", "run", "enable", "disable", "explain", "reload", "drop")


def plain(path):
    """A manual page without what only troff reads."""
    text = path.read_text().replace("\\-", "-")
    return re.sub(r"\\f[RBI]|\\&", "", text)


def options_of(*command):
    text = harness.run([*command, "--help"], check=True).stdout
    return set(re.findall(r"^ +(--[a-z-]+)", text, re.MULTILINE))


def configuration_keys(directory):
    """All that the daemon accepts, as it says itself when it is given something else."""
    config = directory / "shimport.conf"
    config.write_text("[daemon]\nNothing=\n")
    said = harness.run([harness.SHIMPORTD, "--config", config]).stderr
    return re.findall(r"(\w+=)", said.partition("accepted are")[2])


def test_every_configuration_key_has_its_description(tmp_path):
    keys = configuration_keys(tmp_path)
    assert len(keys) > 8
    page = plain(DAEMON / "shimport.conf.5")
    readme = (harness.ROOT / "README.md").read_text()
    assert [key for key in keys if not re.search(rf"^\.TP\n\.BI? (\"?){key}", page, re.MULTILINE)] == []
    assert [key for key in keys if f"`{key}" not in readme] == []
    described = re.findall(r"^\.TP\n\.BI? \"?(\w+=)", page, re.MULTILINE)
    assert sorted(described) == sorted(keys)


def test_every_command_and_option_is_in_the_manual_page():
    page = plain(DAEMON / "shimportd.8")
    assert [option for option in options_of(harness.SHIMPORTD) if option not in page] == []
    page = plain(DAEMON / "shimportctl.1")
    told = harness.run([harness.SHIMPORTCTL, "--help"], check=True).stdout
    assert tuple(re.findall(r"^  ([a-z]+) ", told, re.MULTILINE)) == COMMANDS
    for command in COMMANDS:
        assert re.search(rf"^\.B[IR]? \"?{command}\b", page, re.MULTILINE), command
        assert [option for option in options_of(harness.SHIMPORTCTL, command) if option not in page] == []


def test_every_environment_variable_is_described():
    sources = [path for name in ("client", "daemon", "shared") for path in (harness.ROOT / name).glob("*.c")]
    read = {name for path in sources for name in re.findall(r'getenv\("(SHIMPORT_\w+)"\)', path.read_text())}
    assert {"SHIMPORT_SOCKET", "SHIMPORT_DISABLE"} < read
    page = plain(DAEMON / "shimportctl.1").partition(".SH ENVIRONMENT")[2]
    readme = (harness.ROOT / "README.md").read_text()
    assert [name for name in sorted(read) if name not in page or name not in readme] == []


def completed(*words):
    """What bash offers for the last of the words."""
    script = f"""
    shimportctl() {{ "{harness.SHIMPORTCTL}" "$@"; }}
    . "{DAEMON / 'shimportctl.bash'}"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _shimportctl
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(harness.run(["bash", "-euc", script, "bash", "shimportctl", *words], check=True).stdout.split())


def test_bash_completes_commands_options_and_paths(tmp_path):
    assert completed("") == set(COMMANDS)
    assert completed("--socket", "/run/x", "e") == {"enable", "explain"}
    assert completed("--") == options_of(harness.SHIMPORTCTL)
    for command in COMMANDS:
        assert completed(command, "--") == options_of(harness.SHIMPORTCTL, command)
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert completed("warm", "--path", f"{tmp_path}/") == {f"{tmp_path}/directory"}
    assert completed("--socket", f"{tmp_path}/f") == {f"{tmp_path}/file"}
    assert "python3" in completed("enable", "--python", "python")
    assert "python3" in completed("run", "--", "python")
