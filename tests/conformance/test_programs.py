# SPDX-License-Identifier: MIT
"""
Other people's programs, without and with shimport: the same output, the same files, the same exit status.

They are Debian's, so they run where `python` is Debian's own; what is not installed there is skipped.
"""

import concurrent.futures
import hashlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import textwrap

import pytest

import harness
import sides

DEBIAN = "/usr/bin/python3"
SECONDS = 600


@pytest.fixture(scope="module")
def both(public):
    reason = sides.reason_not_to()
    if reason:
        pytest.skip(reason)
    known = [python for python in harness.interpreters() if os.path.samefile(python.executable, DEBIAN)]
    if not known:
        pytest.skip("Debian's own interpreter is not among those to test")
    with sides.Sides(known[0], public / "programs") as running:
        yield running


@pytest.fixture
def place(both, request):
    """An empty directory to work in, the same path for both sides."""
    path = both.stock.work / request.node.name.partition("[")[0]
    for side in both:
        side.outside(path).mkdir()
    return path


@pytest.fixture
def needs(both):
    def check(*modules):
        missing = [module for module in modules if both.stock.python("-c", f"import {module}").returncode != 0]
        if missing:
            pytest.skip(f"{', '.join(missing)} not installed")

    return check


def write(both, place, files):
    """The same files for both."""
    for name, text in files.items():
        for side in both:
            path = side.outside(place / name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))


def neutral(text):
    """What differs between any two runs."""
    text = re.sub(r"\b0x[0-9a-f]{6,}", "0x", text)
    text = re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp", text)
    return re.sub(r"\b\d+\.\d+ ?s(econds)?\b", "0 s", text)


def same(both, *arguments, cwd=None, neutral=neutral, env=None, check=True):
    """Runs a command on both sides, at once, and asserts that no difference shows; returns what stock gave."""
    command = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", cwd or both.stock.work, *arguments]

    def run(side):
        return side.run(*command, env=side.env(PYTHONHASHSEED="0", **(env or {})), timeout=SECONDS)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        stock, shim = pool.map(run, both)
    harness.assert_same(neutral(harness.shown(shim)), neutral(harness.shown(stock)))
    assert not check or stock.returncode == 0, harness.shown(stock)
    return stock


def python(both, *arguments, **options):
    return same(both, both.interpreter.executable, *arguments, **options)


def tree(directory, ignored=()):
    """What is below a directory: each file with its content; bytecode holds times of sources, so only that it is there."""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob("*")):
        name = str(path.relative_to(directory))
        if any(re.search(pattern, name) for pattern in ignored):
            continue
        is_content = path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if is_content else None
    return found


def assert_same_tree(both, place, ignored=()):
    stock, shim = (tree(side.outside(place), ignored) for side in both)
    different = {name for name in stock.keys() | shim.keys() if stock.get(name, "") != shim.get(name, "")}
    assert not different
    return stock


# ---- testing ----


NUMPY_TESTS = ["numpy.polynomial.tests.test_polynomial", "numpy.polynomial.tests.test_printing", "numpy.matrixlib"]


def test_pytest_with_coverage_and_xdist(both, place, needs):
    """Some of numpy's own tests: which ran, how they ended, what was covered."""
    needs("pytest", "pytest_cov", "xdist", "hypothesis", "numpy.polynomial.tests")

    def outcomes(text):
        lines = [re.sub(r"^\[gw\d\] \[ *\d+%\] |\s*\[ *\d+%\]$", "", line) for line in neutral(text).splitlines()]
        return "\n".join(sorted(line for line in lines if not line.startswith(("[gw", "gw", "scheduling", "created:"))))

    command = ["-m", "pytest", "-v", "-n", "2", "-p", "no:cacheprovider", "--pyargs", *NUMPY_TESTS]
    package = both.stock.python("-c", "import numpy.polynomial as p; print(*p.__path__)").stdout.strip()
    result = python(both, *command, f"--cov={package}", "--cov-report=term", cwd=place, neutral=outcomes)
    assert re.search(r"\b\d{2,} passed", result.stdout)
    assert re.search(r"numpy/polynomial/polynomial.py +\d+ +\d+ +[5-9]\d%", result.stdout), result.stdout


def test_pytest_rewrites_assertions(both, place, needs):
    needs("pytest")
    write(
        both,
        place,
        {
            "test_it.py": """
                import helper
                def test_it(tmp_path, monkeypatch, capsys):
                    assert helper.double([1, 2]) == [1, 2, 1, 3], "not twice"
                def test_that(): assert helper.double(2) == 4
            """,
            "helper.py": "def double(value): return value * 2\n",
            "conftest.py": "pytest_plugins = ['pytester']\n",
        },
    )
    for _ in range(2):  # the second time from what the first has cached
        assert "1 failed, 1 passed" in python(both, "-m", "pytest", "-v", cwd=place, check=False).stdout
    assert_same_tree(both, place)


