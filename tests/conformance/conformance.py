# SPDX-License-Identifier: MIT
"""
make conformance: CPython's own test suites, without and with shimport, case by case.

    tests/conformance/conformance.py [SUITE...] [--jobs N] [--again N] [--set GC=freeze]...

For every interpreter that the client is built for and that has a `test` package. A suite whose cases differ is run
again on both sides, alone: a case differs if the outcomes that either side gave most often do, otherwise it is flaky.
What is printed, and the output of the suites that differ, is also left in build/conformance. The last line is
"N tests alike, N differ, N flaky", and the exit status says whether any differ.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import sys
import time
from dataclasses import dataclass, field

import sides
import suites

import harness

RESULTS = harness.BUILD / "conformance"


@dataclass
class Comparison:
    """A suite of one interpreter, run on both sides once or more often."""

    interpreter: str
    suite: str
    stock: list = field(default_factory=list)
    shim: list = field(default_factory=list)

    def run_again(self, both, times):
        """One side after the other, so that they do not disturb each other."""
        for _ in range(times):
            self.stock.append(suites.run(both.stock, self.suite))
            self.shim.append(suites.run(both.shim, self.suite))

    def cases(self):
        return sorted({case for run in self.stock + self.shim for case in run.outcomes})

    def unlike(self):
        """The cases that have not always had the same outcome on both sides."""
        pairs = list(zip(self.stock, self.shim))
        return [case for case in self.cases() if any(a.outcome(case) != b.outcome(case) for a, b in pairs)]

    def outcomes(self, case):
        return [collections.Counter(run.outcome(case) for run in runs) for runs in (self.stock, self.shim)]

    def differs(self, case):
        stock, shim = ({name for name, n in side.items() if n == max(side.values())} for side in self.outcomes(case))
        return len(stock | shim) > 1

    def counts(self):
        """How many cases are alike, differ, are flaky."""
        unlike = self.unlike()
        differ = sum(self.differs(case) for case in unlike)
        return len(self.cases()) - len(unlike), differ, len(unlike) - differ

    def describe(self, case):
        stock, shim = (", ".join(f"{name} ({n})" for name, n in side.most_common()) for side in self.outcomes(case))
        verdict = "differs" if self.differs(case) else "flaky"
        return f"{self.interpreter} {self.suite}: {case}: {verdict}: stock {stock}; shimport {shim}"

    def keep(self, directory):
        """Leaves the output of all runs there."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, runs in (("stock", self.stock), ("shimport", self.shim)):
            for number, run in enumerate(runs):
                (directory / f"{self.interpreter}-{self.suite}-{name}-{number}").write_text(run.output)


def sentence(counts):
    return "{} tests alike, {} differ, {} flaky".format(*counts)


def compare(pool, both, names, again, say):
    """Runs suites on both sides at once, then those that differ again; gives the comparisons."""
    found = []
    running = {suite: [pool.submit(suites.run, side, suite) for side in both] for suite in names}
    for done, (suite, futures) in enumerate(running.items(), 1):
        stock, shim = (future.result() for future in futures)
        comparison = Comparison(str(both.interpreter), suite, [stock], [shim])
        found.append(comparison)
        unlike = len(comparison.unlike())
        alike = len(comparison.cases()) - unlike
        say(f"[{done}/{len(names)}] Python {both.interpreter} {suite}: {alike} alike, {unlike} not")
    for comparison in found:
        if not comparison.unlike():
            continue
        comparison.run_again(both, again)
        for case in comparison.unlike():
            say(comparison.describe(case))
    return found


def compare_interpreter(interpreter, configuration, patterns, jobs, again, say):
    with harness.public_directory() as directory, sides.Sides(interpreter, directory, configuration) as both:
        if not suites.has_suites(both.stock):
            say(f"Python {interpreter} ({interpreter.executable}) has no test package: left out")
            return []
        assert both.served("import test.libregrtest.main, test.test_import") > 50, "the test package is not served"
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            return compare(pool, both, suites.names(both.stock, patterns), again, say)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", nargs="*", help="patterns; `all` for whatever there is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--again", type=int, default=3, help="how often what differs is run again")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in the daemon's configuration")
    options = parser.parse_args()

    reason = sides.reason_not_to()
    if reason:
        sys.exit(f"conformance: {reason}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    patterns = None if options.suite == ["all"] else options.suite or suites.SUITES
    start = time.monotonic()
    found = []
    for interpreter in harness.interpreters():
        found += compare_interpreter(
            interpreter, options.set, patterns, options.jobs, options.again, lambda line: print(line, flush=True)
        )

    rows = []
    total = [0, 0, 0]
    print(f"\n{'Python':10} {'suites':>7} {'alike':>7} {'differ':>7} {'flaky':>7}")
    for interpreter in dict.fromkeys(comparison.interpreter for comparison in found):
        own = [comparison for comparison in found if comparison.interpreter == interpreter]
        counts = [sum(column) for column in zip(*(comparison.counts() for comparison in own))]
        total = [a + b for a, b in zip(total, counts)]
        print(f"{interpreter:10} {len(own):7} {counts[0]:7} {counts[1]:7} {counts[2]:7}")
    for comparison in found:
        lines = [comparison.describe(case) for case in comparison.unlike()]
        if lines:
            comparison.keep(RESULTS)
        rows += lines
    print("\n".join(rows))
    result = dict(zip(("alike", "differ", "flaky"), total), cases=rows)
    (RESULTS / "results.json").write_text(json.dumps(result, indent=1))
    print(f"{time.monotonic() - start:.0f} s")
    print(sentence(total))
    return 1 if total[1] or not found else 0


if __name__ == "__main__":
    sys.exit(main())
