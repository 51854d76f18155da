"""Mistakes in policy files: each is reported at its line, together with all others."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.policies.reading.load import PolicyError, load_policy, parse_policy

FILES = [Path(__file__).with_name("mistakes.txt"), *sorted(Path(__file__).parents[2].glob("features/*/mistakes.txt"))]
"""Mistakes in keys of the core, and in those of each feature."""


def _load() -> Iterator[tuple[str, str]]:
    for file in FILES:
        for section in re.split(r"^=== ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, _, text = section.partition("\n")
            yield name, text


ALL = list(_load())


def _problems(data: bytes) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(data, Path("hedgerow.yaml"))
    assert all(problem.source == "hedgerow.yaml" for problem in caught.value.problems)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [text for _, text in ALL], ids=[name for name, _ in ALL])
def test_mistake(text: str) -> None:
    """Expect exactly the problems that `#!` announces in each line."""
    found = _problems(text.encode())
    lines = text.splitlines()
    expected = [(number, message.strip()) for number, line in enumerate(lines, 1) for message in line.split("#!")[1:]]
    assert [line for line, _, _ in found] == [line for line, _ in expected], found
    for line, message in expected:
        assert any(each[0] == line and message in each[2] for each in found), found
    for row, column, _ in found:
        assert row is not None
        assert column is not None
        assert 1 <= column <= len(lines[row - 1]) + 1


def test_the_mistakes_are_many_and_have_unique_names() -> None:
    assert len(ALL) >= 170
    assert len({name for name, _ in ALL}) == len(ALL)


def test_columns_point_at_the_mistake() -> None:
    text = "people:\n  mia: {age: 9, blok: [x], youtube: loud}\n"
    assert [(line, column) for line, column, _ in _problems(text.encode())] == [(2, 17), (2, 37)]


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"people:\n\tmia: {age: 9}\n", 2, "a tab: indent with spaces"),
        (b"network: {}\npeople: \xff\xfe\n", 2, "not UTF-8 text"),
        (b"network: {}\n\x00\x01\x02", 2, "the character U+0000 is not allowed in YAML"),
        (bytes(range(256)) * 10, 2, "not UTF-8 text"),
        (b"#" * (5 * 1024 * 1024), 1, "the file has 5242880 bytes"),
        (b"[" * 100_000, 1, "nested more than 50 levels deep"),
        (b"a: " + b"{a: " * 1000, 1, "nested more than 50 levels deep"),
    ],
)
def test_unreadable_bytes_are_one_mistake(data: bytes, line: int, message: str) -> None:
    found = _problems(data)
    assert [each[0] for each in found] == [line]
    assert message in found[0][2]


@pytest.mark.parametrize("value", ["9" * 100_000, "x" * 100_000, f"[{'y' * 100_000}]"])
def test_long_values_are_shortened_in_messages(value: str) -> None:
    found = _problems(f"people: {{mia: {{age: {value}, block: [{value}]}}}}".encode())
    assert found
    assert all(len(message) < 1000 for *_, message in found), [message[:600] for *_, message in found]


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    began = time.thread_time()
    found = _problems(bomb.encode())
    assert time.thread_time() - began < 5
    assert "more than 200000 values" in found[0][2]


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(PolicyError, match="cannot be read"):
            load_policy(path)


def test_crlf_and_a_byte_order_mark_are_accepted() -> None:
    policy = parse_policy(b"\xef\xbb\xbfpeople:\r\n  mia: {age: 9}\r\n", None)
    assert policy.people["mia"].age == 9