def test_unittest(both, place):
    write(
        both,
        place,
        {
            "pkg/__init__.py": "",
            "pkg/test_it.py": """
                import unittest, unittest.mock, json
                class It(unittest.TestCase):
                    @unittest.mock.patch('json.dumps', return_value='x')
                    def test(self, dumps): self.assertEqual(json.dumps(1), 'x')
                    def test_not(self): self.assertEqual(1, 2)
            """,
        },
    )
    result = python(both, "-m", "unittest", "discover", "-v", cwd=place, check=False)
    assert "FAILED (failures=1)" in result.stderr, result.stderr


# ---- the web ----


def test_django(both, place, needs):
    needs("django")
    python(both, "-m", "django", "startproject", "site_of_ours", ".", cwd=place)
    python(both, "manage.py", "startapp", "poll", cwd=place)
    for side in both:
        settings = side.outside(place / "site_of_ours" / "settings.py")
        text = settings.read_text().replace("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'poll',")
        settings.write_text(re.sub("SECRET_KEY = .*", "SECRET_KEY = 'x'", text))
    write(
        both,
        place,
        {
            "poll/models.py": """
                from django.db import models
                class Question(models.Model):
                    text = models.CharField(max_length=99)
                    asked = models.DateTimeField(auto_now_add=True)
            """,
            "poll/admin.py": "from django.contrib import admin\nfrom .models import Question\nadmin.site.register(Question)\n",
            "poll/tests.py": """
                from django.test import TestCase
                from .models import Question
                class QuestionTest(TestCase):
                    def test_it_is_kept(self):
                        Question.objects.create(text='why?')
                        self.assertEqual(Question.objects.get().text, 'why?')
                    def test_the_admin_asks_who_it_is(self):
                        self.assertEqual(self.client.get('/admin/').status_code, 302)
                    def test_the_login_page(self):
                        self.assertContains(self.client.get('/admin/login/'), 'Django administration')
            """,
        },
    )
    for command in ("check", "makemigrations", "migrate", "showmigrations", "diffsettings"):
        python(both, "manage.py", command, cwd=place)
    assert "Ran 3 tests" in python(both, "manage.py", "test", "-v", "2", cwd=place).stderr
    assert_same_tree(both, place, [r"\.sqlite3$", "0001_initial.py$"])  # they hold the time


def request(path):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(harness.PATIENCE)
    connection.sock.connect(str(path))
    connection.request("GET", "/")
    answer = connection.getresponse()
    headers = sorted(header for header in answer.getheaders() if header[0] != "Date")
    return answer.status, headers, answer.read().decode()


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn(both, needs, preload):
    """A server that forks its workers: both before and after they import the application."""
    needs("gunicorn")
    place = both.stock.work / f"gunicorn{len(preload)}"
    write(
        both,
        place,
        {
            "application.py": """
                import decimal, email.message, json
                def application(environ, start_response):
                    import difflib, xml.dom.minidom
                    start_response('200 OK', [('Content-Type', 'text/plain')])
                    return [json.dumps([str(decimal.Decimal(1) / 3), difflib.__file__, application.__module__]).encode()]
            """,
        },
    )
    answers, logs = [], []
    for side in both:
        command = ["-m", "gunicorn", "-w", "2", "--chdir", place, "--bind", f"unix:{place}/socket", *preload, "application"]
        log = side.outside(place / "log")
        with open(log, "w") as file:
            server = side.start(side.interpreter.executable, *command, stdout=file, stderr=file)
        harness.wait_until(side.outside(place / "socket").exists, "gunicorn to listen")
        answers.append([request(side.outside(place / "socket")) for _ in range(6)])
        server.send_signal(signal.SIGTERM)
        assert server.wait(harness.PATIENCE) == 0, log.read_text()
        of_the_moment = r"\[\d+\]|\(\d+\)|\[\d{4}-.*?\]|pid: \d+"
        logs.append(sorted(re.sub(of_the_moment, "", line) for line in log.read_text().splitlines()))
    assert answers[0] == answers[1]
    assert answers[0][0][0] == 200 and "difflib.py" in answers[0][0][2]
    assert logs[0] == logs[1]


# ---- documents ----


INDEX = """
Manual
======

.. autosummary::
   :toctree: made

   json.decoder
   textwrap

.. toctree::
   :glob:

   api/*
"""


