# SPDX-License-Identifier: MIT
"""The client as a source distribution and a wheel.

What it installs is what `shimportctl enable` puts there: the extension, the package, and the file that has site load
the extension. In the source tree the C sources come from all over it, and `make client-sources` gathers them, with
what protoc-c generates; a source distribution brings them along. Building takes a C compiler and libprotobuf-c.
"""

import pathlib
import re
import shutil
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent
CARRIED = HERE / "sources"
IN_TREE = not CARRIED.is_dir()
SOURCES = TREE / "build" / "client-sources" if IN_TREE else CARRIED

sys.path.insert(0, str(HERE / "shimport"))
import describe  # noqa: E402


def gather():
    if IN_TREE:
        subprocess.run(["make", "-s", "-C", str(TREE), "BUILD=build", "client-sources"], check=True)


class BuildExtension(build_ext):
    def run(self):
        gather()
        for extension in self.extensions:
            extension.sources = [str(path) for path in sorted(SOURCES.glob("*/*.c"))]
            extension.include_dirs = [str(SOURCES / name) for name in ("shared", "client", "gen")]
            extension.define_macros.append(("SHIMPORT_SOABI", f'"{describe.suffix()[1:].rpartition(".")[0]}"'))
        super().run()


class BuildPackage(build_py):
    def run(self):
        super().run()
        name, content = describe.activation()
        pathlib.Path(self.build_lib, name).write_text(content)


class SourceDistribution(sdist):
    def make_release_tree(self, base_dir, files):
        gather()
        super().make_release_tree(base_dir, files)
        shutil.copytree(SOURCES, pathlib.Path(base_dir, "sources"), dirs_exist_ok=True)


def version():
    text = (TREE / "daemon" / "version.h" if IN_TREE else SOURCES / "version.h").read_text()
    return re.search(r'SHIMPORT_VERSION "(.*)"', text)[1]


def options():
    """In the source tree nothing is built beside the sources."""
    if not IN_TREE:
        return {}
    base = TREE / "build" / "pip"
    base.mkdir(parents=True, exist_ok=True)
    return {"build": {"build_base": str(base)}, "egg_info": {"egg_base": str(base)}}


setup(
    version=version(),
    options=options(),
    cmdclass={"build_ext": BuildExtension, "build_py": BuildPackage, "sdist": SourceDistribution},
    ext_modules=[
        Extension(
            "_shimport",
            sources=[],
            define_macros=[("_GNU_SOURCE", None), ("PY_SSIZE_T_CLEAN", None)],
            extra_compile_args=["-std=gnu17", "-fvisibility=hidden"],
            extra_link_args=["-Wl,-z,now"],
            libraries=["protobuf-c"],
        )
    ],
)
