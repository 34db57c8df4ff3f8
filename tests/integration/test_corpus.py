# SPDX-License-Identifier: MIT
"""Every input of the fuzz targets that is known, golden, corrupt or found, under the address and undefined behaviour
sanitizers: see tests/fuzz."""

import pathlib
import subprocess
import sys

import pytest

import harness

sys.path.insert(0, str(harness.ROOT / "tests" / "fuzz"))
import fuzz  # noqa: E402

NOT_FOR_THIS_PYTHON = 77


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    script = harness.ROOT / "tests" / "fuzz" / "make_corpus.py"
    harness.run([sys.executable, script, directory], check=True, env=fuzz.ENVIRONMENT)
    return directory


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_no_known_input_does_harm(target, corpus):
    program = harness.BUILD / "replay" / "fuzzers" / target
    inputs = [path for seeds in fuzz.seeds(corpus, target) for path in pathlib.Path(seeds).iterdir()]
    command = [program, "--verbose", *inputs]
    ended = subprocess.run(command, env=fuzz.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    if ended.returncode == NOT_FOR_THIS_PYTHON:
        pytest.skip(ended.stdout.decode())
    assert ended.returncode == 0, ended.stderr.decode(errors="backslashreplace")[-6000:]
    assert ended.stdout.decode() == f"{len(inputs)} inputs\n"
