# SPDX-License-Identifier: MIT
"""Roots on file systems that are stacked, mounted twice, or read-only."""

import contextlib
import os

import pytest

import harness

OLD = 1e9  # what changed a moment ago is not validated by stat, but left to stock

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@contextlib.contextmanager
def mounted(place, *options):
    harness.run(["mount", *options, place], check=True)
    try:
        yield
    finally:
        # A builder of what is mounted there holds it for as long as it is at work.
        harness.wait_until(lambda: harness.run(["umount", place]).returncode == 0, "it to be unmounted")


def write(path, value):
    path.write_text(f"value = {value!r}\n")
    os.utime(path, (OLD, OLD))


def age(*directories):
    for directory in directories:
        os.utime(directory, (OLD, OLD))


def test_a_stacked_file_system_is_validated_by_stat(make_site, tmp_path):
    """Nobody hears of what is written below it."""
    memory = tmp_path / "memory"
    memory.mkdir()
    with mounted(memory, "-t", "tmpfs", "none"):
        lower, upper, work = (memory / name for name in ("lower", "upper", "work"))
        for directory in (lower, upper, work):
            directory.mkdir()
        for name in ("module", "other"):
            write(lower / f"{name}.py", "below")
        age(lower, upper)
        site = make_site()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        with mounted(site.root, "-t", "overlay", "-o", layers, "overlay"):
            site.warm()
            reason = "on overlayfs, whose layers change unseen"
            assert site.image()["validated"] == reason
            assert f"validated by stat: {reason}" in site.daemon.ctl("status").stdout
            assert site.served("import module, other") == 2
            running = site.start()
            assert running.value() == running.value("other") == "below"
            (lower / "module.py").write_text("value = 'written below'\n")
            assert running.value() == site.value() == "written below"
            site.write("other.py", "written above")
            assert running.value("other") == site.value("other") == "written above"
            running.close()
            site.daemon.stop()


def test_what_is_written_by_another_mount_is_seen(site, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    running = site.start()
    assert running.value() == 0
    with mounted(other, "--bind", site.root):
        (other / "module.py").write_text("value = 'by the other mount'\n")
        barrier = "import importlib; importlib.invalidate_caches()"
        assert running.value(before=barrier) == site.value() == "by the other mount"


def test_a_read_only_mount_costs_no_stat_and_is_watched_all_the_same(make_site, tmp_path):
    writable = tmp_path / "writable"
    writable.mkdir()
    write(writable / "module.py", "before")
    site = make_site()
    with mounted(site.root, "--bind", "-o", "ro", writable):
        site.warm()
        assert site.image()["validated"] == ""
        assert site.served("import module") == 1
        running = site.start()
        assert running.value() == "before"
        write(writable / "module.py", "after!")  # of the same size and time
        barrier = "import importlib; importlib.invalidate_caches()"
        assert running.value(before=barrier) == site.value() == "after!"
        running.close()
        site.daemon.stop()
