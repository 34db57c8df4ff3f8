# SPDX-License-Identifier: MIT
"""The quick part of `make conformance`: of CPython's own suites those about imports, in seconds, without repetition."""

import concurrent.futures
import os

import pytest

import conformance
import sides
import suites

# A suite that tells the two sides apart, to see that a difference shows.
TELLTALE = """
import sys, unittest
class Telltale(unittest.TestCase):
    def test_without(self): self.assertNotIn('_shimport', sys.modules)
    def test_steady(self): pass
    def test_absent(self):
        if '_shimport' in sys.modules: import os; os._exit(9)
"""


@pytest.fixture(scope="module")
def both(python, public):
    reason = sides.reason_not_to()
    if reason:
        pytest.skip(reason)
    with sides.Sides(python, public / f"sides-{python}") as running:
        if not suites.has_suites(running.stock):
            pytest.skip(f"Python {python} has no test package")
        yield running


def compare(both, name):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        stock, shim = pool.map(lambda side: suites.run(side, name), both)
    return conformance.Comparison(str(both.interpreter), name, [stock], [shim])


def test_the_test_package_is_served(both):
    assert both.served("import test.libregrtest.main, test.test_import") > 50


def test_a_difference_is_seen(both, monkeypatch):
    directory = both.stock.work / "telltale"
    for side in both:
        side.outside(directory).mkdir()
        (side.outside(directory) / "test_telltale.py").write_text(TELLTALE)
    monkeypatch.setattr(suites, "OPTIONS", [*suites.OPTIONS, "--testdir", directory])
    comparison = compare(both, "test_telltale")
    assert comparison.stock[0].outcomes["exit status"] == "0", comparison.stock[0].output
    assert comparison.shim[0].outcomes["exit status"] == "9", comparison.shim[0].output
    assert comparison.counts() == (0, 4, 0)


def test_suites_about_imports(both):
    for name in suites.names(both.stock, suites.QUICK):
        comparison = compare(both, name)
        if comparison.unlike():  # it may be flaky with stock as well
            comparison.run_again(both, 3)
        assert not [comparison.describe(case) for case in comparison.unlike() if comparison.differs(case)]
