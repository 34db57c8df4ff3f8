# SPDX-License-Identifier: MIT
"""MemoryMax=: who gives way, who never does, and what is counted."""

import pytest

import harness
import sites

IMAGE = 300_000  # bytes of a text; the image holds it twice, marshalled and frozen

ACTIVATE = """
import sys
import importlib.machinery, importlib.util
saved = sys.path[:]
sys.path[:] = [{root!r}]
loader = importlib.machinery.ExtensionFileLoader("_shimport", {extension!r})
spec = importlib.util.spec_from_loader("_shimport", loader)
sys.modules["_shimport"] = importlib.util.module_from_spec(spec)
loader.exec_module(sys.modules["_shimport"])
sys.modules["_shimport"].activate()
sys.path[1:] = saved
answer = [(root["path"], root["state"]) for root in sys.modules["_shimport"].status()["roots"]]
"""


class Roots:
    """Directories whose images are of one size, a daemon with room for two, and processes that attach to one alone."""

    def __init__(self, daemon, python, directory):
        self.daemon, self.python, self.directory = daemon, python, directory
        self.running = []
        for name in "abc":
            (directory / name).mkdir(parents=True)
            for module, text in (("large", "x" * IMAGE), ("small", ""), ("other", "")):
                (directory / name / f"{module}_{name}.py").write_text(f"value = {text!r}\n")

    def warm(self, name):
        return self.daemon.ctl("warm", "--python", self.python.executable, "--path", self.directory / name)

    def attach(self, name):
        running = sites.Running(self.python.executable, self.daemon.env(SHIMPORT_BUDGET_MS=5000))
        self.running.append(running)
        extension = str(harness.BUILD / "python" / f"_shimport.{self.python.soabi}.so")
        answer = running.tell(ACTIVATE.format(root=str(self.directory / name), extension=extension))
        assert [str(self.directory / name), "served"] in answer
        return running

    def image(self, name):
        images = self.daemon.status()["images"]
        return next(image for image in images if image["root"] == str(self.directory / name))


@pytest.fixture
def roots(make_daemon, one_python, tmp_path):
    made = Roots(make_daemon(config="[daemon]\nMemoryMax=1500K\n"), one_python, tmp_path / "roots")
    yield made
    for running in made.running:
        running.close()


def served(running):
    return running.tell("import _shimport\nanswer = _shimport.status()['served']")


def test_who_is_mapped_does_not_give_way_though_attached_the_longest_ago(roots):
    for name in "ab":
        assert roots.warm(name).returncode == 0
        assert roots.image(name)["bytes"] > IMAGE
    first = roots.attach("a")
    roots.attach("b").close()
    assert (roots.image("a")["mapped"], roots.image("b")["mapped"]) == (True, False)

    assert roots.warm("c").returncode == 0
    assert [roots.image(name)["state"] for name in "abc"] == ["served", "failed", "served"]
    assert "gave way" in roots.image("b")["reason"]
    assert not roots.daemon.status()["full"]

    second = roots.attach("c")
    before = served(first)
    refused = roots.warm("b")
    assert refused.returncode == 1
    assert "no room" in refused.stderr and "MemoryMax=" in refused.stderr
    status = roots.daemon.status()
    assert status["full"] and status["memory"] <= status["memory_limit"]
    assert roots.daemon.ctl("status").stdout.count("\nFULL: ") == 1
    assert roots.daemon.log().count("FULL: ") == 1
    for running, name in ((first, "a"), (second, "c")):  # nobody's life is disturbed
        assert running.value(f"small_{name}") == ""
    assert served(first) > before

    first.close()
    assert not roots.daemon.status()["full"]
    assert "there is room" in roots.daemon.log()
    assert roots.warm("b").returncode == 0
    assert [roots.image(name)["state"] for name in "abc"] == ["failed", "served", "served"]
    assert served(second)


def test_a_superseded_image_counts_until_its_processes_have_gone(roots):
    roots.warm("a")
    running = roots.attach("a")
    assert running.value("small_a") == ""
    generation = roots.image("a")["generation"]
    (roots.directory / "a" / "small_a.py").write_text("value = 'changed'\n")
    image = harness.wait_until(lambda: (now := roots.image("a"))["generation"] > generation and now, "the next image")
    status = roots.daemon.status()
    assert status["lingering"] == 1
    assert status["memory_lingering"] > IMAGE
    assert status["memory"] == status["memory_lingering"] + image["bytes"]
    assert running.value("other_a") == ""  # from the new one; what it has imported still refers to the old one
    running.close()
    status = roots.daemon.status()
    assert status["lingering"] == 0
    assert status["memory"] == image["bytes"]


def test_a_smaller_limit_holds_from_the_reload_on(roots):
    for name in "ab":
        roots.warm(name)
    roots.attach("b")
    roots.daemon.config.write_text("[daemon]\nMemoryMax=1M\n")
    roots.daemon.ctl("reload", check=True)
    assert [roots.image(name)["state"] for name in "ab"] == ["failed", "served"]
    assert roots.daemon.status()["memory_limit"] == 1 << 20
