"""The policy as one document: read with its includes, patched, and written back with its comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.dashboards.edits.document import (
    document_edits,
    is_shallow,
    merge,
    normal_document,
    read_document,
    rewrite_texts,
    texts_tag,
)

FAMILY = """\
# The family's policy.
network:
  timezone: Europe/Lisbon   # where we live
people:
  mia:
    age: 9             # she will be ten in May
    devices: [mia-tablet]
    # no games before supper
    block: [roblox]
  tom:
devices:
  mia-tablet: {mac: "aa:bb:cc:dd:ee:ff"}   # with a crack
lists:
  - {source: oisd}    # the big one
  - {category: adult, url: "https://lists.example/a.txt"}
"""


def rewritten(text: str, wanted: dict[str, Any]) -> str:
    return rewrite_texts({"hedgerow.yaml": text}, Path("/nowhere"), wanted)["hedgerow.yaml"]


def read(text: str) -> dict[str, Any]:
    return read_document({"hedgerow.yaml": text}, Path("/nowhere"))


def test_what_was_read_changes_nothing() -> None:
    document = read(FAMILY)
    assert document["people"] == {"mia": {"age": 9, "devices": ["mia-tablet"], "block": ["roblox"]}, "tom": {}}
    assert document_edits(document, read(FAMILY)) == []
    assert rewritten(FAMILY, document) == FAMILY


def test_comments_of_what_stays_are_kept() -> None:
    wanted = merge(
        read(FAMILY),
        {"people": {"mia": {"age": 10, "bedtime": "20:30-07:00"}, "tom": None}, "lists": [{"source": "oisd"}]},
    )
    text = rewritten(FAMILY, wanted)
    assert read(text) == wanted
    for comment in (
        "# The family's policy.",
        "# where we live",
        "# she will be ten in May",
        "# with a crack",
        "# the big one",
    ):
        assert comment in text
    assert "lists.example" not in text


def test_a_whole_policy_is_written_into_an_empty_file() -> None:
    text = rewritten("# ours\n", read(FAMILY))
    assert read(text) == read(FAMILY)
    assert text.startswith("# ours\n")
    assert read(rewritten(text, {})) == {}


def test_entries_are_changed_in_the_file_that_has_them(tmp_path: Path) -> None:
    texts = {
        "hedgerow.yaml": "include: people/*.yaml\npeople: {ana: {age: 41}}\n",
        "people/mia.yaml": "people:\n  mia: {age: 9}  # mine\n",
    }
    (tmp_path / "people").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    wanted = merge(read_document(texts, tmp_path), {"people": {"mia": {"age": 10}, "tom": {"age": 15}}})
    after = rewrite_texts(texts, tmp_path, wanted)
    assert after["people/mia.yaml"] == "people:\n  mia: {age: 10} # mine\n"
    assert "tom" in after["hedgerow.yaml"]
    without = rewrite_texts(texts, tmp_path, {"include": "people/*.yaml"})
    assert read_document(without, tmp_path) == {"include": "people/*.yaml"}


def test_a_file_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(ValueError, match="mistakes"):
        read("people: [\n")
    with pytest.raises(ValueError, match="not a mapping"):
        read("- a\n")


def test_what_yaml_would_read_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="without a change of its meaning"):
        rewritten("", {"people": {"mia": {"age": 9.5}}})


def test_tags_tell_texts_apart() -> None:
    assert texts_tag({"a": "x"}) == texts_tag({"a": "x"}) != texts_tag({"a": "y"})


def test_depth_is_limited_without_recursion() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert not is_shallow({"a": deep})
    assert is_shallow({"a": {"b": [{"c": 1}]}})


_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé-1 :#'", min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
_NAMES = st.text("abcdeé 12.-", min_size=1, max_size=6)
_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "people": st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=3), max_size=3),
        "devices": st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=2), max_size=3),
        "lists": st.lists(st.dictionaries(_NAMES, st.text("abc:/", max_size=8), min_size=1, max_size=2), max_size=3),
        "bedtime": _VALUES,
    },
)


@settings(max_examples=60, deadline=None)
@given(_DOCUMENTS, _DOCUMENTS)
def test_any_document_is_written_so_that_it_reads_the_same_or_is_refused(
    before: dict[str, Any], wanted: dict[str, Any]
) -> None:
    try:
        text = rewritten("# kept\n" + rewritten("", before), wanted)
        found = read(text)
    except ValueError:
        return
    assert {**found, "lists": None} == {**normal_document(wanted), "lists": None}
    assert "# kept" in text


@given(_DOCUMENTS, _DOCUMENTS)
def test_a_patch_adds_and_removes(document: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = merge(document, patch)
    assert merge(merged, patch) == merged
    assert merge(merged, dict.fromkeys(merged)) == {}
