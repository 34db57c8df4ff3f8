# SPDX-License-Identifier: MIT
"""Processes that run on while roots change unseen, are moved, vanish and come back."""

import os
import pathlib
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
