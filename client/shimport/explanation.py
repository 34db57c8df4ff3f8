# SPDX-License-Identifier: MIT
"""How a module's name is found, path entry by path entry, without importing it (its parents are imported)."""

import importlib
import importlib.util
import os
import sys

import _shimport


def explain(name):
    """A list of dicts: `entry` (the path entry), `root`, `state`, `kind`, `verdict` (a sentence)."""
    parent, _, tail = name.rpartition(".")
    if parent:
        paths = getattr(importlib.import_module(parent), "__path__", None)
        if paths is None:
            return [{"entry": parent, "verdict": f"{parent} is no package"}]
    else:
        if name in sys.builtin_module_names:
            return [{"entry": "built-in", "verdict": "a built-in module: no file is looked for"}]
        if importlib.machinery.FrozenImporter.find_spec(name) is not None:
            return [{"entry": "frozen", "verdict": "frozen into the interpreter: no file is looked for"}]
        paths = sys.path
    steps = []
    for entry in paths:
        step = _explain_entry(entry or os.getcwd(), tail)
        steps.append(step)
        if step.pop("found"):
            break
    return steps


def _explain_entry(entry, tail):
    finder = sys.path_importer_cache.get(entry)
    if finder is None:
        for hook in sys.path_hooks:
            try:
                finder = hook(entry)
                break
            except ImportError:
                continue
    spec = finder.find_spec(tail) if finder is not None else None
    found = spec is not None and spec.loader is not None
    image = _shimport.lookup(entry, tail)
    step = {"entry": entry, "found": found}
    if image is None:
        step["verdict"] = "not attached: " + (_shimport.status()["reason"] or "stock answers here")
    else:
        step.update(root=image["root"], state=image["state"], kind=image["kind"], generation=image["generation"])
        step["verdict"] = _verdict(image, found)
    return step


def _verdict(image, found):
    where = f"image of {image['root']}, generation {image['generation']}"
    if image["kind"] == "no image":
        return f"stock: the root is {image['state']}" + (f", {image['root_reason']}" if image["root_reason"] else "")
    if image["kind"] == "no directory":
        return f"stock: not a package of the {where}"
    if image["kind"] == "absent":
        return f"not here, says the {where}"
    if image["kind"] == "stock":
        return f"stock: {image['reason']}, says the {where}" + ("" if found else "; stock does not find it")
    if image["kind"] == "source":
        return f"served from the {where}"
    return f"found in the {where}; {image['kind']}, loaded by stock's loader"
