# SPDX-License-Identifier: MIT
"""Processes that run on while roots change unseen, are moved, vanish and come back."""

import os
import pathlib
import signal
import time

import harness

BARRIER = "import importlib; importlib.invalidate_caches()"


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


def test_a_daemon_that_was_replaced_between_two_barriers(site):
    running = site.start()
    assert running.value() == 0
    site.daemon.kill()
    site.daemon.start()
    site.warm()
    before = running.root(site.root)["served"]
    assert running.value(before=BARRIER) == 0
    assert running.root(site.root)["served"] == before + 1


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
