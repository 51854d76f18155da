"""The training of topics, on invented lists: it learns, leaves out what is mislabelled, and makes the same bytes
again.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="training needs numpy and scipy, which Hedgerow itself does not")
pytest.importorskip("scipy", reason="training needs numpy and scipy, which Hedgerow itself does not")

from recogniser_sources import NamedHost, TopicList
from train_topics import gather, train

from hedgerow.blocklists.recognition.name_parts import text_of
from hedgerow.blocklists.recognition.topic_model import TopicModel

PLAIN = ("garden", "bakery", "cycling", "pottery", "violin", "carpet", "meadow", "bridge")
ENDS = ("com", "net", "de", "fr", "info")


def hosts(words: tuple[str, ...], others: tuple[str, ...] = PLAIN) -> list[NamedHost]:
    numbered = itertools.product(words, others, range(6), ENDS)
    names = (f"{first}-{second}{number}.{end}" for first, second, number, end in numbered)
    return [NamedHost(name, rank) for rank, name in enumerate(names, 1)]


def source(name: str, topic: str, *, rank: int = 0, is_noisy: bool = False) -> TopicList:
    return TopicList(name, topic, "hosts", "https://lists.example", "MIT", "0" * 64, rank, is_noisy=is_noisy)


NAMES = {
    source("lonely", "dating"): hosts(("datelove", "singlemeet")),
    source("smoke", "drugs"): [*hosts(("weedseed", "ganjaleaf")), NamedHost("weedseed-addiction-help.com")],
    source("noise", "drugs", is_noisy=True): [*hosts(("weedseed",)), NamedHost("violin-meadow77.com")],
    source("popular", "harmless", rank=100): [*hosts(PLAIN), NamedHost("datelove-singlemeet.com", 1)],
}


def trained(folder: Path) -> TopicModel:
    train(NAMES, {"dating": 0.02, "drugs": 0.02}, (), folder)
    return TopicModel(folder)


def test_it_learns_and_makes_the_same_bytes_again(tmp_path: Path) -> None:
    model = trained(tmp_path / "first")
    for host, expected in (("new-datelove.org", "dating"), ("best-weedseed.org", "drugs")):
        found = model.judge_text(text_of(host))
        assert found is not None
        assert found.category == expected
    assert model.judge_text(text_of("violin-meadow.com")) is None
    trained(tmp_path / "second")
    assert {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()
    }


def test_names_of_help_are_no_examples_of_a_topic() -> None:
    examples = gather(NAMES, ["dating", "drugs"])
    assert "weedseed-addiction-help.com" not in examples.hosts
    assert "weedseed-garden0.com" in examples.hosts
