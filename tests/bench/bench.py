# SPDX-License-Identifier: MIT
"""
make bench: stock CPython against shimport, in turn, on this machine.

Both sides run in virtual environments that are equal but for `shimportctl enable`; the one that is measured as
stock never had shimport. Every figure of a row comes from the same run of at least 15 pairs. Results also go to
build/bench/results.json, which chart.py draws.

Environment: RESULTS (that file), PAIRS (15), COLD_PAIRS (5), PYTHONS (the first interpreter found), WORKLOADS (of
"pass", "stdlib", the applications, "empty", "entries", "suite", "distributions", "real tests", "freshness",
"steady"; all, with commas between if there are
several; "instructions" only if it is named: it takes minutes).
"""

import json
import os
import pathlib
import platform
import re
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import distributions  # noqa: E402
import empty  # noqa: E402
import entries  # noqa: E402
import freshness  # noqa: E402
import harness  # noqa: E402
import measure  # noqa: E402
import real_tests  # noqa: E402
import steady_code  # noqa: E402
import suite  # noqa: E402
import tables  # noqa: E402
import wire  # noqa: E402
from tables import both, ratio  # noqa: E402
from workloads import APPLICATIONS, OURS, Workloads  # noqa: E402

PAIRS = int(os.environ.get("PAIRS") or 15)
WORKLOADS = [name.strip() for name in os.environ.get("WORKLOADS", "").replace(",", " ").replace("real tests", "real_tests").split()]
COLD_PAIRS = int(os.environ.get("COLD_PAIRS") or 5)
DROP_CACHES = "/proc/sys/vm/drop_caches"
ATTACHES = 2000
STEADY_TIMES = 12  # the quickest of so many stands for a process: whatever else the machine does only adds


def chosen(*names):
    """Those of the names that WORKLOADS chooses."""
    return [name for name in names if not WORKLOADS or name.replace(" ", "_") in WORKLOADS]


