# SPDX-License-Identifier: MIT
"""
The README's chart, from what `make bench` measured:

    tests/bench/chart.py build/bench/results.json chart.svg

One bar for each way of importing, as a part of stock's CPU time, whole processes: the median of what each round gives by
itself. And a mark where pure execution would be, by the medians of the imports alone.
"""

import json
import pathlib
import statistics
import sys
from xml.sax.saxutils import escape

NAMES = {"stdlib": "standard library"}
BARS = (("shimport", "#4878a8", "as it is"), ("everything", "#2f9e6e", "everything on"))
MEAN = "geometric mean"

LEFT, WIDTH, BAR, GAP, TOP = 150, 560, 9, 14, 58
RIGHT = 40
FONT = 'font-family="sans-serif" font-size="12"'


def text(x, y, words, anchor="start", size=12, color="#333"):
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{escape(words)}</text>'


def floor_of(summaries):
    return summaries["floor"]["inner"]["median"] / summaries["stock"]["inner"]["median"]


def groups_of(found):
    """[(name, {variant: part of stock}, the floor's part or None)], the applications' mean last."""
    groups = []
    for name, kinds in found["workloads"].items():
        hot = kinds.get("hot", {})
        if name == "pass" or "everything" not in hot:
            continue
        floor = floor_of(hot) if "floor" in hot else None
        groups.append((name, {variant: hot[variant]["rounds"]["cpu"] for variant, _, _ in BARS}, floor))
    applications = [shares for name, shares, floor in groups if floor is not None and name != "stdlib" and name != "empty"]
    if applications:
        mean = {variant: statistics.geometric_mean(shares[variant] for shares in applications) for variant, _, _ in BARS}
        groups.append((f"{MEAN} of these {len(applications)}", mean, None))
    return groups


def draw(results):
    found = results["interpreters"][0]
    groups = groups_of(found)
    height = TOP + len(groups) * (len(BARS) * BAR + GAP) + 48
    at = lambda part: LEFT + part * WIDTH  # noqa: E731
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" {FONT} role="img">',
        "<title>CPU time of whole processes, in parts of stock CPython's</title>",
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="white"/>',
        text(LEFT, 18, "CPU time of whole processes, parts of stock CPython’s", size=14, color="#111"),
    ]
    x = LEFT
    for _, color, label in BARS:
        lines += [f'<rect x="{x}" y="28" width="10" height="10" fill="{color}"/>', text(x + 15, 37, label)]
        x += 40 + 7 * len(label)
    lines += [f'<path d="M{x + 4} 27v12" stroke="#c03030" stroke-width="2"/>', text(x + 12, 37, "execution alone, of the imports")]
    bottom = height - 40
    for tenth in range(0, 11, 2):
        color = "#333" if tenth == 10 else "#ddd"
        lines += [f'<path d="M{at(tenth / 10):g} {TOP - 8}V{bottom}" stroke="{color}"/>']
        lines += [text(at(tenth / 10), bottom + 14, f"{tenth / 10:.1f}", "middle", 11)]
    y = TOP
    for name, shares, floor in groups:
        lines.append(text(LEFT - 8, y + BAR + 4, NAMES.get(name, name), "end"))
        for variant, color, _ in BARS:
            part = shares[variant]
            lines += [f'<rect x="{LEFT}" y="{y}" width="{min(part, 1.05) * WIDTH:g}" height="{BAR}" fill="{color}"/>']
            lines += [text(at(min(part, 1.05)) + 4, y + BAR - 1, f"{part:.2f}", size=10)]
            y += BAR
        if floor is not None:
            lines.append(f'<path d="M{at(floor):g} {y - len(BARS) * BAR - 2}v{len(BARS) * BAR + 4}" stroke="#c03030" stroke-width="2"/>')
        y += GAP
    lines += [text(LEFT, height - 8, said(results, found), size=10, color="#666"), "</svg>"]
    return "\n".join(lines) + "\n"


def said(results, found):
    """On what, with what, and when it was measured."""
    return f"{results['date']} · shimport {results['shimport']} · CPython {found['version']} · {results['machine']}"


def main():
    source, target = sys.argv[1:]
    pathlib.Path(target).write_text(draw(json.loads(pathlib.Path(source).read_text())), encoding="utf-8")
    print(f"{target} drawn from {source}")


if __name__ == "__main__":
    main()
