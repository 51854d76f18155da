"""Measure the CPU time of every parser of strangers' bytes over the size of its input, from 1 kB to 4 MB, and draw the
curves.

    .venv/bin/python bench/parsers.py [--only NAME …] [--seconds 0.3] [--write]

The parsers are the fuzzing targets (`tests/support/fuzz_targets`). Each is measured with the slowest of the families of
inputs that `input_growth` makes of its seeds, as far as `--seconds` of CPU time suffice to look for it. A parser that
refuses an input by its length takes no longer from there on. Sizes end where a single input takes a quarter of a
second. `--write` writes the table and the picture.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from collections.abc import Sequence
from math import log10
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "bench")]

import needs  # noqa: F401, E402
import results_file  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402
from input_growth import cpu_seconds, slowest_family  # noqa: E402

SIZES = tuple(1 << exponent for exponent in range(10, 23, 2))
LONGEST_SECONDS = 0.25
"""CPU seconds of one input after which no larger one is tried."""

SHORTEST_SECONDS = 1e-5
RESULTS, PICTURE = ROOT / "bench" / "results" / "parsers.md", ROOT / "docs" / "images" / "parsers.svg"

type Curve = list[tuple[int, float]]
"""Sizes in octets, each with the CPU seconds of an input of that size."""


def measure(name: str, seconds: float) -> Curve:
    target, curve = TARGETS[name], list[tuple[int, float]]()
    family = slowest_family(target, seconds)
    for size in SIZES:
        data = family(size)
        curve.append((size, min(cpu_seconds(target, data) for _ in range(2))))
        if curve[-1][1] > LONGEST_SECONDS:
            break
    return curve


def growth(curve: Curve) -> float:
    """Return how many times more the last input took than the one of a quarter of its size; 1 or less for an input that
    is refused.
    """
    return curve[-1][1] / max(curve[-2][1], SHORTEST_SECONDS) if len(curve) > 1 else 1.0


def size_text(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB"


STYLE = """text { font: 14px system-ui, sans-serif; fill: #1d2b20 } .middle { text-anchor: middle } .end { text-anchor: end }
.bg { fill: #f6f8f5 } .axis { stroke: #7d8f80; fill: none } .grid { stroke: #d8e0d9 } .line { fill: none; stroke-width: 1.5; opacity: .6 }
.ours { stroke: #2a6b3c } .linear { stroke: #1c5fae; stroke-width: 2; stroke-dasharray: 6 4; fill: none } .linear-name { fill: #1c5fae }
.quadratic { stroke: #a63d2f; stroke-width: 2; stroke-dasharray: 2 4; fill: none } .quadratic-name { fill: #a63d2f }
@media (prefers-color-scheme: dark) { text { fill: #e8efe9 } .bg { fill: #161c18 } .axis { stroke: #8da091 } .grid { stroke: #333d36 }
.ours { stroke: #7cc48f } .linear { stroke: #8db8f0 } .linear-name { fill: #8db8f0 }
.quadratic { stroke: #e58f80 } .quadratic-name { fill: #e58f80 } }"""  # noqa: E501
"""Colours for light and dark pages."""


def picture(curves: dict[str, Curve]) -> str:
    """Draw all curves over logarithmic axes as SVG, with the slopes of linear and of quadratic work."""
    width, height, left, low, high = 480, 340, 66, 285, 34
    ticks = [10.0**power for power in range(-5, 1)]

    def place(size: float, seconds: float) -> str:
        x = left + 10 + (log10(size) - log10(SIZES[0])) / (log10(SIZES[-1]) - log10(SIZES[0])) * (width - left - 40)
        y = low - (log10(max(seconds, ticks[0])) - log10(ticks[0])) / (log10(ticks[-1]) - log10(ticks[0])) * (
            low - high
        )
        return f"{x:.1f} {y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t">']
    parts += ['<title id="t">CPU time of each parser over the size of its input</title>', f"<style>{STYLE}</style>"]
    parts.append(f'<rect class="bg" width="{width}" height="{height}" rx="10"/>')
    for tick, label in zip(ticks, ("10 µs", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s"), strict=True):
        y = place(SIZES[0], tick).split()[1]
        parts.append(
            f'<path class="grid" d="M{left} {y}H{width - 20}"/><text class="end" x="{left - 6}" '
            f'y="{float(y) + 4}">{label}</text>'
        )
    parts.append(f'<path class="axis" d="M{left} {high}V{low}H{width - 20}"/>')
    for size in SIZES:
        parts.append(f'<text class="middle" x="{place(size, 1).split()[0]}" y="{low + 18}">{size_text(size)}</text>')
    parts += [
        f'<path class="line ours" d="M{" L".join(place(*point) for point in curve)}"/>' for curve in curves.values()
    ]
    parts.append(
        f'<path class="linear" d="M{place(SIZES[0], 1e-4)} L{place(SIZES[-1], 1e-4 * SIZES[-1] / SIZES[0])}"/>'
    )
    parts.append(f'<path class="quadratic" d="M{place(SIZES[0], 1e-4)} L{place(SIZES[0] * 100, 1)}"/>')
    parts.append(
        f'<text x="{left}" y="20">CPU time</text><text class="linear-name" x="{left + 90}" y="20">linear</text>'
    )
    parts.append(f'<text class="quadratic-name" x="{left + 150}" y="20">quadratic</text>')
    parts.append(f'<text class="middle" x="{width / 2}" y="{height - 12}">size of the input</text>')
    return "\n".join([*parts, "</svg>", ""])


def report(curves: dict[str, Curve]) -> str:
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    lines = [
        "# CPU time of parsers over the size of a stranger's input",
        "",
        f"By `python bench/parsers.py {' '.join(sys.argv[1:])}` on {platform.machine()}, {os.cpu_count()} "
        f"cores, Python",
        f"{platform.python_version()}; the load averages of 1, 5 and 15 minutes were {load} at the end. "
        f"Milliseconds for one input,",
        "of the slowest family that was found in the given CPU time. *Growth* is how many times longer the last "
        "input took than one",
        "of a quarter of its size: about 4 is linear, and 1 or less means that long inputs are refused.",
        "",
        f"| parser | {' | '.join(map(size_text, SIZES))} | growth |",
        f"|---|{'---:|' * (len(SIZES) + 1)}",
    ]
    for name, curve in curves.items():
        cells = [f"{seconds * 1000:.2f}" for _, seconds in curve] + [""] * (len(SIZES) - len(curve))
        lines.append(f"| {name} | {' | '.join(cells)} | {growth(curve):.1f} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), help="parsers to measure")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="CPU seconds of the search for each parser's slowest family"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}"
    )
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # refused forms are logged
    curves = dict[str, Curve]()
    for name in chosen.only or TARGETS:
        curves[name] = measure(name, chosen.seconds)
        print(
            f"{name}: {size_text(curves[name][-1][0])} in {curves[name][-1][1] * 1000:.1f} ms, "
            f"growth {growth(curves[name]):.1f}",
            flush=True,
        )
    if chosen.write:
        results_file.write(RESULTS, report(curves))
        PICTURE.write_text(picture(curves), encoding="utf-8")


if __name__ == "__main__":
    main()