class Bench:
    def __init__(self, interpreter, directory):
        self.interpreter = interpreter
        self.directory = directory
        self.daemon = harness.Daemon(directory / "daemon").start()
        self.sides = Workloads(interpreter, self.daemon, directory)
        self.pair, self.env = self.sides.pair, self.sides.env
        self.results = {"interpreter": interpreter.executable, "version": interpreter.version, "workloads": {}}

    def stop(self):
        self.daemon.stop()

    def measure(self, name, variants, pairs, before=lambda: None, kind="hot"):
        def progress(done):
            say(f"{self.interpreter}: {name}, {kind}: {done} of {pairs} pairs")

        runs = measure.run_in_turn(variants, pairs, before, progress)
        say("")
        summaries = {
            variant: measure.summary(found) | {"rounds": measure.by_rounds(found, runs["stock"])}
            for variant, found in runs.items()
        }
        self.results["workloads"].setdefault(name, {})[kind] = {"pairs": pairs, **summaries}
        return summaries

    def empty(self, pairs):
        """Beside them the floor, which is here what importlib takes with a finder in memory, in Python."""
        directory = self.directory / "empty"
        statements = empty.make(directory)
        harness.run([self.pair.stock, "-m", "compileall", "-q", directory], check=True)
        self.daemon.warm(self.pair.shim, paths=[directory])
        variants = self.sides.variants("empty", measure.TIMED.format(statements), OURS, PYTHONPATH=directory)
        variants["floor"] = self.sides.floor("empty", statements, PYTHONPATH=directory)
        return self.measure("empty", variants, pairs)

    def entries(self, pairs):
        """A long sys.path, all of it served."""
        path, statements = entries.make(self.directory / "entries")
        harness.run([self.pair.stock, "-m", "compileall", "-q", self.directory / "entries"], check=True)
        self.daemon.warm(self.pair.shim, paths=path.split(os.pathsep))
        return self.measure("entries", self.sides.variants("entries", measure.TIMED.format(statements), PYTHONPATH=path), pairs)

    def suite(self, pairs):
        """pytest, from its start to its end; none where it is not installed."""
        if self.sides.full.run_stock("-c", "import pytest").returncode != 0:
            return None
        text = measure.TIMED.format(suite.make(self.directory))
        return self.measure("suite", self.sides.variants("suite", text, pair=self.sides.full), pairs)

    def real_tests(self, package, pairs):
        """(summaries, what the tests gave), or None where they cannot be run. Both sides must give the same."""
        stock = real_tests.outcome(package, self.sides.full.stock, self.env, self.directory)
        if stock is None:
            return None
        for variant, changes in OURS.items():
            ours = real_tests.outcome(package, self.sides.full.shim, self.env | changes, self.directory)
            assert ours == stock, f"{package}'s tests: other results with {variant}"
        self.sides.full.warm()
        text = measure.TIMED.format(real_tests.statements(package))
        variants = self.sides.variants(f"tests-{package}", text, OURS, pair=self.sides.full)
        return self.measure(f"{package}'s tests", variants, pairs), stock[1]

    def distributions(self, pairs):
        """{"call"|"both": summaries}: importlib.metadata.entry_points() alone, and with the import that it takes."""
        pair = harness.Pair(self.interpreter, self.daemon, self.directory / "distributions")
        for side in (pair.stock, pair.shim):
            distributions.make(pair.site(side))
        pair.warm()
        texts = {
            "call": distributions.IMPORT + measure.TIMED.format(distributions.CALL),
            "both": measure.TIMED.format(distributions.IMPORT + distributions.CALL),
        }
        found = {}
        for kind, text in texts.items():
            found[kind] = self.measure("distributions", self.sides.variants(f"distributions-{kind}", text, pair=pair), pairs, kind=kind)
        return found

    def private_memory(self, name, statements):
        """KiB of a process after a script, the least of three."""
        variants = self.sides.variants(f"{name}-memory", measure.MEMORY.format(statements))
        found = {side: min(measure.private_memory(*command) for _ in range(3)) for side, command in variants.items()}
        self.results["workloads"].setdefault(name, {})["private_kib"] = found
        return found

    def install_steady_code(self):
        """Puts the module into both environments, and has it served in ours."""
        name = "steady_code.py"
        for side in (self.pair.stock, self.pair.shim):
            (self.pair.site(side) / name).write_text((pathlib.Path(__file__).parent / name).read_text())
            harness.run([side, "-c", "import steady_code"], check=True)  # so that both have their pycs
        self.pair.warm()

    def steady(self, pairs):
        """{piece: {variant: summary, "ratio": the median of the pairs'}} of what runs after the imports, from modules that are
        served."""
        self.install_steady_code()

        def progress(done):
            say(f"{self.interpreter}: steady state: {done} of {pairs} pairs")

        variants = self.sides.variants("steady", "import steady_code\nsteady_code.serve()")
        pieces = [piece.__name__ for piece in steady_code.PIECES]
        found = measure.run_side_by_side(variants, pieces, STEADY_TIMES, pairs, progress)
        say("")
        for piece, taken in found.items():
            summaries = {variant: {"inner": measure.spread(values)} for variant, values in taken.items()}
            ratios = [ours / stock for stock, ours in zip(taken["stock"], taken["shimport"])]
            self.results["workloads"][piece] = {"steady": {"pairs": pairs, "ratio": statistics.median(ratios), **summaries}}
        return {piece: self.results["workloads"][piece]["steady"] for piece in pieces}

    def steady_instructions(self):
        """{piece: {variant: count}}: of three rounds of a piece after the first."""
        self.install_steady_code()
        found = self.results["steady_instructions"] = {}
        for piece in steady_code.PIECES:
            text = f"import steady_code\nfor _ in range({{}}):\n    steady_code.{piece.__name__}()"
            counts = [
                {variant: measure.instructions(*command) for variant, command in
                 self.sides.variants(f"{piece.__name__}-{times}", text.format(times)).items()}
                for times in (1, 4)
            ]
            found[piece.__name__] = {variant: counts[1][variant] - counts[0][variant] for variant in counts[0]}
        return found

    def attach_round_trip(self):
        """Microseconds, from connect() to the answer with its images, as a process makes it."""
        described = self.interpreter.describe()
        paths = [path for path in described["path"] if os.path.isdir(path)]
        packet = wire.attach(described, paths)
        taken = []
        for _ in range(ATTACHES):
            roots = wire.open_roots(paths)
            before = time.perf_counter()
            with self.daemon.connect() as connection:
                socket.send_fds(connection, [packet], roots)
                _, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
            taken.append((time.perf_counter() - before) * 1e6)
            for fd in [*roots, *fds]:
                os.close(fd)
        quantiles = statistics.quantiles(taken, n=100)
        return {"minimum": min(taken), "median": quantiles[49], "p99": quantiles[98], "roots": len(paths)}

    def system_calls(self, name, statements):
        variants = self.sides.variants(f"{name}-traced", statements)
        counts = {variant: measure.system_calls(*command) for variant, command in variants.items()}
        self.results["workloads"].setdefault(name, {})["system_calls"] = counts
        return counts


