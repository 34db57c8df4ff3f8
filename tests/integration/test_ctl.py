# SPDX-License-Identifier: MIT
"""shimportctl: each command as a person or a script meets it."""

import json
import os
import pathlib
import pty
import re
import shutil

import pytest

import harness

COMMANDS = ["status", "warm", "run", "enable", "disable", "explain", "reload", "drop"]


def test_help_of_each_command():
    text = harness.run([harness.SHIMPORTCTL, "--help"], check=True).stdout
    for command in COMMANDS:
        assert command in text
        own = harness.run([harness.SHIMPORTCTL, command, "--help"], check=True).stdout
        assert command in own
        assert own != text


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["--no-such-option"], ["status", "surplus"], ["warm"],
                                       ["warm", "--python"], ["explain", "json", "--nothing"], ["run"], ["enable"]])
def test_wrong_usage(daemon, arguments):
    result = daemon.ctl(*arguments)
    assert result.returncode == 2
    assert result.stderr


@pytest.mark.parametrize("arguments", [["status"], ["reload"], ["drop"], ["warm", "--python", "/usr/bin/python3"]])
def test_no_daemon(tmp_path, arguments):
    result = harness.run([harness.SHIMPORTCTL, "--socket", tmp_path / "nothing", *arguments])
    assert result.returncode == 1
    assert str(tmp_path / "nothing") in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_status(pair):
    status = pair.daemon.status()
    assert status["pid"] == pair.daemon.pid
    assert status["socket"] == str(pair.daemon.socket)
    stdlib = [image for image in status["images"] if image["root"] == pair.interpreter.stdlib()]
    assert stdlib
    assert all(image["modules"] > 400 for image in stdlib if image["state"] == "served")
    text = pair.daemon.ctl("status", check=True).stdout
    assert pair.interpreter.stdlib() in text


def test_warm_names_interpreters_that_will_not_do_and_warms_the_others(make_daemon, one_pair, tmp_path):
    daemon = make_daemon()
    scripts = {
        "absent": None,
        "broken": "#!/bin/sh\nexit 1\n",
        "silent": "#!/bin/sh\n",
        "babbling": "#!/bin/sh\necho hello\n",
        "ancient": "#!/bin/sh\n"
        'echo \'{"version": "2.7.18", "hexversion": 34017536, "implementation": "cpython", "tag": null, "path": [],'
        ' "executable": "/bin/sh", "options": "", "error": "older than 3.11"}\'\n',
        "text": "no program at all\n",
    }
    bad = []
    for name, text in scripts.items():
        path = tmp_path / name
        bad += ["--python", path]
        if text is not None:
            path.write_text(text)
            path.chmod(0o755)
    result = daemon.ctl("warm", *bad, "--python", one_pair.shim)
    assert result.returncode == 1
    for name in scripts:
        lines = [line for line in result.stderr.splitlines() if str(tmp_path / name) in line]
        assert len(lines) == 1, result.stderr
        assert len(lines[0]) > len(str(tmp_path / name)) + 10
    assert one_pair.status(code="import argparse", env=daemon.env())["served"] > 0


def test_warm_tells_an_old_interpreter(make_daemon):
    beside = [pathlib.Path(python.executable).parents[2].glob("*/bin/python3*") for python in harness.interpreters()]
    ask = "import sys; sys.exit(sys.version_info >= (3, 11))"
    for path in sorted(path for paths in beside for path in paths if re.search(r"3\.\d+$", path.name)):
        if harness.run([path, "-c", ask]).returncode == 0:
            break
    else:
        pytest.skip("no interpreter older than 3.11 here")
    result = make_daemon().ctl("warm", "--python", path)
    assert result.returncode == 1
    assert "3.11" in result.stderr


def test_warm_without_the_extension(make_daemon, one_pair, tmp_path):
    """A client directory that was built for other interpreters only."""
    client = tmp_path / "python"
    shutil.copytree(harness.BUILD / "python", client, symlinks=True)
    for library in client.rglob(f"*{one_pair.interpreter.soabi}.so"):
        library.unlink()
    # The control tool finds its client beside itself.
    (tmp_path / "bin").mkdir()
    tool = shutil.copy(harness.SHIMPORTCTL, tmp_path / "bin")
    daemon = make_daemon()
    result = harness.run([tool, "--socket", daemon.socket, "warm", "--python", one_pair.interpreter.executable])
    assert result.returncode == 1
    assert one_pair.interpreter.executable in result.stderr
    assert "extension" in result.stderr


