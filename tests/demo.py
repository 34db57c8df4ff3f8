# SPDX-License-Identifier: MIT
"""
make demo: a private daemon, the standard library imported without and with it, and a table of the difference.

Nothing stays behind: socket, virtual environments and images are in a temporary directory.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "bench"))

import harness  # noqa: E402
import measure  # noqa: E402

PAIRS = 5

COUNT = "\nimport sys\nprint(len(sys.modules))"


def main():
    interpreter = harness.interpreters()[0]
    print(f"\nPython {interpreter} at {interpreter.executable}", flush=True)
    print("finding out what of its standard library can be imported here ...", flush=True)
    text = harness.stdlib_script(interpreter).read_text()
    with harness.public_directory() as directory, harness.Daemon(directory / "daemon") as daemon:
        print(f"starting shimportd at {daemon.socket}, building the image ...", flush=True)
        pair = harness.Pair(interpreter, daemon, directory).warm()
        statements = directory / "statements.py"
        statements.write_text(text)
        timed = directory / "timed.py"
        timed.write_text(measure.TIMED.format(text))

        loaded = int(pair.run_stock("-c", text + COUNT, check=True).stdout)
        status = pair.status(code=text)
        images = daemon.status()["images"]
        image = next(image for image in images if image["root"] == interpreter.stdlib())
        print(f"importing it {PAIRS} times without and with shimport, in turn ...", flush=True)
        env = daemon.env()
        sides = {"without": pair.stock, "with": pair.shim}
        runs = measure.run_in_turn({side: ([python, timed], env) for side, python in sides.items()}, PAIRS)
        times = {side: measure.summary(found) for side, found in runs.items()}
        calls = {side: sum(measure.system_calls([python, statements], env).values()) for side, python in sides.items()}

    def row(label, field):
        without, ours = (times[side][field]["median"] for side in ("without", "with"))
        return [label, f"{without:.0f} ms", f"{ours:.0f} ms", f"{ours / without:.2f}"]

    rows = [
        ["modules loaded", loaded, loaded, ""],
        ["served from the image", "", status["served"], ""],
        row("time of the imports", "inner"),
        row("time of the process", "wall"),
        row("processor time", "cpu"),
        ["system calls", calls["without"], calls["with"], f"{calls['with'] / calls['without']:.2f}"],
    ]
    print(f"\n{measure.table(['the standard library', 'without', 'with shimport', 'ratio'], rows)}\n")
    print(f"The image holds {image['modules']} modules in {image['bytes'] / 2**20:.1f} MiB, once for all processes.")
    return 0 if status["served"] else 1


if __name__ == "__main__":
    sys.exit(main())
