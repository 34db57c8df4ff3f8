# SPDX-License-Identifier: MIT
"""Describe the interpreter that runs this, as one JSON object on standard output, for the control tool.

A plain script that any Python from 2.7 on can run: the control tool wants to say what is too old. Keys: version,
hexversion, implementation, soabi, executable (to build with), options (for a builder), tag (null if the extension
does not load, and then error), path (the directories of sys.path), site_dir and activation (where and what
`shimportctl enable` installs).
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT_DIRECTORY = os.path.dirname(HERE)

# The one line of a .pth file: it loads one shared object by its path, beside the file itself, and looks for nothing.
# `sitedir` is what site.addpackage() calls the directory, when it executes the line. A directory that interpreters of
# several versions and builds share may hold an extension for each: the name says whose it is. Whatever goes wrong leaves
# the interpreter as it was. It is compiled at every start, and again by a site that comes past twice, so it is short.
ACTIVATE = (
    "import _frozen_importlib_external as e; '_shimport' in e.sys.modules or exec(\""
    "try: e._bootstrap._load(e.spec_from_file_location('_shimport',"
    " sitedir + '/_shimport' + e._imp.extension_suffixes()[0])).activate()\\n"
    "except Exception: pass\")\n"
)


def suffix():
    import sysconfig

    return sysconfig.get_config_var("EXT_SUFFIX") or ""


def site_directory():
    """Where site looks for .pth files: a venv's own, or the first of the interpreter's (Debian: the local one)."""
    import site

    return site.getsitepackages()[0]


def activation():
    """What makes site activate shimport: [file name, content], see site.addpackage() and PEP 829. A .start file has site
    import pkgutil, re and thirty more, which stock does not: not before it is the only way."""
    if sys.hexversion >= 0x03120000:
        return ["00-shimport.start", "_shimport:activate\n"]
    return ["00-shimport.pth", ACTIVATE]


def describe():
    about = {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "hexversion": sys.hexversion,
        "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
        "executable": os.path.abspath(getattr(sys, "_base_executable", None) or sys.executable),
        "tag": None,
    }
    own = [os.path.realpath(path) for path in (HERE, CLIENT_DIRECTORY, os.path.join(CLIENT_DIRECTORY, "run"))]
    about["path"] = [entry for entry in sys.path if os.path.isdir(entry) and os.path.realpath(entry) not in own]
    if sys.hexversion < 0x030B0000:
        about["error"] = "older than 3.11"
        return about
    if about["implementation"] != "cpython":
        about["error"] = "not CPython"
        return about

    import importlib.machinery
    import importlib.util

    extension = os.path.join(CLIENT_DIRECTORY, "_shimport" + suffix())
    about["soabi"] = suffix()[1:].rpartition(".")[0]
    about["extension"] = extension
    about["site_dir"] = site_directory()
    about["activation"] = activation()
    try:
        if "_shimport" in sys.modules:
            module = sys.modules["_shimport"]
        else:
            loader = importlib.machinery.ExtensionFileLoader("_shimport", extension)
            module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_shimport", loader))
            loader.exec_module(module)
        about["tag"], about["options"] = module.tag()
    except ImportError as error:
        about["error"] = "the extension does not load: %s" % error
    return about


if __name__ == "__main__":
    json.dump(describe(), sys.stdout)
    sys.stdout.write("\n")
