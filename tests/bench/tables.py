# SPDX-License-Identifier: MIT
"""The figures of `make bench` as tables."""

import statistics

import measure
import workloads


def ratio(summaries, field, what, of="stock", variant="shimport"):
    return summaries[variant][field][what] / summaries[of][field][what]


def both(summaries, field, **how):
    """By the medians, and in parentheses by the minima."""
    return f"{ratio(summaries, field, 'median', **how):.2f} ({ratio(summaries, field, 'minimum', **how):.2f})"


FIELDS = (("cpu", "user+sys"), ("wall", "wall"), ("inner", "imports alone"))


def times(found):
    rows = []
    for name, summaries in found.items():
        for field, label in FIELDS:
            stock, ours = summaries["stock"][field], summaries["shimport"][field]
            if name == "pass" and field == "inner":
                continue
            row = [f"{name}: {label}"]
            for what in ("minimum", "median"):
                row += [f"{stock[what]:.1f}", f"{ours[what]:.1f}", f"{ours[what] / stock[what]:.2f}"]
            rows.append(row)
    head = ["ms", "stock min", "shimport", "ratio", "stock med", "shimport", "ratio"]
    return measure.table(head, rows)


def ratios(found):
    """What each way of importing takes, in parts of stock's time; and of the floor's, for the imports alone."""
    rows = []
    variants = [*workloads.OURS, "floor"]
    for name, summaries in found.items():
        for field, label in (FIELDS[0], FIELDS[2]):
            if name == "pass" and field == "inner":
                continue
            row = [f"{name}: {label}"]
            for variant in variants:
                # The floor's process also makes its code objects, before it is measured.
                measured = variant in summaries and not (variant == "floor" and field == "cpu")
                row.append(both(summaries, field, variant=variant) if measured else "")
            rows.append([*row, both(summaries, field, of="floor") if "floor" in summaries and field == "inner" else ""])
    return measure.table(["parts of stock", *variants, "shimport/floor"], rows)


def rounds(found):
    rows = [
        [f"{name}: user+sys", *(f"{summaries[variant]['rounds']['cpu']:.2f}" if variant in summaries else "" for variant in workloads.OURS)]
        for name, summaries in found.items()
    ]
    return measure.table(["parts of stock", *workloads.OURS], rows)


def means(found, variant):
    """{"median"|"minimum"|"rounds": the geometric mean of the whole processes' CPU time in parts of stock's}."""
    parts = {what: [ratio(one, "cpu", what, variant=variant) for one in found.values()] for what in ("median", "minimum")}
    parts["rounds"] = [one[variant]["rounds"]["cpu"] for one in found.values()]
    return {what: statistics.geometric_mean(values) for what, values in parts.items()}


def calls(counts):
    names = sorted(set().union(*counts.values()), key=lambda name: -counts["stock"][name])
    rows = [
        [name, counts["stock"][name], counts["shimport"][name]]
        for name in names
        if max(counts["stock"][name], counts["shimport"][name]) > 10
    ]
    rows.append(["all", sum(counts["stock"].values()), sum(counts["shimport"].values())])
    return measure.table(["system call", "stock", "shimport"], rows)
