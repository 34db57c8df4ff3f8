# SPDX-License-Identifier: MIT
"""
make bench: stock CPython against shimport, in turn, on this machine.

Both sides run in virtual environments that are equal but for `shimportctl enable`; the one that is measured as
stock never had shimport. Every figure of a row comes from the same run of at least 15 pairs. Results also go to
build/bench/results.json.

Environment: PAIRS (15), COLD_PAIRS (5), PYTHONS (the first interpreter found), WORKLOADS (of
"pass", "stdlib", "freshness", "steady" and the applications; all; "instructions" only if it is named: it takes minutes).
"""

import json
import os
import pathlib
import platform
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import entries  # noqa: E402
import floor  # noqa: E402
import freshness  # noqa: E402
import harness  # noqa: E402
import measure  # noqa: E402
import steady_code  # noqa: E402
import suite  # noqa: E402
import wire  # noqa: E402

PAIRS = int(os.environ.get("PAIRS") or 15)
WORKLOADS = os.environ.get("WORKLOADS", "").split()
COLD_PAIRS = int(os.environ.get("COLD_PAIRS") or 5)
DROP_CACHES = "/proc/sys/vm/drop_caches"
ATTACHES = 2000

APPLICATIONS = {
    "asyncio": "import asyncio",
    "pytest": "import pytest",
    "django": "import django.contrib.admin, django.contrib.auth, django.test",
    "numpy": "import numpy",
    "pandas": "import pandas",
    "sqlalchemy": "import sqlalchemy.orm",
    "sphinx": "import sphinx.application",
    "boto3": "import boto3.session",
}


