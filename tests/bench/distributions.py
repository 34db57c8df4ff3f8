# SPDX-License-Identifier: MIT
"""Many distributions, of which half have entry points, for what it costs importlib.metadata to look at all of them."""

DISTRIBUTIONS = 100

METADATA = """Metadata-Version: 2.1
Name: thing{n}
Version: {n}.0
Summary: One of many
Requires-Dist: thing{next}

""" + "It does nothing, at some length.\n" * 100

ENTRY_POINTS = """[console_scripts]
thing{n} = thing{n}.cli:main

[things.plugins]
plugin{n} = thing{n}.plugin
"""

# What is timed: the call, in a process that has imported importlib.metadata; or both.
IMPORT = "import importlib.metadata\n"
CALL = "importlib.metadata.entry_points()"


def make(site):
    for n in range(DISTRIBUTIONS):
        info = site / f"thing{n}-{n}.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(n=n, next=n + 1))
        (info / "RECORD").write_text(f"thing{n}/__init__.py,sha256=x,10\n" * 20)
        (info / "top_level.txt").write_text(f"thing{n}\n")
        (info / "INSTALLER").write_text("pip\n")
        if n % 2 == 0:
            (info / "entry_points.txt").write_text(ENTRY_POINTS.format(n=n))
