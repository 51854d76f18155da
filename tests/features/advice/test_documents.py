"""The tables of `docs/features/advice.md`. To update: `python tests/features/advice/test_documents.py`."""

from __future__ import annotations

from pathlib import Path

from hedgerow.features.advice.guides import load_guides
from hedgerow.features.advice.own_words import CHILDRENS_TOPICS
from hedgerow.features.advice.sources import load_sources

PAGE = Path(__file__).parents[3] / "docs" / "features" / "advice.md"
START, END = "<!-- sources -->\n", "<!-- end of sources -->\n"
TITLES = {topic.name: topic.title for topic in CHILDRENS_TOPICS} | {"told": "After your child told you something"}


def sources_table() -> str:
    """Return the table of sources."""
    rows = (
        f"| {TITLES[page]} | {source.name} | [{source.title}]({source.url}) | {source.checked} |\n"
        for page, sources in load_sources().items()
        for source in sources
    )
    return "| page | who | source | compared |\n| --- | --- | --- | --- |\n" + "".join(rows)


def updated(text: str, table: str, start: str = START, end: str = END) -> str:
    """Return a text with another table between two marks."""
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"


def guides_table() -> str:
    """Return the table of guides."""
    rows = (
        f"| {guide.title} | {', '.join(filter(None, (line.name, *line.kinds))) or 'block and report'} "
        f"| [{line.title}]({line.url}) | {line.checked} |\n"
        for guide in load_guides().values()
        for line in (*guide.controls, *guide.safety)
    )
    return "| app or device | what | source | compared |\n| --- | --- | --- | --- |\n" + "".join(rows)


def with_tables(text: str) -> str:
    """Return the page with current tables."""
    return updated(updated(text, sources_table()), guides_table(), "<!-- guides -->\n", "<!-- end of guides -->\n")


def test_the_tables_are_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