def say(text):
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def drop_caches():
    os.sync()
    with open(DROP_CACHES, "w") as file:
        file.write("3")


def report_imports(bench, statements):
    sides = bench.sides
    sides.learn(statements)
    found = {name: bench.measure(name, sides.all_variants(name, text), PAIRS) for name, text in statements.items()}
    print(f"\nHot page cache, {PAIRS} rounds in turn:\n\n{tables.times(found)}")
    print(f"\nAs parts of stock, by the medians (minima), with the floor of pure execution:\n\n{tables.ratios(found)}")
    print(f"\nThe same by rounds, the medians of what each takes in parts of stock in its round:\n\n{tables.rounds(found)}")
    means = bench.results["applications"] = {}
    applications = {name: found[name] for name in APPLICATIONS if name in found}
    for variant in OURS if applications else ():
        mean = means[variant] = tables.means(applications, variant)
        print(
            f"\nApplications, {variant}, whole process, user+sys: geometric mean {mean['median']:.2f} by the medians,"
            f" {mean['minimum']:.2f} by the minima, {mean['rounds']:.2f} by rounds",
            end="",
        )
    print()
    missing = [name for name in APPLICATIONS if name not in statements]
    if missing:
        print(f"\nNot measured, not installed or not chosen: {', '.join(missing)}")
    if "pass" in found:
        over = found["pass"]["shimport"]["cpu"]["median"] - found["pass"]["stock"]["cpu"]["median"]
        print(f"\npython3 -c pass: {over:+.2f} ms user+sys with shimport active (medians)")


def report_attach(bench):
    attach = bench.results["attach_us"] = bench.attach_round_trip()
    print(
        f"Attach round trip with {attach['roots']} roots: median {attach['median']:.0f} us,"
        f" minimum {attach['minimum']:.0f} us, 99 % below {attach['p99']:.0f} us"
    )


def report_empty(bench):
    found = bench.empty(PAIRS)
    print(
        f"{empty.MODULES} empty modules, imports alone, medians (minima), ms: "
        + ", ".join(f"{variant} {times['inner']['median']:.1f} ({times['inner']['minimum']:.1f})" for variant, times in found.items())
        + "; floor is stock with a finder in memory, in Python"
    )


def report_entries(bench):
    long = bench.entries(PAIRS)
    print(
        f"sys.path of {entries.ENTRIES} entries with as many packages of three modules: imports {both(long, 'inner')} of"
        f" stock by the medians (minima), whole process, user+sys, {both(long, 'cpu')}"
    )


def report_suite(bench):
    tests = bench.suite(PAIRS)
    if tests:
        print(
            f"pytest of {suite.FILES * suite.TESTS} tests in {suite.FILES} files, whole process, user+sys:"
            f" {both(tests, 'cpu')} of stock"
        )


def report_real_tests(bench):
    for package in real_tests.RUNS:
        tests = bench.real_tests(package, PAIRS)
        if tests is None:
            print(f"pytest over {package}'s tests: they cannot be run here")
            continue
        found, outcome = tests
        print(
            f"pytest over {package}'s {' '.join(real_tests.RUNS[package])}, {outcome}, the same on both sides; whole process,"
            f" user+sys, stock {found['stock']['cpu']['median']:.0f} ms, of that "
            + ", ".join(f"{variant} {both(found, 'cpu', variant=variant)}" for variant in OURS)
            + "; by rounds "
            + ", ".join(f"{variant} {found[variant]['rounds']['cpu']:.2f}" for variant in OURS)
        )


def report_distributions(bench):
    found = bench.distributions(PAIRS)
    parts = {kind: f"{ratio(summaries, 'inner', 'median'):.2f} of stock ({ratio(summaries, 'inner', 'minimum'):.2f} by the minima)"
             for kind, summaries in found.items()}
    call = found["call"]
    print(
        f"importlib.metadata.entry_points() with {distributions.DISTRIBUTIONS} distributions: {parts['call']},"
        f" {call['shimport']['inner']['median']:.2f} ms for {call['stock']['inner']['median']:.2f};"
        f" with the import of importlib.metadata: {parts['both']}"
    )


