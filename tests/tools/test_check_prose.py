"""The check of prose finds turns of a translated voice, and leaves ordinary English alone."""

from __future__ import annotations

from pathlib import Path

import check_prose
import pytest

TRANSLATED = (
    "The name stands before each file",
    "What stands in an entry",
    "Return the grants that hold at `now`",
    "Explain a row by what held then",
    "The pause that it replaced holds again",
    "A text that is no address stays as it is",
    "Fields that are no metrics",
    "Write a temporary file beside the other",
    "How to mend it",
    "A directory that is none any more",
    "The policy has no tunnel any more",
    "Browsers take a backslash for a slash",
    "It would be taken for the response",
)
ORDINARY = (
    "A zone stands for its subdomains. A stand-in for any device",
    "The clock stands still",
    "The file holds the lock, and holds a copy back",
    "There is no table. There are no lists",
    "It is no longer than that, and no more than one",
    "`None` if there is no copy",
    "An update takes long for reasons of its own",
)


def found(tmp_path: Path, text: str) -> list[str]:
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text(f'"""A module."""\n\n# {text}\nX = 1\n"""Value: {text}."""\n', encoding="utf-8")
    return list(check_prose.problems(package))


@pytest.mark.parametrize("text", TRANSLATED)
def test_translated_turns_are_found_in_comments_and_docstrings(tmp_path: Path, text: str) -> None:
    assert [line.partition(": ")[0] for line in found(tmp_path, text)] == ["package/module.py:5", "package/module.py:3"]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_english_is_left_alone(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []
