# SPDX-License-Identifier: MIT
"""Processes that run on while roots change unseen, are moved, vanish and come back."""

import os
import pathlib
import signal
import time

import pytest

import harness
import wire

BARRIER = "import importlib; importlib.invalidate_caches()"
OLD = 1e9  # what changed a moment ago is not validated by stat, but left to stock


def age(*paths):
    for path in paths:
        os.utime(path, (OLD, OLD))


def grow_old(path, value):
    """Write what a process that looks at it by stat believes at once."""
    path.write_text(f"value = {value!r}\n")
    age(path)
    return path


# -- what only stat can tell --


def by_configuration(make_site, directory):
    site = make_site("[daemon]\nValidate=stat\n")
    return site, grow_old(site.root / "module.py", "before")


def beyond_the_limit(make_site, directory):
    site = make_site("[daemon]\nWatchLimit=1\n")
    package = site.root / "package"
    package.mkdir()
    grow_old(package / "__init__.py", "")
    module = grow_old(package / "module.py", "before")
    age(package)
    return site, module


def behind_a_link(make_site, directory):
    site = make_site()
    target = grow_old(directory / "target.py", "before")
    (site.root / "module.py").symlink_to(target)
    return site, target


def by_another_name(make_site, directory):
    site = make_site()
    other = grow_old(directory / "other.py", "before")
    os.link(other, site.root / "module.py")
    return site, other


@pytest.mark.parametrize("make", [by_configuration, beyond_the_limit, behind_a_link, by_another_name])
def test_a_change_that_only_a_process_can_find_leads_to_another_image(make_site, tmp_path, make):
    with harness.public_directory() as directory:
        site, module = make(make_site, directory)
        name = "package.module" if (site.root / "package").exists() else "module"
        (site.root / "quiet.py").write_text("")
        age(site.root / "quiet.py", site.root)
        site.warm()
        code = f"import {name}"
        everything = site.served(code)
        assert everything == len(name.split("."))
        generation = site.settle()["generation"]
        for value in ("first", "second"):
            previous, size = generation, module.stat().st_size
            module.write_text(f"value = {value!r}\n")
            os.utime(module, (OLD + size, OLD + size))
            assert site.value(name) == value  # and the process tells the daemon
            generation = harness.wait_until(
                lambda: (image := site.settle())["generation"] > previous and image["generation"], "another image"
            )
            assert site.served(code) == everything
        time.sleep(1)
        assert site.settle()["generation"] == generation  # and that was that


def test_a_name_that_appears_where_nobody_watches_leads_to_another_image(make_site):
    site, _ = by_configuration(make_site, None)
    age(site.root)
    site.warm()
    assert site.served("import module") == 1
    grow_old(site.root / "new.py", "new")
    os.utime(site.root, (OLD + 1, OLD + 1))
    assert site.value("new") == "new"
    harness.wait_until(lambda: site.served("import module, new") == 2, "the new module to be served")


def test_a_change_that_is_watched_does_not_wait_for_one_that_is_not(make_site, tmp_path):
    site, other = by_another_name(make_site, tmp_path)
    site.write("watched.py", 0)
    site.warm()
    site.settle()
    other.write_text("value = 'changed'\n")
    assert site.value() == "changed"  # and in three seconds an image is built
    image = harness.wait_until(lambda: (image := site.image())["state"] == "stale" and image, "the change to be told")
    site.write("watched.py", 1)
    harness.wait_until(lambda: site.image()["generation"] > image["generation"], "another image", 1)


