# SPDX-License-Identifier: MIT
"""Thawed code is what unmarshalled code is: see deep_compare.py, which each interpreter runs, and thawtest.c."""

import pathlib
import shutil
import subprocess

import pytest

import harness

HERE = pathlib.Path(__file__).resolve().parent
COMPARE = HERE / "deep_compare.py"
EXTENSION = harness.ROOT / "tests" / "unit" / "thawtest.c"
CLIENT = harness.ROOT / "client"
SOURCES = ["arena", "facts", "freeze", "freeze_external", "freeze_sets", "freeze_stays", "freeze_texts", "texts", "thaw",
           "thaw_external", "words"]
PATIENCE = 900
UNSUPPORTED = 77


def build(python, directory, *flags):
    """Builds `_thawtest` for an interpreter, and returns where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    ask = "import sysconfig; print(sysconfig.get_path('include'))"
    include = harness.run([python.executable, "-c", ask], check=True).stdout.strip()
    command = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-DPY_SSIZE_T_CLEAN", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
               "-fPIC", "-shared", "-fvisibility=hidden", "-isystem", include, "-I", CLIENT, *flags,
               "-o", directory / "_thawtest.so", EXTENSION, *(CLIENT / f"{name}.c" for name in SOURCES)]
    harness.run(command, check=True, timeout=PATIENCE)
    return directory


@pytest.fixture(scope="session")
def extension(python, tmp_path_factory):
    return build(python, tmp_path_factory.mktemp(f"thaw-{python}"))


def compare(python, extension, *arguments, prefix=(), **changes):
    command = [*prefix, python.executable, "-W", "ignore", COMPARE, extension, *arguments]
    result = harness.run(command, env=harness.environment(PYTHON_JIT=0, **changes), timeout=PATIENCE)
    if result.returncode == UNSUPPORTED:
        pytest.skip(result.stdout.strip())
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_every_module_thaws_to_what_marshal_gives(python, extension):
    compare(python, extension, "--part", "objects")


def test_thawed_functions_run_trace_and_specialise_alike(python, extension):
    compare(python, extension, "--part", "sample")


def test_damaged_blocks_crash_nothing(python, extension):
    compare(python, extension, "--part", "damage")


def test_nothing_is_wrong_under_the_sanitizers(one_python, tmp_path):
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        found = subprocess.run(["gcc", f"-print-file-name={name}"], stdout=subprocess.PIPE, text=True, check=True)
        libraries.append(found.stdout.strip())
    if not all(map(pathlib.Path.exists, map(pathlib.Path, libraries))):
        pytest.skip("this compiler has no sanitizers")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compare(one_python, build(one_python, tmp_path, *flags), "--limit", "100", "--rounds", "5000",
            LD_PRELOAD=" ".join(libraries), ASAN_OPTIONS="detect_leaks=0", PYTHONMALLOC="malloc")


def test_nothing_is_wrong_under_valgrind(one_python, tmp_path):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    valgrind = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=no"]
    compare(one_python, build(one_python, tmp_path), "--part", "objects", "--limit", "25", prefix=valgrind,
            PYTHONMALLOC="malloc")


def test_a_specialiser_that_is_switched_off_means_no_thaw(python, extension):
    if python.minor < (3, 15):
        pytest.skip("the switch came with 3.15")
    ask = f"import sys; sys.path.insert(0, {str(extension)!r}); import _thawtest; print(_thawtest.supported())"
    result = harness.run([python.executable, "-c", ask], env=harness.environment(PYTHON_SPECIALIZATION_OFF=1))
    assert "environment" in result.stdout
