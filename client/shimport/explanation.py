# SPDX-License-Identifier: MIT
"""How a module's name is found: everything that is asked, in turn, and what it says. The module itself is not imported,
its parents are; whether it has been imported before makes no difference."""

import importlib
import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder, SourceFileLoader

import _shimport

WITHOUT_FILES = {
    BuiltinImporter: ("built-in", "a built-in module: no file is looked for"),
    FrozenImporter: ("frozen", "frozen into the interpreter: no file is looked for"),
}


def explain(name):
    """A list of dicts, one for each that is asked, and one for what comes of it.

    entry: the path entry, or the finder; status: served, found (by stock's loader), portion (of a namespace package),
    stale, stock (the image leaves it to stock), not attached, absent, or result; found: whether it has the module;
    shadowed: by which entry, if an earlier one has it; verdict: all that, and why, as a sentence; root, state, kind and
    generation: of the image that was asked.
    """
    parent, _, tail = name.rpartition(".")
    path = None
    if not all(name.split(".")):
        return [_result(name, None, [])]
    if parent:
        try:
            path = getattr(importlib.import_module(parent), "__path__", None)
        except Exception as error:
            verdict = f"{parent}, which is imported first, raises {type(error).__name__}: {error}"
            return [_step(parent, "absent", verdict), _result(name, None, [])]
        if path is None:
            return [_step(parent, "absent", f"{parent} is no package"), _result(name, None, [])]
    steps, winner, portions = [], None, []
    for step in _steps(name, tail, path):
        if winner:
            if step["found"] or step["status"] == "portion":
                step["shadowed"] = winner["entry"]
                step["verdict"] = f"shadowed by {winner['entry']}: {step['verdict']}"
            else:
                step["verdict"] = "not asked any more"
        elif step["found"]:
            winner = step
        elif step["status"] == "portion":
            portions.append(step)
        steps.append(step)
    for step in portions if winner else ():
        step["shadowed"] = winner["entry"]
        step["verdict"] = f"shadowed by {winner['entry']}, which has a module: {step['verdict']}"
    return [*steps, _result(name, winner, portions)]


def _step(entry, status, verdict, found=False, **details):
    return {"entry": entry, "status": status, "found": found, "shadowed": None, "verdict": verdict, **details}


def _result(name, winner, portions):
    if winner:
        how = "served" if winner["status"] == "served" else "by stock"
        return _step("result", "result", f"{name} comes from {winner['entry']}, {how}", True)
    if portions:
        return _step("result", "result", f"{name} is a namespace package of {len(portions)} portion(s)", True)
    return _step("result", "result", f"there is no module {name}")


def _steps(name, tail, path):
    """What sys.meta_path comes to, in turn."""
    for finder in sys.meta_path:
        if finder is PathFinder:
            for entry in sys.path if path is None else path:
                yield _entry_step(entry, name, tail)
            continue
        spec = finder.find_spec(name, path) if hasattr(finder, "find_spec") else None
        if isinstance(finder, type) and finder in WITHOUT_FILES:
            if spec is not None:
                who, verdict = WITHOUT_FILES[finder]
                yield _step(who, "found", verdict, True)
        else:
            verdict = "a finder of the program, which has " + (f"it: {spec.origin}" if spec else "nothing")
            yield _step(getattr(finder, "__name__", None) or repr(finder), "found" if spec else "absent", verdict, bool(spec))


def _entry_step(entry, name, tail):
    if not isinstance(entry, str):
        return _step(repr(entry), "absent", "no str: passed over")
    try:
        directory = entry or os.getcwd()
    except OSError:
        return _step(entry, "absent", "the working directory is gone")
    finder = PathFinder._path_importer_cache(entry)
    if finder is None:
        return _step(entry, "absent", "neither a directory nor an archive")
    spec = finder.find_spec(name)
    has = spec is not None and spec.loader is not None
    portion = spec is not None and spec.loader is None
    image = None
    try:
        image = _shimport.lookup(directory, tail)
    except ValueError:  # surrogates
        pass
    status, why = _judge(image, directory, finder)
    if status in ("served", "absent") and image and image["hindrance"]:
        status, why = "stock", f"left to stock: {image['hindrance']}"
    elif status == "served" and has and type(spec.loader) is SourceFileLoader:
        status, why = "stale", f"stale: it is validated by stat, and is not what it was when the {_where(image)} was built"
    if status == "stock" or status == "stale" or status == "not attached":
        why += f"; stock finds {spec.origin}" if has else "; stock finds nothing"
    elif not has:
        status = "absent"
    details = {key: image[key] for key in ("root", "state", "kind", "generation")} if image else {}
    if portion:
        return _step(entry, "portion", f"a portion of a namespace package; {why}", **details)
    return _step(entry, status, why, has, **details)


def _where(image):
    return f"image of {image['root']}, generation {image['generation']}"


def _judge(image, directory, finder):
    """(status, sentence) of what the image says, or why none is asked."""
    state = _shimport.status()
    if not state["active"]:
        return "not attached", f"not attached: {state['reason']}"
    if not isinstance(finder, importlib.machinery.FileFinder):
        return "not attached", f"not attached: no plain directory, {type(finder).__name__} is asked"
    if image is None:
        why = "a relative path" if not os.path.isabs(directory) else state["reason"] or "it was not asked for at start-up"
        return "not attached", f"not attached: {why}"
    where = _where(image)
    kind = image["kind"]
    if kind == "no image":
        why = f", {image['root_reason']}" if image["root_reason"] else ""
        return "not attached", f"not attached: the root is {image['state']}{why}"
    if kind == "no directory":
        return "not attached", f"not attached: not a package of the {where}"
    if image["stale"]:
        return "stale", f"stale: changed since the {where} was built"
    if kind == "absent":
        return "absent", f"not here, says the {where}"
    if kind == "stock":
        return "stock", f"left to stock by the {where}: {image['reason']}"
    if kind == "source" and not image["code"]:
        return "found", f"found in the {where}, without its code: {image['reason']}"
    if kind == "source":
        return "served", f"served from the {where}"
    return "found", f"found in the {where}; {kind}, loaded by stock's loader"
