# SPDX-License-Identifier: MIT
"""
Every call that the extension makes in a process fails once, at each place in turn: what is imported, what it says of
itself, what is written, the exit status and the descriptors are CPython's own.
"""

import errno
import json

import pytest

import faults
import harness

LOOPS = [
    pytest.param(faults.MEMORY, errno.ENOMEM, faults.ONCE, 150, id="memory"),
    pytest.param(faults.MEMORY, errno.ENOMEM, faults.EVER, 400, id="memory-for-ever"),
    pytest.param(faults.PYTHON, errno.ENOMEM, faults.ONCE, 150, id="objects"),
    pytest.param(faults.PYTHON | faults.MEMORY, errno.ENOMEM, faults.ONCE, 200, id="memory-and-objects"),
    *(pytest.param(faults.SYSTEM, error, faults.ONCE, 13, id=errno.errorcode[error]) for error in faults.ERRORS),
    pytest.param(faults.SYSTEM, errno.EINTR, faults.OTHER, 29, id="EINTR-every-other-time"),
    pytest.param(faults.SYSTEM, errno.EAGAIN, faults.EVER, 29, id="EAGAIN-for-ever"),
    pytest.param(faults.SYSTEM, errno.EMFILE, faults.EVER, 29, id="EMFILE-for-ever"),
    pytest.param(faults.SYSTEM, 0, faults.SHORT, 7, id="short"),
]


def pytest_generate_tests(metafunc):
    found = harness.interpreters()
    metafunc.parametrize("interpreter", found if faults.step(2) == 1 else found[:1], ids=str)


@pytest.fixture
def late(tmp_path):
    """A directory that is asked for while the process runs."""
    directory = tmp_path / "late"
    (directory / "late_package").mkdir(parents=True)
    (directory / "late_module.py").write_text("value = 1\n")
    (directory / "late_package" / "__init__.py").write_text("")
    (directory / "late_package" / "inner.py").write_text("value = (1, 'text', {2, 3})\n")
    return directory


@pytest.mark.parametrize("kinds, error, mode, step", LOOPS)
def test_imports(interpreter, daemon, late, tmp_path, kinds, error, mode, step):
    if interpreter.free_threaded:
        pytest.skip("left to stock")
    daemon.warm(interpreter.executable, paths=[interpreter.stdlib(), late])
    control = faults.Control(tmp_path / "control")
    options = {
        "control": str(control.path), "extension": interpreter.describe()["extension"], "late": str(late), "kinds": kinds,
        "error": error, "mode": mode, "first": 1, "step": faults.step(step),
    }  # fmt: skip
    script = harness.ROOT / "tests" / "fault" / "process.py"
    env = daemon.env(SHIMPORT_BUDGET_MS=1000, **control.env("_shimport.:libprotobuf"))
    result = harness.run([interpreter.executable, "-I", "-S", script, json.dumps(options)], env=env, timeout=3600, check=True)
    seen = json.loads(result.stdout.splitlines()[-1])
    for at, name, status, text in seen["wrong"][:5]:
        print(f"{name}, call {at}: exit status {status}\n{text[-1500:]}")
    places = ", ".join(f"{name} {n}" for name, n in sorted(seen["calls"].items(), key=lambda item: -item[1]))
    told = f"process, CPython {interpreter}: failed {seen['failed']} of {seen['count']}: {places}"
    print(told)
    assert not seen["wrong"], f"{len(seen['wrong'])} of {told}"
