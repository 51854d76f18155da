"""Typed JSON: round trips and refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest

from hedgerow.codec import IpNetwork, decode, encode
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_round_trip_of_every_example(path: Path) -> None:
    policy = load_policy(path)
    assert decode(Policy, encode(policy)) == policy


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    size: float = 1.0
    day: date | None = None
    pair: tuple[int, bool] = (1, True)
    path: Path | None = None
    networks: tuple[IpNetwork, ...] = ()


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert decode(Thing, b'{"name": "a", "size": 2, "day": "2026-02-28"}') == Thing("a", 2.0, date(2026, 2, 28))


def test_round_trip_of_paths_and_networks() -> None:
    thing = Thing("a", path=Path("/a b"), networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    assert decode(Thing, encode(thing)) == thing


def test_a_type_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="complex has no JSON form"):
        encode(Thing("a", size=1j))  # type: ignore[arg-type]


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
        {"name": "a", "path": 5},
        {"name": "a", "networks": [5]},
        {"name": "a", "networks": ["10.0.0.0/33"]},
        {"name": "a", "pair": [1]},
        {"name": "a", "pair": [1, 1]},
        {"name": "a", "pair": [1, True, 2]},
    ],
)
def test_invalid_values_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a Thing"):
        decode(Thing, json.dumps(value).encode())
