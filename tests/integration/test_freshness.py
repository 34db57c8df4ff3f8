# SPDX-License-Identifier: MIT
"""Every change that was complete before a process asked is seen by it: tests/race.py tries at random, these by name."""

import ctypes
import os
import pathlib
import shutil
import signal
import struct
import sys
import threading
import time

import pytest

import harness
import sites

OTHER = 65534  # another user
IN_OPEN, IN_ISDIR = 0x20, 0x40000000


def test_a_running_process_sees_a_change_within_100_ms(site):
    running = site.start()
    assert running.value() == 0
    for i in range(1, 20):
        site.write("module.py", i)
        time.sleep(0.1)
        assert running.value() == i
    site.write("package/inner.py", "changed")
    time.sleep(0.1)
    assert running.value("package.inner") == "changed"


def test_a_running_process_sees_a_change_at_once_after_the_barrier(site):
    running = site.start()
    assert running.value() == 0
    for i in range(1, 50):
        site.write("module.py", i)
        assert running.value(before="import importlib; importlib.invalidate_caches()") == i
        site.write(f"new{i}.py", i)
        assert running.value(f"new{i}", before="import importlib; importlib.invalidate_caches()") == i


def test_a_running_process_gets_the_new_image(site):
    running = site.start()
    generation = "import _shimport\nanswer = max(r['generation'] for r in _shimport.status()['roots'] if r['path'] == {!r})"
    assert running.value() == 0
    first = running.tell(generation.format(str(site.root)))
    site.write("module.py", 1)
    site.settle()
    harness.wait_until(lambda: site.image()["generation"] > first, "another image")
    stale = running.stale()
    assert running.value() == 1
    assert running.value("package.inner") == "inner"
    assert running.tell(generation.format(str(site.root))) > first
    assert running.stale() == stale


def test_parent_and_child_of_a_fork_see_changes(site):
    running = site.start()
    assert running.value() == 0
    child = """
import os, sys, time, importlib, json
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    path = {path!r}
    open(path, "w").write("value = 'by the child'\\n")
    importlib.invalidate_caches()
    sys.modules.pop("module", None)
    import module
    os.write(write, module.value.encode())
    os._exit(0)
os.waitpid(pid, 0)
importlib.invalidate_caches()
sys.modules.pop("module", None)
import module
answer = [os.read(read, 100).decode(), module.value]
"""
    assert running.tell(child.format(path=str(site.root / "module.py"))) == ["by the child"] * 2


def opened_files(directory, action):
    """Which files of a directory are opened meanwhile, by whomever."""
    libc = ctypes.CDLL(None)
    fd = libc.inotify_init1(os.O_NONBLOCK)
    names = set()
    try:
        libc.inotify_add_watch(fd, os.fsencode(directory), IN_OPEN)
        action()
        data = os.read(fd, 1 << 16)
    finally:
        os.close(fd)
    while data:
        _, mask, _, size = struct.unpack_from("iIII", data)
        if not mask & IN_ISDIR:
            names.add(data[16 : 16 + size].rstrip(b"\0").decode())
        data = data[16 + size :]
    return names


def test_only_what_changed_is_read_again(site):
    for n in range(20):
        site.write(f"module{n}.py", n)
    site.warm()
    generation = site.settle()["generation"]

    def change():
        os.utime(site.root / "module7.py")
        harness.wait_until(lambda: site.image()["generation"] > generation, "another image")

    assert opened_files(site.root, change) == {"module7.py"}


def test_only_what_changed_is_stale_and_only_that_is_built_again(site):
    site.write("module.py", 1)
    assert site.served("import module") == 0
    assert site.served("import package.inner") == 2
    assert site.value() == "1"
    site.settle()
    assert site.served("import module, package.inner") == 3


def test_an_overflow_of_the_queue_makes_everything_stale(site):
    running = site.start()
    assert running.value() == 0
    queue = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queue > 1 << 17:
        pytest.skip("the queue is too long here")
    os.kill(site.daemon.pid, signal.SIGSTOP)
    try:
        paths = [str(site.root / "module.py"), str(site.root / "package" / "inner.py")]
        for i in range(queue + 100):
            os.utime(paths[i % 2])
        site.write("package/__init__.py", "after the overflow")
    finally:
        os.kill(site.daemon.pid, signal.SIGCONT)
    assert running.value("package", before="import importlib; importlib.invalidate_caches()") == "after the overflow"
    assert site.value("package") == "after the overflow"
    assert "the queue of changes ran over" in site.daemon.log()
    site.settle()
    assert site.served("import package.inner") == 2


