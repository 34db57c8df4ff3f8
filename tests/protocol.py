# SPDX-License-Identifier: MIT
"""
Finds every module below the directories named by its arguments, without importing any, and prints as JSON what their
specs and loaders say: all of the loader protocols. Run with and without shimport, the output must be equal.
"""

import hashlib
import json
import marshal
import os
import sys
import warnings
from importlib.machinery import PathFinder

NAMES = ("name", "origin", "cached", "has_location", "loader_state", "parent")
SUFFIXES = (".py", ".pyc", ".so")


def digest(value):
    return hashlib.sha1(value).hexdigest()


def without_slices(constant):
    """A constant that version 2 of the format can tell: slices, constants from 3.14 on, came with version 5."""
    if isinstance(constant, slice):
        return ("slice", constant.start, constant.stop, constant.step)
    if isinstance(constant, tuple):
        return tuple(map(without_slices, constant))
    if hasattr(constant, "co_code"):
        return constant.replace(co_consts=without_slices(constant.co_consts))
    return constant


def result_of(call, *arguments):
    """What a method gives, in short, or what it raises."""
    try:
        value = call(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(value, (str, bytes)):
        return digest(value.encode(errors="surrogatepass") if isinstance(value, str) else value)
    if hasattr(value, "co_code"):
        # Of a version that does not tell whether something is shared: tests/integration/deep_compare.py does.
        return [digest(marshal.dumps(without_slices(value), 2)), value.co_filename, value.co_name]
    return value if isinstance(value, (bool, dict, type(None))) else type(value).__name__


def loader_of(loader, name, path):
    if loader is None:
        return None
    seen = {"class": loader.__class__.__name__, "repr": repr(loader).partition(" object at")[0], "vars": vars(loader)}
    for method in ("get_filename", "is_package", "get_code", "get_source", "get_resource_reader"):
        if hasattr(loader, method):
            seen[method] = result_of(getattr(loader, method), name)
    for method in ("get_data", "path_stats"):
        if hasattr(loader, method):
            seen[method] = result_of(getattr(loader, method), path)
    return seen


def spec_of(spec):
    if spec is None:
        return None
    seen = {name: getattr(spec, name) for name in NAMES}
    locations = spec.submodule_search_locations
    seen["locations"] = locations if locations is None else [type(locations).__name__, *list(locations)]
    seen["loader"] = loader_of(spec.loader, spec.name, spec.origin)
    seen["vars"] = sorted(vars(spec))
    return seen


def names_in(directory):
    names = set()
    for entry in os.scandir(directory):
        stem = entry.name.partition(".")[0]
        if entry.name.endswith(SUFFIXES) or entry.is_dir() and entry.name == stem != "__pycache__":
            names.add(stem)
    return sorted(names)


def main():
    warnings.simplefilter("ignore")
    seen, todo = {}, [(path, "") for path in reversed(sys.argv[1:])]
    while todo:
        directory, prefix = todo.pop()
        for name in names_in(directory):
            try:
                spec = PathFinder.find_spec(prefix + name, [directory])
            except (KeyError, ImportError) as error:  # a namespace package whose parent is not imported
                seen[f"{directory}: {prefix}{name}"] = repr(error)
                continue
            seen[f"{directory}: {prefix}{name}"] = spec_of(spec)
            if spec and spec.loader and spec.submodule_search_locations:
                todo += [(path, f"{prefix}{name}.") for path in spec.submodule_search_locations]
    json.dump(seen, sys.stdout, indent=1, default=repr)


main()
