# SPDX-License-Identifier: MIT
"""How long a change takes to be served again, what an attach costs meanwhile, and what it costs at each lookup to be
told: a root of 5,000 modules."""

import json
import statistics
import threading
import time

import harness

MODULES = 5000
EDITS = 7

SOURCE = '''"""One of many modules, of a usual size."""

import os

NAMES = ("alpha{n}", "beta{n}", "gamma{n}")


class Thing{n}:
    """Does nothing much."""

    def __init__(self, name, size=0):
        self.name = name
        self.size = size

    def path(self, base):
        if not self.name:
            raise ValueError("no name")
        return os.path.join(base, self.name, *NAMES)

    def grow(self, by=1):
        for step in range(by):
            self.size += step
        return {{name: self.size for name in NAMES}}


def make{n}(names):
    return [Thing{n}(name, size) for size, name in enumerate(sorted(names))]
'''


def make_root(root):
    for n in range(MODULES):
        package = root / f"package{n // 50}"
        if n % 50 == 0:
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("")
        (package / f"module{n}.py").write_text(SOURCE.format(n=n))


class Edits:
    """The root, its daemon, and edits of one file after another."""

    def __init__(self, daemon, interpreter, directory):
        self.daemon = daemon
        self.root = directory / "many"
        make_root(self.root)
        daemon.warm(interpreter.executable, paths=[self.root])
        self.served = self.image()["generation"]

    def image(self):
        images = json.loads(self.daemon.ctl("status", "--json", check=True).stdout)["images"]
        return next(image for image in images if image["root"] == str(self.root))

    def edit(self, n):
        """Milliseconds from the write until a new image is handed out."""
        path = self.root / f"package{n}" / f"module{n * 50}.py"
        began = time.perf_counter()
        path.write_text(SOURCE.format(n=n) + f"EDIT = {n}\n")
        while (generation := self.image()["generation"]) == self.served:
            time.sleep(0.002)
        self.served = generation
        return (time.perf_counter() - began) * 1e3


# Nanoseconds of one lookup by the finder of a directory, the least of several runs; and how many modules were served.
LOOKUP = """
import json, sys, time
sys.path.insert(0, {root!r})
import package0.module0
finder = sys.path_importer_cache[package0.__path__[0]]
names = [f"package0.module{{n}}" for n in range(50)]
taken = []
for _ in range(40):
    began = time.perf_counter_ns()
    for name in names:
        finder.find_spec(name)
    taken.append((time.perf_counter_ns() - began) / len(names))
shimport = sys.modules.get("_shimport")
print(json.dumps([min(taken), shimport.status()["served"] if shimport else 0]))
"""


def lookup_ns(pair, env, root):
    """{"stock", "shimport"}: a lookup in a root that is served; and "staleness_test", the part of it that asks whether
    anything has changed, measured by itself."""
    code = LOOKUP.format(root=str(root))
    found = {}
    for side, python in (("stock", pair.stock), ("shimport", pair.shim)):
        runs = [json.loads(harness.run([python, "-c", code], env=env, check=True).stdout) for _ in range(5)]
        assert all(bool(served) == (side == "shimport") for _, served in runs)
        found[side] = min(taken for taken, _ in runs)
    program = harness.BUILD / "bench" / "staleness_cost"
    found["staleness_test"] = float(harness.run([program, MODULES // 50 + 1, MODULES + MODULES // 50], check=True).stdout)
    return found


def measure(daemon, interpreter, directory, attach, pair):
    """`attach` measures round trips; it runs once at rest and once while image after image is built."""
    edits = Edits(daemon, interpreter, directory)
    lookup = lookup_ns(pair, daemon.env(), edits.root)
    taken = [edits.edit(n) for n in range(EDITS)]
    stop = threading.Event()

    def go_on():
        n = EDITS
        while not stop.is_set():
            edits.edit(n % 100)
            n += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        busy = attach()
    finally:
        stop.set()
        thread.join()
    return {
        "modules": MODULES,
        "edit_ms": {"median": statistics.median(taken), "maximum": max(taken)},
        "attach_us_while_building": busy,
        "lookup_ns": lookup,
    }