class Bench:
    def __init__(self, interpreter, directory):
        self.interpreter = interpreter
        self.directory = directory
        self.daemon = harness.Daemon(directory / "daemon").start()
        self.pair = harness.Pair(interpreter, self.daemon, directory / "plain").warm()
        self.full = harness.Pair(interpreter, self.daemon, directory / "full", system_site=True).warm()
        self.env = self.daemon.env()
        self.results = {"interpreter": interpreter.executable, "version": interpreter.version, "workloads": {}}

    def stop(self):
        self.daemon.stop()

    def workloads(self):
        """{name: statements}, those that this interpreter can run."""
        script = harness.stdlib_script(self.interpreter)
        found = {"pass": "pass", "stdlib": script.read_text()}
        for name, statements in APPLICATIONS.items():
            if self.full.run_stock("-c", statements).returncode == 0:
                found[name] = statements
        return {name: found[name] for name in self.chosen(*found)}

    @staticmethod
    def chosen(*names):
        """Those of the names that WORKLOADS chooses."""
        return [name for name in names if not WORKLOADS or name in WORKLOADS]

    def pair_of(self, name):
        """Applications are installed in the interpreter's own site-packages; all else needs no more than the stdlib."""
        return self.full if name in APPLICATIONS else self.pair

    def script(self, name, text):
        path = self.directory / f"bench-{name}.py"  # no name that can be imported
        path.write_text(text)
        return path

    def variants(self, name, text):
        """{"stock"|"shimport": (command, environment)} that run a script."""
        path = self.script(name, text)
        pair = self.pair_of(name)
        return {"stock": ([pair.stock, path], self.env), "shimport": ([pair.shim, path], self.env)}

    def all_variants(self, name, statements):
        """The same, and "marshal", from the image without thawing, and "floor", see floor.py."""
        found = self.variants(name, measure.TIMED.format(statements))
        found["marshal"] = (found["shimport"][0], dict(self.env, SHIMPORT_THAW="0"))
        if name != "pass":
            stock = self.pair_of(name).stock
            text = floor.prelude(stock, statements, self.env) + measure.TIMED.format(statements)
            found["floor"] = ([stock, self.script(f"{name}-floor", text)], self.env)
        return found

    def measure(self, name, variants, pairs, before=lambda: None, kind="hot"):
        def progress(done):
            say(f"{self.interpreter}: {name}, {kind}: {done} of {pairs} pairs")

        runs = measure.run_in_turn(variants, pairs, before, progress)
        say("")
        summaries = {variant: measure.summary(found) for variant, found in runs.items()}
        self.results["workloads"].setdefault(name, {})[kind] = {"pairs": pairs, **summaries}
        return summaries

    def entries(self, pairs):
        """A long sys.path, all of it served."""
        path, statements = entries.make(self.directory / "entries")
        script = self.script("entries", measure.TIMED.format(statements))
        env = dict(self.env, PYTHONPATH=path)
        variants = {"stock": ([self.pair.stock, script], env), "shimport": ([self.pair.shim, script], env)}
        harness.run([self.pair.stock, "-m", "compileall", "-q", self.directory / "entries"], check=True)
        self.daemon.warm(self.pair.shim, paths=path.split(os.pathsep))
        return self.measure("entries", variants, pairs)

    def suite(self, pairs):
        """pytest, from its start to its end; none where it is not installed."""
        if self.full.run_stock("-c", "import pytest").returncode != 0:
            return None
        text = measure.TIMED.format(suite.make(self.directory))
        script = self.script("suite", text)
        variants = {"stock": ([self.full.stock, script], self.env), "shimport": ([self.full.shim, script], self.env)}
        return self.measure("suite", variants, pairs)

    def private_memory(self, name, statements):
        """KiB of a process after a script, the least of three."""
        variants = self.variants(f"{name}-memory", measure.MEMORY.format(statements))
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
        """{piece: {variant: summary}} of what runs after the imports, from modules that are served."""
        self.install_steady_code()
        found = {}
        for piece in steady_code.PIECES:
            text = f"import os, steady_code\nos.write(3, str(steady_code.run({piece.__name__!r})).encode())"
            found[piece.__name__] = self.measure(piece.__name__, self.variants(piece.__name__, text), pairs, kind="steady")
        return found

    def steady_instructions(self):
        """{piece: {variant: count}}: of three rounds of a piece after the first."""
        self.install_steady_code()
        found = self.results["steady_instructions"] = {}
        for piece in steady_code.PIECES:
            text = f"import steady_code\nsteady_code.run({piece.__name__!r}, times={{}})"
            counts = [
                {variant: measure.instructions(*command) for variant, command in
                 self.variants(f"{piece.__name__}-{times}", text.format(times)).items()}
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
        variants = self.variants(f"{name}-traced", statements)
        counts = {variant: measure.system_calls(*command) for variant, command in variants.items()}
        self.results["workloads"].setdefault(name, {})["system_calls"] = counts
        return counts


def say(text):
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def times_table(found):
    rows = []
    for name, summaries in found.items():
        for field, label in (("cpu", "user+sys"), ("wall", "wall"), ("inner", "imports alone")):
            stock, ours = summaries["stock"][field], summaries["shimport"][field]
            if name == "pass" and field == "inner":
                continue
            row = [f"{name}: {label}"]
            for what in ("minimum", "median"):
                row += [f"{stock[what]:.1f}", f"{ours[what]:.1f}", f"{ours[what] / stock[what]:.2f}"]
            rows.append(row)
    head = ["ms", "stock min", "shimport", "ratio", "stock med", "shimport", "ratio"]
    return measure.table(head, rows)


def ratio(summaries, field, what, of="stock", variant="shimport"):
    return summaries[variant][field][what] / summaries[of][field][what]


def ratios_table(found):
    """What each way of importing takes, in parts of stock's time; and of the floor's, for the imports alone."""
    rows = []
    for name, summaries in found.items():
        for field, label in (("cpu", "user+sys"), ("inner", "imports alone")):
            if name == "pass" and field == "inner":
                continue
            row = [f"{name}: {label}"]
            for variant in ("marshal", "shimport", "floor"):
                # The floor's process also makes its code objects, before it is measured.
                if variant not in summaries or (variant == "floor" and field == "cpu"):
                    row.append("")
                    continue
                row.append(" ".join(f"{ratio(summaries, field, what, variant=variant):.2f}" if what == "median" else
                                    f"({ratio(summaries, field, what, variant=variant):.2f})"
                                    for what in ("median", "minimum")))
            over = ""
            if "floor" in summaries and field == "inner":
                over = " ".join((f"{ratio(summaries, field, 'median', of='floor'):.2f}",
                                 f"({ratio(summaries, field, 'minimum', of='floor'):.2f})"))
            rows.append([*row, over])
    return measure.table(["parts of stock", "marshal", "shimport", "floor", "shimport/floor"], rows)


def calls_table(counts):
    names = sorted(set().union(*counts.values()), key=lambda name: -counts["stock"][name])
    rows = [
        [name, counts["stock"][name], counts["shimport"][name]]
        for name in names
        if max(counts["stock"][name], counts["shimport"][name]) > 10
    ]
    rows.append(["all", sum(counts["stock"].values()), sum(counts["shimport"].values())])
    return measure.table(["system call", "stock", "shimport"], rows)


def drop_caches():
    os.sync()
    with open(DROP_CACHES, "w") as file:
        file.write("3")


def report_imports(bench, workloads):
    found = {name: bench.measure(name, bench.all_variants(name, text), PAIRS) for name, text in workloads.items()}
    print(f"\nHot page cache, {PAIRS} rounds in turn:\n\n{times_table(found)}")
    print(f"\nAs parts of stock, by the medians (minima), with the floor of pure execution:\n\n{ratios_table(found)}")
    applications = [ratio(found[name], "cpu", "median") for name in APPLICATIONS if name in found]
    if applications:
        mean = statistics.geometric_mean(applications)
        print(f"\nApplications, whole process, user+sys: geometric mean {mean:.2f}, at most {max(applications):.2f}")
    missing = [name for name in APPLICATIONS if name not in workloads]
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


def report_entries(bench):
    long = bench.entries(PAIRS)
    print(
        f"sys.path of {entries.ENTRIES} entries with as many packages of three modules: imports"
        f" {ratio(long, 'inner', 'median'):.2f} of stock ({ratio(long, 'inner', 'minimum'):.2f} by the minima),"
        f" whole process, user+sys, {ratio(long, 'cpu', 'median'):.2f} ({ratio(long, 'cpu', 'minimum'):.2f})"
    )


def report_suite(bench):
    tests = bench.suite(PAIRS)
    if tests:
        print(
            f"pytest of {suite.FILES * suite.TESTS} tests in {suite.FILES} files, whole process, user+sys:"
            f" {ratio(tests, 'cpu', 'median'):.2f} of stock ({ratio(tests, 'cpu', 'minimum'):.2f} by the minima)"
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
    rows = [[name, *(f"{ratio(found, 'inner', what):.3f}" for what in ("median", "minimum"))]
            for name, found in bench.steady(PAIRS).items()]
    print(f"\nAfter the imports, parts of stock:\n\n{measure.table(['piece', 'median', 'minimum'], rows)}")


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
    print(f"\nSystem calls of the stdlib script, those made more than 10 times:\n\n{calls_table(counts)}")
    if os.access(DROP_CACHES, os.W_OK):
        timed = bench.variants("stdlib", measure.TIMED.format(script))
        cold = bench.measure("stdlib", timed, COLD_PAIRS, drop_caches, "cold")
        print(f"\nCold page cache, {COLD_PAIRS} pairs in turn:\n\n{times_table({'stdlib': cold})}")
    else:
        print(f"\nCold page cache: not measured, {DROP_CACHES} may not be written")


# What WORKLOADS chooses, beside what is imported.
SECTIONS = {
    "entries": report_entries,
    "suite": report_suite,
    "freshness": report_freshness,
    "steady": report_steady,
}


def report(bench):
    workloads = bench.workloads()
    report_imports(bench, workloads)
    report_attach(bench)
    for name in bench.chosen(*SECTIONS):
        SECTIONS[name](bench)
    if "instructions" in WORKLOADS:
        report_instructions(bench)
    if "stdlib" in workloads:
        report_resources(bench, workloads["stdlib"])


def main():
    found = harness.interpreters()
    if not os.environ.get("PYTHONS"):
        found = found[:1]
    cpu = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).partition(":")[2].strip()
    machine = f"{cpu}, {os.cpu_count()} processors, Linux {platform.release()}"
    results = []
    with harness.public_directory() as directory:
        for interpreter in found:
            print(f"\n{interpreter.executable}, CPython {interpreter}, {machine}")
            bench = Bench(interpreter, directory / str(interpreter))
            try:
                report(bench)
            finally:
                bench.stop()
            results.append(bench.results)
    path = harness.BUILD / "bench" / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "interpreters": results}, indent=1) + "\n")
    print(f"\nAlso in {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
