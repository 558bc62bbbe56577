#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The plots of bench/growth.py and bench/soak.py, as SVG, from what they measured.

    bench/plot.py [bench/plots]        draw growth.json of that folder again
"""

import json
import math
import statistics
import sys
from html import escape
from pathlib import Path

WIDTH, PANEL, HEIGHT = 960, 320, 250  # three panels side by side
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 58, 40
INK, FAINT, FIRST, SECOND = "#444", "#ccc", "#1f6fb4", "#c0603a"


def keep(folder, results):
    """Put results among those that are kept there, and draw them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "growth.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept.update(results)
    path.write_text(json.dumps(kept, indent=1) + "\n")
    for name, result in results.items():
        (folder / f"{name}.svg").write_text(draw(result))


def draw(result):
    points = result["points"]
    sizes = [point["size"] for point in points]
    panels = []
    counted = [point for point in points if "worker" in point]
    if counted:
        panels.append(("instructions per call", [point["size"] for point in counted],
                       [("worker", FIRST, [[point["worker"]] for point in counted])], False))
    panels.append(("CPU µs per call", sizes, [("all threads", SECOND, [point["cpu_us"] for point in points]),
                                              ("workers", FIRST, [point["worker_us"] for point in points])], False))
    panels.append(("start to ready, ms; memory, MiB", sizes, [("ready", FIRST, [[point["ready_ms"]] for point in points]),
                                                              ("memory", SECOND, [[point["rss_kib"] / 1024] for point in points])], True))
    body = "".join(panel(at * PANEL, *each, unit=result["unit"]) for at, each in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="{INK}">'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
            f'<text x="12" y="18" font-size="14">{escape(result["title"])}</text>{body}</svg>\n')


def panel(left, title, sizes, lines, high_log, unit):
    """One diagram: sizes on a logarithmic axis, values from 0 (or logarithmic)."""
    highest = max(max(max(values) for values in line[2]) for line in lines)
    lowest = max(0.1, min(min(min(values) for values in line[2]) for line in lines))
    across, along = span_of(sizes), PANEL - LEFT - RIGHT
    ticks = decades(lowest, highest) if high_log else even_ticks(highest)
    floor, ceiling = (math.log10(ticks[0]), math.log10(ticks[-1])) if high_log else (0, ticks[-1])

    def x(size):
        return left + LEFT + along * (math.log10(size) - across[0]) / (across[1] - across[0])

    def y(value):
        value = math.log10(max(value, 10 ** floor)) if high_log else value
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - floor) / (ceiling - floor)

    parts = [f'<text x="{left + 12}" y="40" font-weight="bold">{escape(title)}</text>']
    for tick in ticks:
        parts.append(f'<line x1="{left + LEFT}" x2="{left + PANEL - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{FAINT}"/>'
                     f'<text x="{left + LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for size in sizes:
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{short(size)}</text>')
    parts.append(f'<text x="{left + LEFT + along / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(unit)}</text>')
    for at, (name, colour, values) in enumerate(lines):
        parts.append(curve([(x(size), each) for size, each in zip(sizes, values)], y, colour))
        parts.append(f'<text x="{left + PANEL - RIGHT}" y="{TOP - 18 + 12 * at}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    return "".join(parts)


def curve(points, y, colour):
    """Through the medians; a bar from the least to the most."""
    line = " ".join(f"{at:.1f},{y(statistics.median(values)):.1f}" for at, values in points)
    marks = "".join(f'<circle cx="{at:.1f}" cy="{y(statistics.median(values)):.1f}" r="2.5" fill="{colour}"/>'
                    f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(min(values)):.1f}" y2="{y(max(values)):.1f}" stroke="{colour}"/>'
                    for at, values in points)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>{marks}'


def draw_soak(rows):
    """Of the notes of bench/soak.py: what there was at each time, from 0 to the most of each panel."""
    minutes = [row["seconds"] / 60 for row in rows]
    panels = (("memory, MiB", [("resident", FAINT, "rss"), ("without journals", FIRST, "memory"), ("allocated", SECOND, "anonymous")], 1048576),
              ("descriptors", [("its own", FIRST, "others"), ("to upstreams", SECOND, "upstreams"), ("clients", FAINT, "clients")], 1),
              ("under way", [("calls", FIRST, "sluice_inflight_requests"), ("streams", SECOND, "sluice_open_streams")], 1))
    body = "".join(time_panel(at * PANEL, title, minutes, [(name, colour, [row[what] / unit for row in rows]) for name, colour, what in lines])
                   for at, (title, lines, unit) in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="{INK}">'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
            f'<text x="12" y="18" font-size="14">a mixed load, minute by minute</text>{body}</svg>\n')


def time_panel(left, title, minutes, lines):
    highs, longs = even_ticks(max(max(values) for _, _, values in lines)), even_ticks(max(minutes))
    along, tall, floor = PANEL - LEFT - RIGHT, HEIGHT - BOTTOM - TOP, HEIGHT - BOTTOM
    parts = [f'<text x="{left + 12}" y="40" font-weight="bold">{escape(title)}</text>',
             f'<text x="{left + LEFT + along / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">minutes</text>']
    for tick in highs:
        high = floor - tall * tick / highs[-1]
        parts.append(f'<line x1="{left + LEFT}" x2="{left + PANEL - RIGHT}" y1="{high:.1f}" y2="{high:.1f}" stroke="{FAINT}"/>'
                     f'<text x="{left + LEFT - 5}" y="{high + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in longs:
        parts.append(f'<text x="{left + LEFT + along * tick / longs[-1]:.1f}" y="{floor + 15}" text-anchor="middle">{short(tick)}</text>')
    for at, (name, colour, values) in enumerate(lines):
        line = " ".join(f"{left + LEFT + along * minute / longs[-1]:.1f},{floor - tall * value / highs[-1]:.1f}"
                        for minute, value in zip(minutes, values))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>'
                     f'<text x="{left + PANEL - RIGHT}" y="{TOP - 32 + 12 * at}" text-anchor="end" fill="{colour if colour != FAINT else INK}">{escape(name)}</text>')
    return "".join(parts)


def span_of(sizes):
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    return (low, high) if high > low else (low - 1, high + 1)


def even_ticks(highest):
    step = 10 ** math.floor(math.log10(max(highest, 1e-9)))
    step *= next(each for each in (0.2, 0.25, 0.5, 1, 2, 2.5) if highest / (each * step) <= 6)
    return [step * at for at in range(math.ceil(highest / step) + 1)]


def decades(lowest, highest):
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return [10.0 ** at for at in range(low, max(high, low + 1) + 1)]


def short(number):
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "plots"
    for name, result in json.loads((folder / "growth.json").read_text()).items():
        (folder / f"{name}.svg").write_text(draw(result))


if __name__ == "__main__":
    main()