def test_warm_shows_progress_on_a_terminal(make_daemon, one_pair):
    daemon = make_daemon()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(harness.SHIMPORTCTL, ["shimportctl", "--socket", str(daemon.socket), "warm", "--python", str(one_pair.shim)])
    seen = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"\r" in seen
    assert b"%" in seen or b"/" in seen


def test_warm_of_a_path_that_is_no_directory(make_daemon, one_pair, tmp_path):
    result = make_daemon().ctl("warm", "--python", one_pair.shim, "--path", tmp_path / "nothing")
    assert result.returncode == 1
    assert str(tmp_path / "nothing") in result.stderr


def test_enable_and_disable(one_pair, public):
    pair = harness.Pair(one_pair.interpreter, one_pair.daemon, public / "enable")
    code = "import sys; print('_shimport' in sys.modules)"
    site = pair.shim.parent.parent

    def files():
        return sorted(path.relative_to(site) for path in site.rglob("*") if "__pycache__" not in str(path))

    enabled = files()
    assert pair.run_shim("-c", code).stdout == "True\n"
    pair.daemon.ctl("enable", "--python", pair.shim, check=True)  # again: no harm
    assert files() == enabled
    pair.daemon.ctl("disable", "--python", pair.shim, check=True)
    assert pair.run_shim("-c", code).stdout == "False\n"
    assert not [path for path in files() if "shimport" in str(path)]
    pair.daemon.ctl("disable", "--python", pair.shim, check=True)  # again: no harm
    pair.daemon.ctl("enable", "--python", pair.shim, check=True)
    assert pair.run_shim("-c", code).stdout == "True\n"


def test_enable_where_nothing_may_be_written(one_pair, public):
    if os.geteuid() != 0 or not harness.user_may_run(one_pair.interpreter, 65534):
        pytest.skip("needs root to become another user")
    command = ["setpriv", "--reuid=65534", "--clear-groups", harness.SHIMPORTCTL, "enable", "--python", one_pair.stock]
    if harness.run(["setpriv", "--reuid=65534", "--clear-groups", harness.SHIMPORTCTL, "--help"]).returncode:
        pytest.skip("another user may not run what was built here")
    result = harness.run(command)
    assert result.returncode == 1
    assert "ermission denied" in result.stderr


def test_run_activates_and_passes_on(pair):
    code = "import sys, argparse, _shimport; print(_shimport.status()['served'] > 0, sys.argv); sys.exit(5)"
    command = ["run", "--", pair.interpreter.executable, "-c", code, "a", "b c"]
    result = pair.daemon.ctl(*command)
    assert (result.returncode, result.stdout) == (5, "True ['-c', 'a', 'b c']\n"), result.stderr


def test_run_activates_children_too(pair):
    inner = "import argparse, _shimport; print(_shimport.status()['served'] > 0)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    result = pair.daemon.ctl("run", "--", "sh", "-c", 'exec "$0" -c "$1"', pair.interpreter.executable, code)
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr


def test_run_shows_nothing_of_itself(pair, tmp_path):
    """sys.modules and sys.path are as without, but for the client at its end; one's own sitecustomize still runs."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys; sys.own = __name__, __file__\n")
    code = (
        f"import sys, argparse; print([p for p in sys.path if not p.startswith({str(harness.BUILD)!r})], getattr(sys, 'own', None), sys.modules.get('sitecustomize'),"
        # a debug build looks up the codec whenever it loads an extension, see get_encoded_name() in importdl.c
        "sorted(n for n in sys.modules if n not in ('_shimport', 'encodings.ascii')))"
    )
    for changes in ({}, {"PYTHONPATH": own}):
        env = pair.daemon.env(**changes)
        stock = harness.run([pair.interpreter.executable, "-c", code], env=env, check=True)
        ours = pair.daemon.ctl("run", "--", pair.interpreter.executable, "-c", code, env=env, check=True)
        harness.assert_same(pair.neutral(harness.shown(ours)), pair.neutral(harness.shown(stock)))


def test_run_starts_a_daemon_if_none_answers(one_pair, tmp_path):
    code = (
        "import time, subprocess, sys\n"
        "code = 'import argparse, _shimport; print(_shimport.status()[\"served\"])'\n"
        "for _ in range(200):\n"
        "    out = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, check=True).stdout\n"
        "    if int(out): break\n"
        "    time.sleep(0.1)\n"
        "print('served' if int(out) else 'not served')\n"
    )
    env = harness.environment(SHIMPORT_SOCKET=None, XDG_RUNTIME_DIR=tmp_path, HOME=tmp_path)
    command = [harness.SHIMPORTCTL, "run", "--", one_pair.interpreter.executable, "-c", code]
    result = harness.run(command, env=env)
    assert (result.returncode, result.stdout) == (0, "served\n"), result.stderr
    again = harness.run([harness.SHIMPORTCTL, "status", "--json"], env=env)
    if again.returncode == 0:  # it may stay for the next one
        os.kill(json.loads(again.stdout)["pid"], 15)


def test_run_of_a_command_that_is_not_there(daemon):
    result = daemon.ctl("run", "--", "/nonexistent/command")
    assert result.returncode == 127
    assert "/nonexistent/command" in result.stderr
    assert daemon.ctl("run", "--", "/").returncode == 126


def test_explain(pair):
    def explain(*modules):
        return pair.daemon.ctl("explain", "--python", pair.shim, *modules)

    served = explain("argparse")
    assert served.returncode == 0
    assert "served" in served.stdout
    assert pair.interpreter.stdlib() in served.stdout
    assert "served" in explain("json.tool").stdout
    assert "built-in" in explain("sys").stdout
    missing = explain("nothing_of_the_kind")
    assert "there is no module nothing_of_the_kind" in missing.stdout
    assert "served from" not in missing.stdout


def test_explain_tells_the_whole_decision(pair, tmp_path):
    """Each entry in turn: served, stale, not attached, shadowed, and by what."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        (directory / "spread").mkdir(parents=True)
        (directory / "both.py").write_text("")
    pair.daemon.warm(pair.shim, paths=[first, second])
    (second / "later.py").write_text("")
    (first / "both.py").write_text("x = 1")
    code = """
import json, os, shimport, sys
sys.path.append("relative")
print(json.dumps({name: shimport.explain(name) for name in sys.argv[1:]}))
"""
    env = pair.daemon.env(PYTHONPATH=f"{first}:{second}", PYTHONSAFEPATH="1")
    modules = ["both", "later", "spread", "sys", "zipimport", "argparse", "relatively", "email.mime", "os.below"]
    result = pair.run_shim("-c", code, *modules, env=env, cwd=tmp_path, check=True)
    explained = json.loads(result.stdout)
    steps = {name: {step["entry"]: step for step in found} for name, found in explained.items()}

    assert all(found[-1]["status"] == "result" for found in explained.values())
    both = steps["both"]
    assert (both[str(first)]["status"], both[str(first)]["found"]) == ("stale", True)
    assert (both[str(second)]["shadowed"], both[str(second)]["found"]) == (str(first), True)
    assert "shadowed by" in both[str(second)]["verdict"]
    assert str(first) in both["result"]["verdict"]
    assert steps["later"][str(second)]["status"] == "stale"
    assert steps["later"][str(first)]["status"] == "absent"
    assert [step["status"] for step in explained["spread"] if step["found"]] == ["result"]
    assert [steps["spread"][str(path)]["status"] for path in (first, second)] == ["portion", "portion"]
    assert "2 portion" in steps["spread"]["result"]["verdict"]
    assert "built-in" in steps["sys"]
    assert steps["zipimport"][pair.interpreter.stdlib()]["shadowed"] == "frozen"
    assert steps["argparse"][pair.interpreter.stdlib()]["status"] == "served"
    assert steps["argparse"][pair.interpreter.stdlib()]["generation"] > 0
    assert "no module" in steps["relatively"]["result"]["verdict"]
    assert "no package" in explained["os.below"][0]["verdict"]
    inactive = pair.run_shim("-c", code, "argparse", env={**env, "SHIMPORT_DISABLE": "1"}, cwd=tmp_path, check=True)
    told = {step["entry"]: step for step in json.loads(inactive.stdout)["argparse"]}
    assert told[pair.interpreter.stdlib()]["status"] == "not attached"
    assert "SHIMPORT_DISABLE" in told[pair.interpreter.stdlib()]["verdict"]