def test_a_link_on_the_way_to_a_root_that_was_away_while_it_was_built(make_site, one_python, tmp_path):
    """The builder must not take a path that leads nowhere for one without a link."""
    for name in ("old", "new"):
        (tmp_path / name / "root").mkdir(parents=True)
        grow_old(tmp_path / name / "root" / "module.py", name)
        age(tmp_path / name / "root")
    link = tmp_path / "link"
    link.symlink_to("old")
    site = make_site(root=link / "root")
    roots = wire.open_roots([site.root])
    link.unlink()
    with site.daemon.connect() as connection:
        wire.ask(connection, wire.attach(one_python.describe(), [str(site.root)]), roots)
    harness.wait_until(lambda: (image := site.image()) and image["generation"], "the image to be built")
    link.symlink_to("old")
    running = site.start()
    assert running.value() == "old" and running.root(site.root)["served"] == 1
    link.unlink()
    link.symlink_to("new")
    time.sleep(0.1)
    assert running.value() == "new"


# -- directories above a root --


def test_a_directory_above_that_is_moved_is_seen_within_100_ms(make_site, tmp_path):
    above = tmp_path / "above"
    site = make_site(root=above / "between" / "root")
    site.write("module.py", "here")
    site.warm()
    running = site.start()
    assert running.value() == "here"
    above.rename(tmp_path / "aside")
    time.sleep(0.1)
    assert running.value() == ["ModuleNotFoundError", "No module named 'module'"]
    (above / "between" / "root").mkdir(parents=True)
    site.write("module.py", "another")
    assert running.value(before=BARRIER) == "another"
    site.warm()
    assert running.value(before=BARRIER) == site.value() == "another"
    (above / "between").rename(tmp_path / "between")
    (tmp_path / "aside" / "between").rename(above / "between")
    time.sleep(0.1)
    assert running.value() == "here"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("below", ["", "package", "package/inner"])
def test_what_is_mounted_over_a_directory_or_taken_away_is_seen_within_100_ms(site, below):
    if below == "package/inner":
        site.write("package/inner.py", "a module")
        (site.root / below).mkdir()
        site.warm()
        site.settle()
    place = site.root / below
    name = below.replace("/", ".") or "module"
    running = site.start()
    before = running.value(name)
    for lazily in ([], ["-l"]):
        harness.run(["mount", "-t", "tmpfs", "none", place], check=True)
        try:
            (place / f"{name}.py" if not below else place / "__init__.py").write_text("value = 'mounted over it'\n")
            time.sleep(0.1)
            assert running.value(name, before="" if below else BARRIER) == "mounted over it"
            assert site.value(name) == "mounted over it"
        finally:
            # A builder of what is mounted there holds it for as long as it is at work.
            unmount = ["umount", *lazily, place]
            harness.wait_until(lambda: harness.run(unmount).returncode == 0, "it to be unmounted", 20)
        time.sleep(0.1)
        assert running.value(name, before="" if below else BARRIER) == before
        assert site.value(name) == str(before)


# -- images that go and come back --


def test_a_root_that_comes_back_is_served_again_after_the_barrier(site, tmp_path):
    running = site.start()
    assert running.value() == 0
    site.root.rename(tmp_path / "aside")
    assert running.value(before=BARRIER) == ["ModuleNotFoundError", "No module named 'module'"]
    assert running.root(site.root)["state"] == "unknown"
    harness.wait_until(lambda: site.image() is None, "the image to be withdrawn")
    (tmp_path / "aside").rename(site.root)
    site.warm()
    before = running.root(site.root)["served"]
    assert running.value(before=BARRIER) == 0
    assert running.root(site.root)["state"] == "served"
    assert running.root(site.root)["served"] == before + 1


def test_a_daemon_that_comes_back_serves_who_ran_on(site):
    running = site.start()
    assert running.value() == 0
    site.daemon.kill()
    site.write("module.py", "alone")
    for _ in range(3):  # nobody answers, and that is no reason to give up
        assert running.value(before=BARRIER) == "alone"
    site.daemon.start()
    site.warm()
    before = running.root(site.root)["served"]
    assert running.value(before=BARRIER) == "alone"
    assert running.root(site.root)["served"] == before + 1
    site.write("module.py", "together")
    assert running.value(before=BARRIER) == "together"


@pytest.mark.parametrize("before", ["", BARRIER])
def test_a_daemon_that_is_replaced_at_once_goes_on_serving_who_ran_on(site, before):
    running = site.start()
    assert running.value() == 0
    site.daemon.kill()
    site.daemon.start()
    site.warm()
    served = running.root(site.root)["served"]
    assert running.value(before=before) == 0
    assert running.root(site.root)["served"] == served + 1


def test_a_root_whose_image_was_dropped_is_served_again_after_the_barrier(site):
    running = site.start()
    assert running.value() == 0
    site.daemon.ctl("drop", check=True)
    assert running.value() == 0
    site.warm()
    before = running.root(site.root)["served"]
    assert running.value(before=BARRIER) == 0
    assert running.root(site.root)["served"] == before + 1


def test_a_hung_daemon_is_asked_once_only(site):
    site.env["SHIMPORT_BUDGET_MS"] = "700"
    running = site.start()
    assert running.value() == 0
    os.kill(site.daemon.pid, signal.SIGSTOP)
    try:
        site.write("module.py", "unheard")
        began = time.monotonic()
        assert running.value(before=BARRIER) == "unheard"
        assert time.monotonic() - began > 0.6
        began = time.monotonic()
        for _ in range(3):
            assert running.value(before=BARRIER) == "unheard"
        assert time.monotonic() - began < 0.6
    finally:
        os.kill(site.daemon.pid, signal.SIGCONT)


def test_no_thread_overtakes_the_barrier_of_another(site):
    """The import system's lock would hide it: the finder is asked directly."""
    running = site.start()
    assert running.value() == 0
    code = """
import importlib, sys, threading
from importlib.machinery import PathFinder
found = []
def look():
    found.append(PathFinder.find_spec("module").loader.get_code("module").co_consts[0])
PathFinder.find_spec("module")
importlib.invalidate_caches()
threads = [threading.Thread(target=look) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
answer = found
"""
    os.kill(site.daemon.pid, signal.SIGSTOP)
    try:
        site.write("module.py", "changed")
        running.ask(code)
        time.sleep(0.5)
    finally:
        os.kill(site.daemon.pid, signal.SIGCONT)
    assert running.answer() == ["changed"] * 4


def test_what_was_found_long_ago_is_loaded_as_it_is_now(site):
    """As importlib.util.LazyLoader does: between the two there may be another image, or another daemon."""
    running = site.start()
    find = "import importlib.util, __main__\n__main__.spec = importlib.util.find_spec('module')"
    load = "import __main__\nanswer = __main__.spec.loader.get_code('module').co_consts[0]"

    def supersede():
        generation = site.image()["generation"]
        site.write("package/inner.py", f"image {generation}")
        harness.wait_until(lambda: site.image()["generation"] > generation, "another image")

    for value, meanwhile in enumerate((lambda: None, supersede, site.daemon.kill), 1):
        site.settle()
        running.tell(find + f"\nassert {load.partition('answer = ')[2]} == {value - 1}")
        meanwhile()
        site.write("module.py", value)
        time.sleep(0.1)
        assert running.tell(load) == value
    site.daemon.start()


# -- builders that nobody waits for any more --


def test_builders_end_with_a_daemon_that_is_killed(make_site, one_python):
    site = make_site()
    (site.root / "long.py").write_text("x = [\n" + "    {'a': [1, 2, 3], 'b': f'{__name__}'},\n" * 300_000 + "]\n")
    site.pair.run_shim("-c", "pass", env=site.env, check=True)
    (builder,) = harness.wait_until(
        lambda: [child for child in site.daemon.children() if is_busy_with(child, site.root)], "the builder to be at work"
    )
    time.sleep(0.5)
    assert harness.alive(builder)
    site.daemon.kill()
    harness.wait_until(lambda: not harness.alive(builder), "the builder to end", 1)
    site.daemon.start()


def is_busy_with(pid, root):
    links = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
        try:
            links.append(os.readlink(fd))
        except OSError:
            pass
    return str(root) in links
