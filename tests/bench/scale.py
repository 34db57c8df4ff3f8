# SPDX-License-Identifier: MIT
"""
make bench-scale: a generated site of SITE_MODULES (50,000) modules, of which a process uses 300, and a machine of
SITE_VENVS (50) virtual environments of 2,000 modules each that share most of them by content.

Results also go to build/bench/scale.json, or to RESULTS. PAIRS (15) is the number of rounds; PYTHONS, the first counts.
"""

import hashlib
import os
import pathlib
import re
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import bench  # noqa: E402
import generated  # noqa: E402
import harness  # noqa: E402
import measure  # noqa: E402
import wire  # noqa: E402
from structs import Struct  # noqa: E402
from workloads import Workloads  # noqa: E402

PAIRS = int(os.environ.get("PAIRS") or 15)
MODULES = int(os.environ.get("SITE_MODULES") or 50_000)
VENVS = int(os.environ.get("SITE_VENVS") or 50)
VENV_MODULES = int(os.environ.get("SITE_VENV_MODULES") or 2000)
USED = 300
ATTACHES = 1000
PATIENCE = 1200  # seconds


def own_memory(pid):
    """KiB of a process that are no shared memory, and so no image."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return sum(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) for name in ("RssAnon", "RssFile"))


class Attaches:
    """Attaches by hand: how long they take, and what they give."""

    def __init__(self, daemon, interpreter):
        self.daemon = daemon
        self.described = interpreter.describe()
        self.stdlib = [path for path in self.described["path"] if os.path.isdir(path)]

    def once(self, paths):
        """(microseconds from connect() to the answer, descriptors)."""
        packet = wire.attach(self.described, paths)
        roots = wire.open_roots(paths)
        before = time.perf_counter()
        with self.daemon.connect() as connection:
            socket.send_fds(connection, [packet], roots)
            _, fds, _, _ = socket.recv_fds(connection, wire.PACKET_SIZE_MAX, 253)
        taken = (time.perf_counter() - before) * 1e6
        for fd in roots:
            os.close(fd)
        return taken, fds

    def microseconds(self, paths):
        taken, fds = self.once(paths)
        for fd in fds:
            os.close(fd)
        return taken

    def in_turn(self, **paths):
        """{name: median} of as many lists of paths, one after the other again and again."""
        found = {name: [] for name in paths}
        for _ in range(ATTACHES):
            for name, some in paths.items():
                found[name].append(self.microseconds(some))
        return {name: statistics.median(taken) for name, taken in found.items()}

    def image(self, root):
        """The bytes of a root's image."""
        _, fds = self.once([str(root)])
        with open(fds[0], "rb") as file:
            image = file.read()
        for fd in fds[1:]:
            os.close(fd)
        return image


