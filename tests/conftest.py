# SPDX-License-Identifier: MIT
"""
Fixtures. A test that takes `pair` runs once for each interpreter, against one daemon that all such tests share;
a test that does something to its daemon starts one of its own with `make_daemon`.
"""

import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

pytest.register_assert_rewrite("harness", "sites", "wire")
import harness  # noqa: E402
import sites  # noqa: E402


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        found = harness.interpreters()
        metafunc.parametrize("python", found, ids=[str(python) for python in found], scope="session")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for them
def pytest_collection_modifyitems(items):
    """The tests of one interpreter make a group, so that its images are built in one worker."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters and "python" in parameters.params:
            item.add_marker(pytest.mark.xdist_group(str(parameters.params["python"])))


@pytest.fixture(scope="session")
def public():
    with harness.public_directory() as path:
        yield path


@pytest.fixture(scope="session")
def daemon(public):
    """The daemon that tests share. They may not stop it, nor change its roots."""
    with harness.Daemon(public / "daemon") as running:
        yield running


@pytest.fixture(scope="session")
def pair(python, daemon, public):
    """Two virtual environments of the interpreter, and the images of its roots built."""
    made = harness.Pair(python, daemon, public / str(python)).level().warm()
    assert made.status()["active"] or python.free_threaded  # or every comparison is one of stock with stock
    return made


@pytest.fixture
def make_daemon(tmp_path):
    """Starts daemons of the test's own: make_daemon(config=..., name=...)."""
    started = []

    def make(name="daemon", **options):
        running = harness.Daemon(tmp_path / name, **options).start()
        started.append(running)
        return running

    yield make
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def one_python():
    """The first interpreter, for what does not depend on which."""
    return harness.interpreters()[0]


@pytest.fixture(scope="session")
def one_pair(one_python, daemon, public):
    return harness.Pair(one_python, daemon, public / "one").level().warm()


@pytest.fixture
def make_site(make_daemon, one_pair, tmp_path):
    """A root and a daemon of the test's own: make_site(config=..., root=..., prefix=...). Of the standard library, which is
    not what such tests are about, it holds what is asked for."""
    made = []
    sparing = f"Preload=used {one_pair.interpreter.stdlib()}\n"

    def make(config="[daemon]\n", root=None, **options):
        daemon = make_daemon(name=f"daemon{len(made)}", config=config + sparing, **options)
        made.append(sites.Site(daemon, one_pair, root or tmp_path / f"root{len(made)}"))
        return made[-1]

    yield make
    for site in made:
        for running in site.started:
            running.close()


@pytest.fixture
def site(make_site):
    made = make_site()
    made.write("module.py", 0)
    made.write("package/__init__.py", "package")
    made.write("package/inner.py", "inner")
    made.warm()
    return made
