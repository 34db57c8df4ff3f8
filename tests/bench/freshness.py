# SPDX-License-Identifier: MIT
"""How long a change takes to be served again, and what an attach costs meanwhile: a root of 5,000 modules."""

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


def measure(daemon, interpreter, directory, attach):
    """`attach` measures round trips; it runs once at rest and once while image after image is built."""
    edits = Edits(daemon, interpreter, directory)
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
    }
