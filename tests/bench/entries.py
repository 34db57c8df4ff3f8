# SPDX-License-Identifier: MIT
"""A long sys.path: as many entries as packages, of three modules each, as build systems such as Bazel lay them out."""

import os

ENTRIES = 200

INIT = '''"""One of many packages."""

from .names import NAMES
from .work import Work

__all__ = ["NAMES", "Work"]
'''

NAMES = '''"""What is worked on."""

NAMES = ("alpha{n}", "beta{n}", "gamma{n}")
'''

WORK = '''"""What is done."""

from .names import NAMES


class Work:
    """Does nothing much."""

    def __init__(self, size=0):
        self.size = size

    def grow(self, by=1):
        self.size += by
        return {{name: self.size for name in NAMES}}
'''


def make(directory):
    """Returns the value of PYTHONPATH, and the statements that import all."""
    paths = []
    for n in range(ENTRIES):
        entry = directory / f"entry{n}"
        package = entry / f"package{n}"
        package.mkdir(parents=True)
        for name, text in (("__init__", INIT), ("names", NAMES), ("work", WORK)):
            (package / f"{name}.py").write_text(text.format(n=n))
        paths.append(str(entry))
    return os.pathsep.join(paths), "\n".join(f"import package{n}" for n in range(ENTRIES))