def test_sphinx_builds_a_manual(both, place, needs):
    """The reference of a package: autodoc, viewcode and autosummary ask for loaders, sources and signatures."""
    needs("sphinx", "packaging")
    extensions = "extensions = ['sphinx.ext.autodoc', 'sphinx.ext.viewcode', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon']\n"
    options = "project = 'manual'\nautosummary_generate = True\nhtml_theme = 'alabaster'\n"
    write(both, place, {"conf.py": extensions + options, "index.rst": INDEX})
    package = both.stock.python("-c", "import packaging; print(*packaging.__path__)").stdout.strip()
    python(both, "-m", "sphinx.ext.apidoc", "-o", place / "api", package, cwd=place)
    for builder in ("html", "text"):
        python(both, "-m", "sphinx", "-q", "-b", builder, place, place / builder, cwd=place, check=True)
    files = assert_same_tree(both, place, [r"\.doctrees", r"\.pickle$"])
    assert "html/_modules/packaging/version.html" in files and "text/made/textwrap.txt" in files


# ---- environments and packages ----

PROJECT = {
    "pyproject.toml": "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n",
    "setup.py": """
    from setuptools import setup
    setup(name='parcel', version='1.2', packages=['parcel'], package_dir={'': 'src'}, package_data={'parcel': ['data.txt']},
          entry_points={'console_scripts': ['parcel = parcel.main:main'], 'parcel.plugins': ['one = parcel.main:main']})
    """,
    "src/parcel/__init__.py": "from importlib.metadata import version\n__version__ = version('parcel')\n",
    "src/parcel/main.py": """
    import importlib.metadata as metadata, importlib.resources as resources, sys
    import parcel
    def main():
        print(parcel.__version__, parcel.__file__, parcel.__spec__.cached, parcel.__path__)
        print((resources.files('parcel') / 'data.txt').read_text())
        print(metadata.entry_points(group='parcel.plugins'), sorted(map(str, metadata.files('parcel'))))
        print(type(parcel.__loader__), sys.path)
    """,
    "src/parcel/data.txt": "some data",
}


# When a file was written, by whom, and with which key.
OF_THE_MOMENT = [r"__pycache__", r"\.egg-info/", r"RECORD$", r"direct_url\.json$"]


def test_venv(both, place):
    """With pip, which ensurepip unpacks and runs; then an environment in that environment."""
    python(both, "-m", "venv", place / "one", cwd=place)
    one = place / "one/bin/python3"
    assert "pip" in same(both, one, "-m", "pip", "list", "--format", "freeze", cwd=place).stdout
    same(both, one, "-m", "venv", "--without-pip", "--system-site-packages", place / "two", cwd=place)
    same(both, place / "two/bin/python3", "-c", "import sys, site; print(sys.path, sys.prefix, site.ENABLE_USER_SITE)")
    assert_same_tree(both, place, OF_THE_MOMENT)


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_pip_install(both, needs, how):
    needs("pip", "setuptools", "wheel")
    place = both.stock.work / f"install-{how}"
    write(both, place / "project", PROJECT)
    env = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    python(both, "-m", "venv", "--without-pip", "--system-site-packages", place / "venv")
    venv = place / "venv/bin/python3"

    def without_hashes(text):  # of the wheel, which holds times
        return re.sub(r"cache-\w{8}|sha256=[0-9a-f]+|size=\d+|/[0-9a-f]{2}(/[0-9a-f]{2}){2}/[0-9a-f]+", "", neutral(text))

    options = ["--no-build-isolation", *(["-e"] if how == "editable" else []), place / "project"]
    same(both, venv, "-m", "pip", "install", *options, cwd=place, env=env, neutral=without_hashes)
    result = same(both, place / "venv/bin/parcel", cwd=place)
    assert result.stdout.startswith("1.2 ") and "some data" in result.stdout
    assert ("project/src" in result.stdout.split()[1]) == (how == "editable")
    same(both, venv, "-m", "pip", "show", "-f", "parcel", cwd=place, env=env)
    same(both, venv, "-m", "pip", "check", cwd=place, env=env, check=False)
    assert_same_tree(both, place, OF_THE_MOMENT)
    same(both, venv, "-m", "pip", "uninstall", "-y", "parcel", cwd=place, env=env)
    same(both, venv, "-c", "import parcel", cwd=place, check=False)
    assert_same_tree(both, place, OF_THE_MOMENT)