class Site:
    """The large site, and one beside it that has no more than what is used."""

    def __init__(self, sides, daemon, interpreter, directory):
        self.sides, self.daemon = sides, daemon
        self.attaches = Attaches(daemon, interpreter)
        self.root, self.small = directory / "large", directory / "small"
        self.names = generated.make_site(self.root, MODULES)
        few = USED // 10
        self.statements = "\n".join(f"import {name}" for names in self.names[:10] for name in names[:few])
        for n in range(10):
            generated.write_distribution(self.small, f"dist{n}", n)

    def image(self, root):
        images = self.daemon.status()["images"]
        return next((image for image in images if image["root"] == str(root)), None)

    def scan(self):
        """How the first image comes, with attaches all the while."""
        paths = [*self.attaches.stdlib, str(self.root)]
        taken = []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            taken += [self.attaches.microseconds(paths) for _ in range(50)]
            image = self.image(self.root)
            if image["state"] == "served":
                break
        return {
            "built_ms": image["built_ms"], "image_bytes": image["bytes"], "entries": image["entries"],
            "directories": image["directories"], "watches": self.daemon.status()["watches"],
            "attach_us": {"median": statistics.median(taken), "maximum": max(taken)},
        }  # fmt: skip

    def environment(self, root):
        return {"PYTHONPATH": str(root)}

    def variants(self, name, text, **changes):
        """The same process with the large site and with the small one, and stock's with the large one."""
        large = self.sides.variants(name, text, **self.environment(self.root), **changes)
        small = self.sides.variants(f"{name}-small", text, **self.environment(self.small), **changes)
        return {"stock": large["stock"], "large": large["shimport"], "small": small["shimport"]}

    def first_used(self):
        """Milliseconds from the end of the first process that uses some until an image holds them."""
        command, env = self.variants("first", self.statements)["large"]
        harness.run(command, env=env, check=True)
        began = time.perf_counter()
        harness.wait_until(lambda: self.image(self.root)["modules"] >= USED, "an image of what is used", PATIENCE)
        found = (time.perf_counter() - began) * 1e3
        image = self.image(self.root)
        return {"ready_ms": found, "built_ms": image["built_ms"], "modules": image["modules"], "image_bytes": image["bytes"]}

    def settle(self):
        """Both sites served, and everything that is used in the image."""
        harness.run([self.sides.pair.stock, "-m", "compileall", "-q", self.small], check=True, timeout=PATIENCE)
        self.daemon.warm(self.sides.pair.shim, paths=[self.small])
        ask = self.statements + "\nimport _shimport\nprint(next(r['served'] for r in _shimport.status()['roots'] if r['path'].endswith('large')))"
        command, env = self.variants("settle", ask)["large"]
        harness.wait_until(lambda: int(harness.run(command, env=env, check=True).stdout) == USED, "all to be served", PATIENCE)

    def processes(self):
        """What a process pays that uses some of them: CPU time, page faults, private memory."""
        runs = measure.run_in_turn(self.variants("used", measure.TIMED.format(self.statements)), PAIRS)
        found = {}
        memory = self.variants("used-memory", measure.MEMORY.format(self.statements))
        for side, some in runs.items():
            found[side] = measure.summary(some) | {
                "faults": statistics.median(run.faults for run in some),
                "private_kib": min(measure.private_memory(*memory[side]) for _ in range(3)),
            }
        return found

    def edit(self):
        """Milliseconds until another image is handed out, when a module has changed."""
        before = self.image(self.root)["generation"]
        began = time.perf_counter()
        (self.root / "dist0" / "module0.py").write_text("EDIT = 1\n")
        harness.wait_until(lambda: self.image(self.root)["generation"] != before, "another image", PATIENCE)
        return (time.perf_counter() - began) * 1e3


HEADER, ENTRY = Struct("shared/image.h", "ImageHeader"), Struct("shared/image.h", "ImageEntry")


class Contents:
    """What images hold, block by block: how much of it others hold as well."""

    def __init__(self):
        self.total = {"code": 0, "frozen": 0}
        self.same = {"code": {}, "frozen": {}}  # by the bytes as they are
        self.alike = {}  # frozen, by the module's name and the size of block and source: texts have other numbers
        self.texts = self.bytes = 0

    def add(self, image):
        header = dict(zip(HEADER.names, struct.unpack_from(HEADER.form, image)))
        self.bytes += len(image)
        self.texts += header["texts_size"]
        strings = header["strings_offset"]
        for n in range(header["entry_count"]):
            at = header["entries_offset"] + n * ENTRY.size
            entry = dict(zip(ENTRY.names, struct.unpack_from(ENTRY.form, image, at)))
            for area in self.total:
                begin = header[f"{area}_offset"] + entry[f"{area}_offset"]
                block = image[begin : begin + entry[f"{area}_size"]]
                self.total[area] += len(block)
                self.same[area][hashlib.blake2b(block, digest_size=16).digest()] = len(block)
            name = image[strings + entry["name_offset"] : strings + entry["name_offset"] + entry["name_length"]]
            key = entry["directory"], bytes(name), entry["file_size"], entry["file_mtime"], entry["frozen_size"]
            self.alike[key] = entry["frozen_size"]

    def summary(self):
        return {
            "image_bytes": self.bytes, "text_bytes": self.texts,
            "code_bytes": self.total["code"], "code_bytes_distinct": sum(self.same["code"].values()),
            "frozen_bytes": self.total["frozen"], "frozen_bytes_distinct": sum(self.same["frozen"].values()),
            "frozen_bytes_of_distinct_sources": sum(self.alike.values()),
        }  # fmt: skip


