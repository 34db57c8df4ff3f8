# SPDX-License-Identifier: MIT
"""Every module that can be imported, of the standard library and of whatever else is installed: its spec and what its
loader answers are stock's; and so is what importing leaves behind."""

import json

import pytest

import harness

PROTOCOL = harness.ROOT / "tests" / "protocol.py"
PROBE = harness.ROOT / "tests" / "probe.py"

# The packages at the top of the path that are not the standard library's, each imported if it can be. What some of
# them say or start meanwhile is not what is compared.
EVERY = """
import contextlib, importlib, io, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")
library = os.path.dirname(os.__file__)
paths = [p for p in sys.path if os.path.isdir(p) and not p.startswith((library, sys.prefix))]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for name in sorted(m.name for m in pkgutil.iter_modules(paths)):
        try:
            importlib.import_module(name)
        except BaseException:
            pass
"""


@pytest.fixture(scope="session")
def system_pair(python, daemon, public):
    """Two environments that see what is installed beside the standard library."""
    return harness.Pair(python, daemon, public / f"system-{python}", system_site=True).level().warm()


def directories(pair):
    described = json.loads(pair.run_stock("-c", "import json, sys; print(json.dumps(sys.path))", check=True).stdout)
    own = str(pair.directory)
    return [path for path in described if path.startswith("/") and not path.startswith(own) and path[-4:] != ".zip"]


def seen_by(pair, run, *arguments):
    env = pair.daemon.env(PYTHONHASHSEED="0")  # sets are written in the order of their hashes
    result = run(*arguments, env=env, check=True, timeout=600)
    return json.loads(pair.neutral(result.stdout))


def assert_equal(ours, stock):
    assert list(ours) == list(stock)
    assert {name: (seen, ours[name]) for name, seen in stock.items() if ours[name] != seen} == {}


def test_specs_and_loaders_answer_as_stocks(system_pair):
    paths = directories(system_pair)
    stock = seen_by(system_pair, system_pair.run_stock, "-sB", PROTOCOL, *paths)
    shim = seen_by(system_pair, system_pair.run_shim, "-sB", PROTOCOL, *paths)
    assert len(stock) > 500
    assert_equal(shim, stock)


def test_what_is_installed_looks_as_stock_imported_it(system_pair, tmp_path):
    script = tmp_path / "every.py"
    script.write_text(EVERY)
    stock = seen_by(system_pair, system_pair.run_stock, "-B", PROBE, script)
    shim = seen_by(system_pair, system_pair.run_shim, "-B", PROBE, script)
    assert shim["loaded, in order"] == stock["loaded, in order"]
    assert_equal(shim["modules"], stock["modules"])
    assert shim == stock