def test_zipapp(both, place):
    """A frozen program: everything in one file, run by a launcher."""
    write(
        both,
        place,
        {
            "app/__main__.py": """
                import decimal, email.message, importlib.resources as resources, pkgutil, sys
                import library.part
                print(library.part.where(), pkgutil.get_data('library', 'data.txt'), sys.argv[1:], type(library.__loader__))
                print(sorted(path.name for path in resources.files('library').iterdir()))
                print([module.name for module in pkgutil.iter_modules(library.__path__)])
                library.part.fail()
            """,
            "app/library/__init__.py": "",
            "app/library/part.py": "import difflib\ndef where(): return __file__, difflib.__spec__\ndef fail(): 1 / 0\n",
            "app/library/data.txt": "data",
        },
    )
    python(both, "-m", "zipapp", "app", "-c", "-p", both.interpreter.executable, cwd=place)
    result = same(both, place / "app.pyz", "argument", cwd=place, check=False)
    assert "ZeroDivisionError" in result.stderr and "zipimporter" in result.stdout


# ---- numbers, processes ----


@pytest.mark.parametrize("code", [
    "import numpy; numpy.test; print(numpy.linalg.inv([[2, 0], [0, 4]]), numpy.__config__.show())",
    "import pandas; print(pandas.DataFrame({'a': [1, 2]}).describe(), pandas.date_range('2024', periods=2))",
    "import sqlalchemy.orm; print(sqlalchemy.create_engine('sqlite://').connect().exec_driver_sql('select 1').all())",
    "import boto3; print(boto3.session.Session().get_available_services()[:5])",
], ids=["numpy", "pandas", "sqlalchemy", "boto3"])
def test_library(both, needs, code):
    needs(re.match(r"import (\w+)", code)[1])
    show = "\nimport sys\nprint([name for name in sys.modules if name not in ('_shimport', 'other')])"
    python(both, "-c", code + show)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(both, method):
    place = both.stock.work / f"multi-{method}"
    write(
        both,
        place,
        {
            "work.py": f"""
                import multiprocessing, concurrent.futures, sys
                def square(number):
                    import decimal, difflib
                    return str(decimal.Decimal(number) ** 2), difflib.__spec__.origin, __name__, __spec__ and __spec__.name
                if __name__ == '__main__':
                    multiprocessing.set_start_method({method!r})
                    with multiprocessing.Pool(2) as pool: print(pool.map(square, range(8)))
                    with concurrent.futures.ProcessPoolExecutor(2) as pool: print(list(pool.map(square, range(8))))
                    queue = multiprocessing.Queue()
                    process = multiprocessing.Process(target=queue.put, args=([1, 2],))
                    process.start(); print(queue.get()); process.join(); print(process.exitcode)
                    with multiprocessing.Manager() as manager: print(manager.dict(a=1).copy())
            """,
        },
    )
    assert "'49'" in python(both, "work.py", cwd=place).stdout
    python(both, "-m", "work", cwd=place)


# ---- Debian's own ----


def test_apt_listchanges(both, place):
    if not os.path.exists("/usr/bin/apt-listchanges"):
        pytest.skip("apt-listchanges not installed")
    control = "Package: parcel\nVersion: 2.0\nArchitecture: all\nMaintainer: M <m@example.org>\nDescription: a parcel\n"
    changes = "parcel (2.0) unstable; urgency=low\n\n  * New.\n\n -- M <m@example.org>  Mon, 01 Jan 2024 00:00:00 +0000\n"
    for side in both:
        root = side.outside(place / "deb")
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(control)
        (root / "usr/share/doc/parcel").mkdir(parents=True)
        (root / "usr/share/doc/parcel/changelog").write_text(changes)
        subprocess.run(["dpkg-deb", "-b", root, root.with_suffix(".deb")], check=True, stdout=subprocess.DEVNULL)
    command = ["/usr/bin/apt-listchanges", "--frontend", "text", "--which", "both", "--show-all", place / "deb.deb"]
    assert "* New." in same(both, *command, cwd=place).stdout


@pytest.mark.parametrize("command", [
    ["reportbug", "--template", "--offline", "--no-check-available", "--no-query-bts", "--quiet", "base-files"],
    ["reportbug", "--help"],
    ["querybts", "--help"],
    ["gunicorn", "--help"],
    ["django-admin", "help", "migrate"],
    ["pip3", "list"],
    ["sphinx-build", "--help"],
    ["py3compile", "--help"],
    ["py3versions", "-s"],
    ["2to3", "-l"],
    ["pydoc3", "json.tool"],
    ["pygettext3", "--help"],
], ids=lambda command: " ".join(command[:2]))
def test_debian_program(both, command):
    if not os.path.exists(f"/usr/bin/{command[0]}"):
        pytest.skip(f"{command[0]} not installed")
    same(both, *command, check=False)
