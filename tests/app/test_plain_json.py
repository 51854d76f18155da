"""Frozen dataclasses as JSON: what comes back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from hedgerow.app.codec import decode, encode
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_comes_back_as_it_was(path: Path) -> None:
    policy = load_policy(path)
    assert decode(Policy, encode(policy)) == policy


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    size: float = 1.0
    day: date | None = None
    pair: tuple[int, bool] = (1, True)


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert decode(Thing, b'{"name": "a", "size": 2, "day": "2026-02-28"}') == Thing("a", 2.0, date(2026, 2, 28))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "a",
        {},
        {"name": None},
        {"name": 1},
        {"name": "a", "size": "1"},
        {"name": "a", "size": True},
        {"name": "a", "day": "2026-02-30"},
        {"name": "a", "day": 5},
        {"name": "a", "pair": [1]},
        {"name": "a", "pair": [1, 1]},
        {"name": "a", "pair": [1, True, 2]},
        {"name": "a", "more": 1},
    ],
)
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a Thing"):
        decode(Thing, json.dumps(value).encode())
