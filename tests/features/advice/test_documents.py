"""The tables of `docs/features/advice.md`. To update: `python tests/features/advice/test_documents.py`."""

from __future__ import annotations

from pathlib import Path

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


def test_the_table_of_sources_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == updated(text, sources_table())


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), sources_table()), encoding="utf-8")