def report_freshness(bench):
    fresh = bench.results["freshness"] = freshness.measure(
        bench.daemon, bench.interpreter, bench.directory, bench.attach_round_trip, bench.pair
    )
    print(
        f"An edit in a root of {fresh['modules']} modules is served from a new image after"
        f" {fresh['edit_ms']['median']:.0f} ms (median; at most {fresh['edit_ms']['maximum']:.0f} ms);"
        f" attach meanwhile: median {fresh['attach_us_while_building']['median']:.0f} us"
    )
    lookup = fresh["lookup_ns"]
    print(
        f"A lookup there: {lookup['shimport']:.0f} ns, stock's {lookup['stock']:.0f} ns; to ask whether it is stale takes"
        f" {lookup['staleness_test']:.1f} ns of it, {lookup['staleness_test'] / lookup['shimport']:.2%}"
    )


def report_steady(bench):
    rows = [[name, f"{found['ratio']:.3f}", f"{ratio(found, 'inner', 'minimum'):.3f}"]
            for name, found in bench.steady(PAIRS).items()]
    print(f"\nAfter the imports, parts of stock:\n\n{measure.table(['piece', 'median of the pairs', 'minimum'], rows)}")


def report_instructions(bench):
    rows = [[name, counts["stock"], counts["shimport"], f"{counts['shimport'] / counts['stock']:.4f}"]
            for name, counts in bench.steady_instructions().items()]
    print(f"\nInstructions after the imports:\n\n{measure.table(['piece', 'stock', 'shimport', 'ratio'], rows)}")


def report_resources(bench, script):
    """Memory, system calls and the cold cache, of the standard library script."""
    rows = []
    for name, text in (("stdlib", script), ("json", "import json")):
        memory = bench.private_memory(name, text)
        rows.append([name, memory["stock"], memory["shimport"], f"{memory['shimport'] / memory['stock']:.2f}"])
    print(f"\nPrivate memory after the imports:\n\n{measure.table(['KiB', 'stock', 'shimport', 'ratio'], rows)}")
    counts = bench.system_calls("stdlib", script)
    print(f"\nSystem calls of the stdlib script, those made more than 10 times:\n\n{tables.calls(counts)}")
    if os.access(DROP_CACHES, os.W_OK):
        timed = bench.sides.variants("stdlib", measure.TIMED.format(script))
        cold = bench.measure("stdlib", timed, COLD_PAIRS, drop_caches, "cold")
        print(f"\nCold page cache, {COLD_PAIRS} pairs in turn:\n\n{tables.times({'stdlib': cold})}")
    else:
        print(f"\nCold page cache: not measured, {DROP_CACHES} may not be written")


# What WORKLOADS chooses, beside what is imported.
SECTIONS = {
    "empty": report_empty,
    "entries": report_entries,
    "suite": report_suite,
    "real tests": report_real_tests,
    "distributions": report_distributions,
    "freshness": report_freshness,
    "steady": report_steady,
}


def report(bench):
    statements = bench.sides.statements(chosen)
    report_imports(bench, statements)
    report_attach(bench)
    for name in chosen(*SECTIONS):
        SECTIONS[name](bench)
    if "instructions" in WORKLOADS:
        report_instructions(bench)
    if "stdlib" in statements:
        report_resources(bench, statements["stdlib"])


def described():
    """What the chart says of a measurement: when, with what, on what."""
    cpu = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).partition(":")[2].strip()
    version = re.search(r'SHIMPORT_VERSION "(.*)"', (harness.ROOT / "daemon" / "version.h").read_text())[1]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "shimport": version,
        "machine": f"{cpu}, {os.cpu_count()} processors, Linux {platform.release()}",
    }


def write_results(name, results):
    path = pathlib.Path(os.environ.get("RESULTS") or harness.BUILD / "bench" / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nAlso in {os.path.relpath(path)}")


def main():
    found = harness.interpreters()
    if not os.environ.get("PYTHONS"):
        found = found[:1]
    results = described() | {"interpreters": []}
    with harness.public_directory() as directory:
        for interpreter in found:
            print(f"\n{interpreter.executable}, CPython {interpreter}, {results['machine']}")
            bench = Bench(interpreter, directory / str(interpreter))
            try:
                report(bench)
            finally:
                bench.stop()
            results["interpreters"].append(bench.results)
    write_results("results.json", results)


if __name__ == "__main__":
    main()