def limited_by_configuration(make_site):
    return make_site("[daemon]\nWatchLimit=1\n"), "the limit of 1 watched directories is reached"


def limited_by_the_kernel(make_site):
    """In a user namespace of its own, whose limit is its own as well."""
    enter = ["unshare", "--user", "--map-root-user"]
    command = "echo 1 >/proc/sys/user/max_inotify_watches"
    if os.geteuid() != 0 or harness.run([*enter, "sh", "-c", command]).returncode:
        pytest.skip("no user namespace can be made here, or its limits not be set")
    prefix = [*enter, "sh", "-c", f'{command} && exec "$@"', "sh"]
    return make_site(prefix=prefix), "the kernel lets this user watch no more directories"


@pytest.mark.parametrize("limited", [limited_by_configuration, limited_by_the_kernel])
def test_directories_beyond_the_limit_are_validated_by_stat(make_site, limited):
    site, reason = limited(make_site)
    site.write("module.py", 0)
    site.write("package/__init__.py", "package")
    site.write("package/inner.py", "inner")
    for path in site.root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    site.warm()
    assert site.image()["validated"] == reason
    assert f"validated by stat: {reason}" in site.daemon.ctl("status").stdout
    assert site.served("import module, package.inner") == 3
    running = site.start()
    assert running.value("package.inner") == "inner"
    site.write("package/inner.py", "changed in place")
    assert running.value("package.inner") == "changed in place"
    assert site.value("package.inner") == "changed in place"
    site.write("package/new.py", "new")
    assert running.value("package.new") == site.value("package.new") == "new"
    (site.root / "package" / "inner.py").unlink()
    assert "No module named 'package.inner'" in site.value("package.inner")


def test_validate_by_configuration(make_site, tmp_path):
    config = f"[daemon]\nValidate=stat\nValidate=never {tmp_path}/*\nValidate=watch {tmp_path}/root1\nValidate=stat {tmp_path}/root2\n"
    never, watch, stat = make_site(config), make_site(config), make_site(config)
    for site in (never, watch, stat):
        path = site.write("module.py", 0)
        os.utime(path, (1e9, 1e9))
        os.utime(site.root, (1e9, 1e9))
        (tmp_path / "elsewhere.py").write_text("value = 'elsewhere'\n")
        (site.root / "link.py").symlink_to(tmp_path / "elsewhere.py")
        site.warm()
        site.write("module.py", 1)
        running = site.start()
        assert running.value() == (0 if site is never else 1)
        assert site.image()["validated"] == ("Validate=stat is set" if site is stat else "")
    left_out = [left["file"] for left in watch.settle()["left_out"]]
    assert left_out == ["link.py"]


def test_another_validate_is_heeded_from_the_reload_on(make_site):
    site = make_site("[daemon]\nValidate=never\n")
    path = site.write("module.py", 0)
    os.utime(path, (1e9, 1e9))
    os.utime(site.root, (1e9, 1e9))
    site.warm()
    running = site.start()
    assert running.value() == 0
    path.write_text("value = 1\n")
    assert running.value() == 0  # as it was told
    for mode, validated in (("stat", "Validate=stat is set"), ("auto", "")):
        os.utime(path, (1e9, 1e9))
        site.daemon.config.write_text(f"[daemon]\nValidate={mode}\n")
        site.daemon.ctl("reload", check=True)
        assert running.value(before="import importlib; importlib.invalidate_caches()") == 1
        harness.wait_until(lambda: site.settle()["validated"] == validated, "another image")
        assert site.served("import module") == 1
    assert running.value() == 1


def test_permissions_are_seen_where_only_stat_looks(one_pair):
    """A chmod leaves size, inode and modification time as they were."""
    if not harness.user_may_run(one_pair.interpreter, OTHER):
        pytest.skip("another user may not run the interpreter")
    other = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
    show = [one_pair.shim, "-B", "-c", "import module; print(module.value, module.__loader__)"]
    with harness.public_directory() as directory:
        with harness.Daemon(directory / "daemon", config="[daemon]\nValidate=stat\n") as daemon:
            site = sites.Site(daemon, one_pair, directory / "root")
            path = site.write("module.py", 0)
            for old in (path, site.root):
                os.utime(old, (1e9, 1e9))
            site.warm()
            assert site.served("import module") == 1
            for changed, error in ((path, "Permission denied"), (site.root, "No module named 'module'")):
                mode = harness.mode_of(changed)
                changed.chmod(0o311 if changed is site.root else 0o600)
                shim = harness.run([*other, *show], env=site.env)
                stock = harness.run([*other, one_pair.stock, *show[1:]], env=site.env)
                assert error in stock.stderr
                harness.assert_same(one_pair.neutral(harness.shown(shim)), one_pair.neutral(harness.shown(stock)))
                changed.chmod(mode)


