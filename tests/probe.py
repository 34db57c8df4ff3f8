# SPDX-License-Identifier: MIT
"""
Imports the modules that the script named by its argument imports, and prints as JSON what can be seen of every
module then loaded: its spec, its loader, its namespace. Run with and without shimport, the output must be equal.
"""

import json
import sys
import types
from importlib.machinery import ModuleSpec

OURS = {"_shimport", "shimport"}  # what only the one of the two has loaded


def loader_of(loader):
    if loader is None or isinstance(loader, type):
        return repr(loader)
    kind = type(loader)
    seen = {"type": f"{kind.__module__}.{kind.__qualname__}", "attributes": sorted(vars(loader))}
    bases = [base for base in kind.__mro__ if base.__module__ == "_frozen_importlib_external"]
    if bases:  # shimport's are subclasses of stock's and say so
        seen["type"] = f"{bases[0].__module__}.{bases[0].__qualname__}"
    for name in ("name", "path"):
        if hasattr(loader, name):
            seen[name] = repr(getattr(loader, name))
    return seen


def spec_of(spec):
    if spec is None:
        return None
    assert type(spec) is ModuleSpec
    seen = {
        name: repr(getattr(spec, name))
        for name in ("name", "origin", "cached", "has_location", "loader_state", "parent")
    }
    locations = spec.submodule_search_locations
    if locations is not None:
        seen["submodule_search_locations"] = [type(locations).__name__, *locations]
    seen["loader"] = loader_of(spec.loader)
    seen["attributes"] = sorted(vars(spec))
    return seen


def module_of(module):
    if not isinstance(module, types.ModuleType):
        return type(module).__qualname__
    namespace = vars(module)
    return {
        "type": type(module).__qualname__,
        "keys": list(namespace),
        "spec": spec_of(namespace.get("__spec__")),
        "loader is the spec's": namespace.get("__loader__") is getattr(namespace.get("__spec__"), "loader", None),
        "repr": repr(module).partition(" from ")[2],
        **{
            name: repr(namespace[name])
            for name in ("__name__", "__file__", "__cached__", "__package__", "__path__")
            if name in namespace
        },
    }


def main():
    before = set(sys.modules)
    with open(sys.argv[1]) as script:
        code = compile(script.read(), sys.argv[1], "exec")
    exec(code, {"__name__": "stdlib"})
    names = [name for name in sys.modules if name not in OURS]
    seen = {
        "loaded, in order": [name for name in names if name not in before],
        "path": sys.path,
        "hooks": [getattr(hook, "__qualname__", None) for hook in sys.path_hooks],
        "finders": [repr(finder) for finder in sys.meta_path],
        "modules": {name: module_of(sys.modules[name]) for name in names},
    }
    json.dump(seen, sys.stdout, indent=1)


main()
