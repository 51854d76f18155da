"""The manifest of topics, and names that are composed of words. Without numpy and scipy."""

from __future__ import annotations

from pathlib import Path

from recogniser_sources import TOPICS_MANIFEST, TopicList, load_topics, read_names

from hedgerow.blocklists.recognition.recogniser import DATA
from hedgerow.blocklists.recognition.topic_model import TopicModel

TOOLS = TOPICS_MANIFEST.parent


def test_the_manifest_names_what_the_shipped_topics_were_trained_on() -> None:
    meta, (shares, lists) = TopicModel(DATA).meta, load_topics()
    assert list(meta.topics) == list(shares)
    assert [(each.name, each.role, each.url, each.licence, each.sha256) for each in meta.sources] == [
        (each.name, each.topic, each.url, each.licence, each.sha256) for each in lists
    ]


def test_own_words_are_those_that_the_shipped_topics_were_trained_on() -> None:
    own = [each for each in load_topics()[1] if each.url.startswith("tools/recogniser_topic")]
    for each in own:
        assert read_names(each, TOOLS.parent / each.url)[1] == each.sha256, f"{each.url}: train again"


def test_names_of_a_topic_are_composed_of_its_lines_only(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("# comment\ndating | datelove : club now\ndrugs | weedseed : shop  # of one\n")
    dating = TopicList("invented", "dating", "topic-words", "https://lists.example", "MIT", "0" * 64)
    names = [each.host for each in read_names(dating, tmp_path / "words")[0]]
    assert names[0] == "datelove.com"
    assert any(name.startswith(("datelove-club", "datelovenow")) for name in names)
    assert not any("weed" in name for name in names)
