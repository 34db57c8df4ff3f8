# SPDX-License-Identifier: MIT
"""Sites that are made up: one of very many modules, and virtual environments that share most of what they hold."""

import shutil

PACKAGES_PER_DISTRIBUTION = 15
MODULES_PER_DISTRIBUTION = 250  # the packages' own among them

SOURCE = '''"""One of many modules, of a usual size."""

import os

NAMES = ("alpha{n}", "beta{n}", "gamma{n}", "{name}")


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

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.{n}\nSummary: One of many\n"


def write_distribution(root, name, n, salt=""):
    """A top-level package, packages in it, and what an installer leaves beside. Its modules' names: each package comes
    before its modules."""
    names = []
    for p in range(PACKAGES_PER_DISTRIBUTION):
        package = root / name / f"part{p}" if p else root / name
        package.mkdir(parents=True)
        dotted = f"{name}.part{p}" if p else name
        (package / "__init__.py").write_text(f'"""{dotted}"""\n' if n % 2 else "")
        names.append(dotted)
        for m in range(p, MODULES_PER_DISTRIBUTION - PACKAGES_PER_DISTRIBUTION, PACKAGES_PER_DISTRIBUTION):
            (package / f"module{m}.py").write_text(SOURCE.format(n=n * MODULES_PER_DISTRIBUTION + m, name=dotted + salt))
            names.append(f"{dotted}.module{m}")
    info = root / f"{name}-1.{n}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(name=name, n=n))
    (info / "INSTALLER").write_text("bench\n")
    (info / "RECORD").write_text("".join(f"{module.replace('.', '/')}.py,,\n" for module in names))
    if n % 10 == 0:
        (info / "entry_points.txt").write_text(f"[bench]\nentry{n} = {name}:main\n")
    return names


def make_site(root, modules):
    """Names of all modules, a list for each distribution."""
    root.mkdir(parents=True)
    return [write_distribution(root, f"dist{n}", n) for n in range(modules // MODULES_PER_DISTRIBUTION)]


def make_venvs(directory, venvs, modules):
    """Directories of so many modules each, the last distribution of each its own and all else the same; compiled is the
    first only, by the caller, before the generator is asked for more."""
    first = directory / "venv0"
    shared = modules // MODULES_PER_DISTRIBUTION - 1
    first.mkdir(parents=True)
    for n in range(shared):
        write_distribution(first, f"dist{n}", n)
    yield first
    for v in range(1, venvs):
        venv = directory / f"venv{v}"
        shutil.copytree(first, venv)  # with the times of all files, so that the pycs stay valid
        write_distribution(venv, f"own{v}", shared, salt=f"-{v}")
        yield venv
    write_distribution(first, "own0", shared, salt="-0")