def test_links_are_served_and_seen_to_lead_elsewhere(make_daemon, one_pair):
    with harness.public_directory() as directory:  # what everybody may go to
        site = sites.Site(make_daemon(), one_pair, directory / "root")
        links_are_served(site, directory / "old", directory / "new")
        for running in site.started:
            running.close()


def links_are_served(site, old, new):
    for target in (old, new):
        target.mkdir()
        for name in ("__init__", "inner"):
            (target / f"{name}.py").write_text(f"value = '{target.name} {name}'\n")
            os.utime(target / f"{name}.py", (1e9, 1e9))
        os.utime(target, (1e9, 1e9))
    (site.root / "linked").symlink_to(old)
    (site.root / "file.py").symlink_to(old / "inner.py")
    os.link(new / "inner.py", site.root / "hard.py")
    (site.root / "neighbour.py").symlink_to("file.py")
    site.warm()
    site.settle()
    code = "import linked.inner, file, hard, neighbour"
    assert site.served(code) == 5
    (site.root / "linked").unlink()
    (site.root / "linked").symlink_to(new)
    assert site.value("linked.inner") == "new inner"
    site.settle()
    running = site.start()
    assert running.value("file") == running.value("neighbour") == "old inner"
    (old / "inner.py").write_text("value = 'written behind the link'\n")
    assert running.value("file") == running.value("neighbour") == site.value("file") == "written behind the link"
    (new / "inner.py").write_text("value = 'written by its other name'\n")
    assert running.value("hard") == site.value("hard") == "written by its other name"


def test_a_loop_of_links_ends(site):
    (site.root / "package" / "loop").symlink_to("..")
    (site.root / "package" / "again").symlink_to(".")
    (site.root / "self").symlink_to("self")
    (site.root / "package" / "to").symlink_to("fro")
    (site.root / "package" / "fro").symlink_to("to")
    site.warm()
    assert site.settle()["directories"] == 2  # each once
    for name in ("package.again.inner", "package.again.again.inner", "package.loop.module", "self", "package.to"):
        site.value(name)
    assert site.served("import module, package.inner") == 3


def test_a_root_that_is_replaced_vanishes_or_becomes_unreadable(site, tmp_path):
    running = site.start()
    assert running.value() == 0
    site.root.rename(tmp_path / "was")
    site.root.mkdir()
    site.write("module.py", "another directory")
    barrier = "import importlib; importlib.invalidate_caches()"
    assert running.value(before=barrier) == site.value() == "another directory"
    harness.wait_until(lambda: f"{site.root}: withdrawn" in site.daemon.log(), "the image to be withdrawn")
    shutil.rmtree(site.root)
    assert running.value(before=barrier) == ["ModuleNotFoundError", "No module named 'module'"]
    assert "No module named 'module'" in site.value()
    site.root.mkdir()
    site.write("module.py", "back")
    assert running.value(before=barrier) == site.value() == "back"
    site.warm()
    os.chmod(site.root, 0)
    try:
        assert site.value() in ("back", "ModuleNotFoundError: No module named 'module'")
    finally:
        os.chmod(site.root, 0o755)


def test_a_file_that_is_written_while_it_is_read(site):
    """It is left to stock, and built again once it is whole."""
    lines = "# x\n" * 100_000
    site.write("module.py", "at first")
    stop = threading.Event()

    def write():
        with open(site.root / "module.py", "a") as module:
            module.write(lines)
            while not stop.is_set():
                module.write("# y\n")
                module.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        harness.wait_until(lambda: left_out(site) == {"module.py": "it changed while it was read"}, "it to be left out")
        assert site.value() == "at first"
    finally:
        stop.set()
        writer.join()
    site.write("module.py", "at last")
    assert site.value() == "at last"
    harness.wait_until(lambda: site.served("import module") == 1, "it to be built again")
    assert site.value() == "at last"
    assert left_out(site) == {}