def test_explain_tells_what_keeps_an_image_from_answering(one_pair, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    path = root / "module.py"
    path.write_text("x = 1")
    os.link(path, tmp_path / "other.py")  # so that it is validated by stat
    for old in (path, root):
        os.utime(old, (1e9, 1e9))
    one_pair.daemon.warm(one_pair.shim, paths=[root])
    env = one_pair.daemon.env(PYTHONPATH=root)
    code = """
import json, shimport, sys
exec(sys.argv[1])
print(json.dumps(shimport.explain("module")))
"""
    whys = {
        "": ("served", "served from"),
        f"sys.pycache_prefix = {str(tmp_path / 'pycs')!r}": ("stock", "sys.pycache_prefix is set"),
        "sys.implementation.cache_tag = 'mine'": ("stock", "sys.implementation has been changed"),
        "sys.addaudithook(lambda *args: None)": ("stock", "an audit hook"),
        "import importlib.machinery as m; m.FileFinder.find_spec = lambda self, *a, f=m.FileFinder.find_spec: f(self, *a)": ("stock", "methods of its own"),
        f"open({str(tmp_path / 'other.py')!r}, 'a').write('2')": ("stale", "validated by stat"),
    }
    for change, (status, why) in whys.items():
        result = one_pair.run_shim("-B", "-c", code, change, env=env, check=True)
        step = next(step for step in json.loads(result.stdout) if step["entry"] == str(root))
        assert (step["status"], step["found"]) == (status, True), step
        assert why in step["verdict"]
    for name in ("", ".", "module.", ".module", "nothing.below", "module.below"):
        result = one_pair.run_shim("-m", "shimport", "explain", "--json", name, env=env, check=True)
        assert json.loads(result.stdout)[-1]["verdict"] == f"there is no module {name}"


def test_python_m_shimport(pair):
    text = pair.run_shim("-m", "shimport", check=True).stdout
    assert "active" in text
    status = json.loads(pair.run_shim("-m", "shimport", "status", "--json", check=True).stdout)
    assert status["active"]
    assert status["socket"] == str(pair.daemon.socket)
    assert {root["path"] for root in status["roots"]} >= {pair.interpreter.stdlib()}
    for root in status["roots"]:
        assert {"path", "state", "reason", "generation", "served"} <= set(root)
    assert {"served", "fallback", "stale"} <= set(status)
    assert "served" in pair.run_shim("-m", "shimport", "explain", "argparse", check=True).stdout


def test_drop_and_reload(make_daemon, one_pair):
    daemon = make_daemon()
    daemon.warm(one_pair.shim)
    assert any(image["state"] == "served" for image in daemon.status()["images"])
    daemon.ctl("reload", check=True)
    daemon.ctl("drop", check=True)
    assert not any(image["state"] == "served" for image in daemon.status()["images"])
    assert one_pair.run_shim("-c", "import argparse", env=daemon.env()).returncode == 0
    daemon.warm(one_pair.shim)
    assert one_pair.status(code="import argparse", env=daemon.env())["served"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_drop_and_reload_are_not_for_everybody():
    with harness.public_directory() as directory, harness.Daemon(directory / "daemon") as daemon:
        other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if harness.run([*other, harness.SHIMPORTCTL, "--help"]).returncode:
            pytest.skip("another user may not run what was built here")
        for command in ("drop", "reload"):
            result = harness.run([*other, harness.SHIMPORTCTL, "--socket", daemon.socket, command])
            assert result.returncode == 1
            assert result.stderr


def test_install_and_uninstall(tmp_path):
    """What make install puts down works from there, and make uninstall leaves nothing."""
    make = ["make", "-C", harness.ROOT, f"BUILD={harness.BUILD}", f"DESTDIR={tmp_path}", "PREFIX=/opt/shimport"]
    harness.run([*make, "install"], env=dict(os.environ), check=True, timeout=600)
    prefix = tmp_path / "opt" / "shimport"
    with harness.Daemon(tmp_path / "daemon") as daemon:
        python = harness.interpreters()[0].executable
        command = [prefix / "bin" / "shimportctl", "--socket", daemon.socket]
        harness.run([*command, "warm", "--python", python], check=True)
        code = "import argparse, _shimport; print(_shimport.__file__, _shimport.status()['served'])"
        result = harness.run([*command, "run", "--", python, "-c", code], check=True)
        assert result.stdout.startswith(str(prefix))
        assert int(result.stdout.split()[1]) > 0
    harness.run([*make, "uninstall"], env=dict(os.environ), check=True)
    assert not [path for path in prefix.rglob("*") if not path.is_dir()]
