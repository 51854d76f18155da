"""Generate the table of minimum ages in docs/features/growing_up.md.

Run `python tools/features/growing_up/minimum_ages.py`.
A test compares it with `hedgerow/features/growing_up/ages.yaml`.
"""

from __future__ import annotations

from pathlib import Path

from babel import Locale

from hedgerow.features.growing_up.law import minimum_ages

PAGE = Path(__file__).resolve().parents[3] / "docs/features/growing_up.md"
_BEGIN, _END = "<!-- made from ages.yaml: begin -->\n", "<!-- end -->"


def table() -> str:
    """Return the table, a row for each minimum age, sorted by the country's English name."""
    names = Locale("en").territories
    lines = ["| country | topic | from | since | law | source | last check |", "|---|---|---|---|---|---|---|"]
    for each in sorted(minimum_ages(), key=lambda each: (names[each.country], each.kind)):
        since = each.since.isoformat() if each.since is not None else "–"
        law = f"[{each.law}]({each.source})"
        source = "secondary" if each.is_secondary else "law or authority"
        place = f"{names[each.country]} | `{each.kind}` | {each.age} | {since}"
        lines.append(f"| {place} | {law} | {source} | {each.checked} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page with a table that is up to date."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}{table()}{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