def left_out(site):
    site.warm()
    return {left["file"]: left["reason"] for left in site.image()["left_out"]}


def test_a_log_file_in_a_root_causes_no_build(site):
    generation = site.image()["generation"]
    with open(site.root / "log", "w") as log:
        site.settle()
        generation = site.image()["generation"]
        for _ in range(50):
            log.write("a line\n")
            log.flush()
            time.sleep(0.01)
    time.sleep(0.5)
    assert site.image()["generation"] == generation


NEW_ROOTS = {
    "sys.path.append": "sys.path.append(new)",
    "site.addsitedir": "import site; site.addsitedir(new)",
    ".pth after activation": "import site; open(os.path.join(base, 'x.pth'), 'w').write(new + '\\n'); site.addsitedir(base)",
    "__path__": "import package; package.__path__.append(new); NAME = 'package.fresh'",
}


@pytest.mark.parametrize("way", NEW_ROOTS)
def test_new_roots_while_running(site, tmp_path, way):
    new, base = tmp_path / "new", tmp_path / "base"
    new.mkdir()
    base.mkdir()
    (new / "fresh.py").write_text("value = 'first'\n")
    code = f"""
import importlib, os, sys, time
new, base, NAME = {str(new)!r}, {str(base)!r}, "fresh"
{NEW_ROOTS[way]}
seen = []
for text in ("second", "third", "fourth"):
    seen.append(importlib.import_module(NAME).value)
    open(os.path.join(new, "fresh.py"), "w").write(f"value = {{text!r}}  #{{'#' * len(seen)}}\\n")
    del sys.modules[NAME]
    importlib.invalidate_caches()
seen.append(importlib.import_module(NAME).value)
answer = seen
print(seen)
"""
    for _ in range(3):
        (new / "fresh.py").write_text("value = 'first'\n")
        ours = site.pair.run_shim("-B", "-c", code, env=site.env, check=True)
        assert ours.stdout == "['first', 'second', 'third', 'fourth']\n"
        time.sleep(0.3)


def test_pip_install_of_another_version(site, tmp_path):
    """Into a virtual environment that is served; files come from a wheel whose times are all the same."""
    pip = [sys.executable, "-m", "pip", "--python", site.pair.shim]
    if harness.run([*pip, "--version"]).returncode:
        pytest.skip("this Python has no pip, or one that installs only for itself")
    running = site.start()
    for version in ("1.0", "2.0", "1.0", "3.0"):
        options = ["--no-index", "--no-deps", "--force-reinstall", "--disable-pip-version-check", "-q"]
        harness.run([*pip, "install", *options, harness.make_wheel(tmp_path, version)], check=True)
        code = f"import raced, raced.{harness.wheel_module(version)}; print(raced.value)"
        assert site.pair.run_shim("-c", code, env=site.env, check=True).stdout == f"{version}\n"
        assert running.value("raced", before="import importlib; importlib.invalidate_caches()") == version
        site.pair.run_shim("-c", "import raced.only10" if version != "1.0" else "import raced.only20", env=site.env)
        time.sleep(0.3)
    harness.run([*pip, "uninstall", "-y", "-q", "raced"], check=True)
    assert "No module named 'raced'" in site.pair.run_shim("-c", "import raced", env=site.env).stderr


def test_the_directory_of_a_script(site, tmp_path):
    directory = tmp_path / "scripts"
    directory.mkdir()
    (directory / "script.py").write_text("import beside\nprint(beside.value)\n")
    for i in range(8):
        (directory / "beside.py").write_text(f"value = {i}\n")
        assert site.pair.run_shim("-B", directory / "script.py", env=site.env, check=True).stdout == f"{i}\n"
        time.sleep(0.1 * (i % 3))


def test_a_daemon_that_dies_is_noticed_by_who_has_its_images(site):
    running = site.start()
    assert running.value() == 0
    site.daemon.kill()
    site.write("module.py", "nobody watched")
    assert running.value() == "nobody watched"
    site.daemon.start()
    site.write("module.py", "again")
    assert running.value() == site.value() == "again"


def test_race():
    """Some rounds of tests/race.py, and some kills; `make race` does more of them."""
    for arguments in (["--rounds", "300"], ["--kills", "15"]):
        harness.run([sys.executable, harness.ROOT / "tests" / "race.py", *arguments], check=True, timeout=600)
