# SPDX-License-Identifier: MIT
"""shimport in this process: what it serves, and why not.

>>> import shimport
>>> shimport.status()["active"]
True
"""

__all__ = ["explain", "gc_policy", "status"]

try:
    import _shimport
except ImportError as _error:
    _shimport = None
    _missing = str(_error)


def status():
    """What shimport does in this process, as a dict.

    active: whether imports are served; reason: why not; socket: the daemon's; roots: a list of dicts, one for each
    path entry that was asked for; served, fallback, stale, thawed, unmarshalled, patterns, snippets: counts.
    """
    if _shimport is None:
        return {"active": False, "reason": _missing, "socket": None, "roots": [], "served": 0, "fallback": 0,
                "stale": 0, "thawed": 0, "unmarshalled": 0, "patterns": 0, "snippets": 0}
    return _shimport.status()


def gc_policy(policy=None):
    """What becomes of the cyclic garbage collector during served imports: "stock", "hold" or "freeze".

    Sets it, if one is given. Returns the one that was in force. See README, Switches.
    """
    return "stock" if _shimport is None else _shimport.gc_policy(policy)


def explain(name):
    """How a module's name is found: a list of dicts, one for each that is asked in turn, and the last for the result.

    entry (the path entry, or a finder), status (served, found, portion, stale, stock, not attached, absent, result),
    found, shadowed (by which entry), verdict (a sentence); root, state, kind, generation of the image that was asked.
    """
    from shimport.explanation import explain as run

    return run(name)
