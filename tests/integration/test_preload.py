# SPDX-License-Identifier: MIT
"""Preload=: an image holds the code of all modules, of those that processes have asked for, or of those that patterns
name; and what processes ask for is theirs to waste, not others'."""

import os
import time

import harness
import pytest
import wire

PACKAGES = 5
MODULES = 6  # in each


@pytest.fixture
def make_used(make_site):
    """A root of packages, and a daemon with Preload= as given."""

    def make(preload="used", **more):
        lines = [f"Preload={preload}", *(f"{key}={value}" for key, value in more.items())]
        site = make_site(config="[daemon]\n" + "\n".join(lines) + "\n")
        for p in range(PACKAGES):
            site.write(f"package{p}/__init__.py", p)
            for m in range(MODULES):
                site.write(f"package{p}/module{m}.py", m)
        site.write("module.py", "top")
        site.warm()
        site.tag = site.pair.status()["tag"]
        return site

    return make


def imports(*names):
    return "\n".join(f"import {name}" for name in names)


def wait_for_modules(site, count):
    return harness.wait_until(
        lambda: (image := site.image()) and image["modules"] == count and image["state"] == "served" and image,
        f"{count} modules in the image",
    )


def test_nothing_is_held_before_it_is_asked_for(make_used):
    site = make_used()
    image = site.image()
    assert image["modules"] == 0
    assert image["entries"] > PACKAGES * MODULES
    assert site.served(imports("package0.module0")) == 0


def test_what_a_process_imported_is_held_for_the_next_one(make_used):
    site = make_used()
    assert site.value("package1.module3") == "3"
    wait_for_modules(site, 2)
    assert site.served(imports("package1.module3")) == 2
    assert site.value("package1.module3") == "3"
    assert site.served(imports("package1.module3", "module")) == 2
    wait_for_modules(site, 3)
    assert site.served(imports("package1.module3", "module")) == 3


def test_what_is_held_is_seen_to_change(make_used):
    site = make_used()
    site.value("package0.module0")
    wait_for_modules(site, 2)
    site.write("package0/module0.py", "changed")
    assert site.value("package0.module0") == "changed"
    wait_for_modules(site, 2)
    assert site.served(imports("package0.module0")) == 2
    assert site.value("package0.module0") == "changed"


def test_what_is_not_held_is_seen_to_change_before_it_is(make_used):
    site = make_used()
    site.write("package0/module0.py", "changed")
    assert site.value("package0.module0") == "changed"
    wait_for_modules(site, 1)  # stock was asked for the other, as for anything stale
    assert site.value("package0.module0") == "changed"
    wait_for_modules(site, 2)
    assert site.value("package0.module0") == "changed"
    assert site.served(imports("package0.module0")) == 2


def test_a_process_that_runs_on_gets_what_others_asked_for(make_used):
    site = make_used()
    running = site.start()
    running.tell("import package0.module0")
    site.value("package2.module2")
    wait_for_modules(site, 2)
    running.tell("import package2.module2")
    assert running.root(site.root)["served"] == 2


def test_a_module_that_does_not_compile_fails_as_ever(make_used):
    site = make_used()
    (site.root / "package0" / "module0.py").write_text("value = (\n")
    harness.wait_until(lambda: site.image()["state"] == "served", "the change to be built")
    assert "SyntaxError" in site.value("package0.module0")
    wait_for_modules(site, 1)  # the package
    assert "SyntaxError" in site.value("package0.module0")


def test_patterns_hold_what_they_name_and_no_more(make_used):
    site = make_used("package1,package1.*,*.module5")
    assert site.image()["modules"] == 1 + MODULES + 1 + PACKAGES - 1  # a package is also what __init__ is in it
    assert site.served(imports("package1.module1", "package2.module5")) == 3
    site.value("package3.module3")
    assert site.served(imports("package3.module3")) == 0


def test_patterns_and_what_is_used_together(make_used):
    site = make_used("used,package1.*")
    assert site.image()["modules"] == MODULES + 1
    site.value("package3.module3")
    wait_for_modules(site, MODULES + 3)
    assert site.served(imports("package1.module1", "package3.module3")) == 3


def test_with_too_many_modules_all_is_used(make_used):
    site = make_used("all", PreloadMax=PACKAGES * MODULES)
    assert site.image()["modules"] == 0
    site.value("package3.module3")
    wait_for_modules(site, 2)


def test_all_is_all(make_used):
    site = make_used("all")
    assert site.image()["modules"] == PACKAGES * (MODULES + 2) + 1


def test_it_is_set_for_each_root(make_used, tmp_path):
    site = make_used("used /nowhere/*")
    assert site.image()["modules"] == PACKAGES * (MODULES + 2) + 1


def test_another_choice_is_heeded_when_the_configuration_is_read_again(make_used):
    site = make_used()
    site.daemon.config.write_text("[daemon]\nPreload=all\n")
    site.daemon.ctl("reload", check=True)
    wait_for_modules(site, PACKAGES * (MODULES + 2) + 1)
    site.daemon.config.write_text("[daemon]\nPreload=module\n")
    site.daemon.ctl("reload", check=True)
    wait_for_modules(site, 1)
    assert site.served(imports("module", "package0")) == 1


def report(site, *wanted, tag=None):
    """A report by hand: (path, device, inode, names) of each root."""
    body = b"".join(
        wire.field(7, wire.field(1, path) + wire.field(2, dev) + wire.field(3, ino) + b"".join(wire.field(4, name) for name in names))
        for path, dev, ino, names in wanted
    )
    with site.daemon.connect() as connection:
        connection.send(wire.request(wire.REPORT, wire.field(6, tag or site.tag) + body))


def test_what_is_wanted_by_liars_changes_nothing(make_used):
    site = make_used()
    status = os.stat(site.root)
    root = (str(site.root), status.st_dev, status.st_ino)
    names = [b"", b"missing", b"package0/module0", b"package0..module0", b"\xff\xfe", b"a" * 5000, b"package0.module0.x", b"x\0y"]
    report(site, (*root, names))
    report(site, (*root, [b"x%d" % n for n in range(10_000)]))
    report(site, (str(site.root), status.st_dev, status.st_ino + 1, [b"module"]))
    report(site, *[("/nowhere", 1, 2, [])] * 2000)
    report(site, (*root, [b"module"]), tag="no tag of anybody's")
    before = site.image()
    assert (before["modules"], before["state"]) == (0, "served")
    report(site, (*root, [b"package1.module1", b"module", b"module"]))
    wait_for_modules(site, 2)


def test_reports_without_end_are_built_now_and_then(make_used):
    """The pause before the next image doubles, however often somebody asks for something else."""
    site = make_used()
    status = os.stat(site.root)
    began = site.daemon.status()["builds"]
    for p in range(PACKAGES):
        for m in range(MODULES):
            report(site, (str(site.root), status.st_dev, status.st_ino, [f"package{p}.module{m}"]))
            time.sleep(0.03)
    wait_for_modules(site, PACKAGES * MODULES)
    assert site.daemon.status()["builds"] - began < 8


def test_a_module_is_explained_that_nobody_has_asked_for(make_used):
    site = make_used()
    answer = site.daemon.ctl("explain", "--python", site.pair.shim, "package0.module0", env=site.env)
    assert "nobody has asked for it" in answer.stdout