def venvs(sides, daemon, interpreter, directory):
    attaches = Attaches(daemon, interpreter)
    made = []
    for venv in generated.make_venvs(directory / "venvs", VENVS, VENV_MODULES):
        if not made:
            harness.run([sides.pair.stock, "-m", "compileall", "-q", venv], check=True, timeout=PATIENCE)
        made.append(str(venv))
    began = time.perf_counter()
    for start in range(0, len(made), 10):
        daemon.warm(sides.pair.shim, paths=made[start : start + 10])
    built = time.perf_counter() - began
    contents = Contents()
    for venv in made:
        contents.add(attaches.image(venv))
    status = daemon.status()
    return contents.summary() | {
        "venvs": VENVS, "modules": VENV_MODULES, "built_s": built, "watches": status["watches"],
        "own_memory_kib": own_memory(daemon.pid),
        "attach_us": attaches.in_turn(stdlib=attaches.stdlib, venv=[*attaches.stdlib, made[-1]]),
    }  # fmt: skip


def mib(size):
    return f"{size / (1 << 20):.1f} MiB"


def report_site(site, results):
    before = site.attaches.in_turn(stdlib=site.attaches.stdlib)
    scan = results["scan"] = site.scan()
    print(
        f"{MODULES} modules in {scan['directories']} directories: indexed in {scan['built_ms'] / 1e3:.1f} s,"
        f" {mib(scan['image_bytes'])}; {scan['watches']} watches in all; attach meanwhile: median"
        f" {scan['attach_us']['median']:.0f} us, at most {scan['attach_us']['maximum']:.0f} us"
    )
    used = results["first_used"] = site.first_used()
    print(
        f"The first image with what is used, {used['modules']} modules: {used['ready_ms']:.0f} ms after the first process"
        f" ended, built in {used['built_ms']} ms, {mib(used['image_bytes'])}"
    )
    site.settle()
    memory = results["own_memory_kib"] = own_memory(site.daemon.pid)
    print(f"The daemon's own memory, without images: {memory / 1024:.1f} MiB")
    paths = [*site.attaches.stdlib, str(site.root)]
    attach = results["attach_us"] = site.attaches.in_turn(stdlib=site.attaches.stdlib, small=[*site.attaches.stdlib, str(site.small)], large=paths)
    print(
        f"Attach, median: {before['stdlib']:.0f} us before there was any of it; with the stdlib alone"
        f" {attach['stdlib']:.0f} us, with the large site {attach['large']:.0f} us, {attach['large'] / attach['stdlib']:.2f} times;"
        f" with a small one {attach['small']:.0f} us"
    )
    found = results["processes"] = site.processes()
    rows = [
        [side, f"{some['cpu']['median']:.1f}", f"{some['cpu']['minimum']:.1f}", f"{some['faults']:.0f}", some["private_kib"]]
        for side, some in found.items()
    ]
    head = ["a process with 300 of them", "ms user+sys", "least", "page faults", "private KiB"]
    print(f"\n{measure.table(head, rows)}\n")
    results["edit_ms"] = site.edit()
    print(f"A changed module is in an image again after {results['edit_ms']:.0f} ms")


def report_venvs(found):
    print(
        f"\n{found['venvs']} virtual environments of {found['modules']} modules, built in {found['built_s']:.0f} s:"
        f" {mib(found['image_bytes'])} of images; {found['watches']} watches; the daemon's own memory"
        f" {found['own_memory_kib'] / 1024:.1f} MiB; attach, median {found['attach_us']['venv']:.0f} us, with the stdlib alone"
        f" {found['attach_us']['stdlib']:.0f} us"
    )
    print(
        f"Of these, frozen blocks {mib(found['frozen_bytes'])}: {mib(found['frozen_bytes_distinct'])} if equal ones were stored"
        f" once, {mib(found['frozen_bytes_of_distinct_sources'])} if the numbers of texts in them were equal as well;"
        f" marshalled code {mib(found['code_bytes'])}: {mib(found['code_bytes_distinct'])} if equal was stored once;"
        f" texts {mib(found['text_bytes'])}"
    )


def main():
    interpreter = harness.interpreters()[0]
    results = bench.described() | {"version": interpreter.version}
    print(f"{interpreter.executable}, CPython {interpreter}, {results['machine']}")
    with harness.public_directory() as directory, harness.Daemon(directory / "daemon", config="[daemon]\nMemoryMax=50%\n") as daemon:
        sides = Workloads(interpreter, daemon, directory)
        report_site(Site(sides, daemon, interpreter, directory), results)
        daemon.ctl("drop", check=True)
        found = results["venvs"] = venvs(sides, daemon, interpreter, directory)
        report_venvs(found)
    bench.write_results("scale.json", results)


if __name__ == "__main__":
    main()
