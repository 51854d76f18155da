"""Edits preserve comments, order, quotes, and the spaces of unchanged lines."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.dashboards.edits.policy_editor import NEW_FILE_HEADER
from hedgerow.dashboards.edits.yaml_text import (
    _edit,
    apply_edits,
    apply_edits_to_files,
    diff,
    exclude,
    include,
    put,
    put_times,
    remove,
    rename,
)
from hedgerow.policies.reading.load import PolicyError, parse_policy

EXAMPLES = Path(__file__).parents[3] / "examples"

HAND_WRITTEN = """\
# Our house. Do not touch without asking Ana!

network:
   timezone: Europe/Lisbon      # we moved in 2019
   country: PT
   # the printer is at .20
   lan: [ 192.168.1.0/24 ]

# --- the children ---------------------------------
people:
   mia:                         # born in May
      age: 9
      devices: [ mia-tablet,  console ]   # two of them
      # no games before supper
      block:
         - roblox               # after what happened in June
         # she asked for this one back
         - tiktok
         - "youtube.com/shorts"
      # until the summer
      bedtime: { school-nights: "20:30-07:00", weekend: "21:30-08:00", holidays: "22:00-09:00" }
   # Tom is nearly grown up
   tom: { age: 15 }             # lives here every other week

devices:
   mia-tablet: { mac: 'aa:bb:cc:dd:ee:09' }   # with a crack
   console: { ip: 192.168.1.40 }
   # the old one is in the attic

# end of file
"""

EDITS = {
    "an age": [put(("people", "mia", "age"), 10)],
    "a country": [put(("network", "country"), "ES")],
    "a zone": [put(("network", "timezone"), "Europe/Madrid")],
    "no country": [remove(("network", "country"))],
    "a setting more": [put(("network", "unknown_devices"), "teen-13-15")],
    "one more in a list of lines": [include(("people", "mia", "block"), "fortnite")],
    "one less: the first": [exclude(("people", "mia", "block"), "roblox")],
    "one less: of the middle": [exclude(("people", "mia", "block"), "tiktok")],
    "one less: the last": [exclude(("people", "mia", "block"), "youtube.com/shorts")],
    "the same twice": [include(("people", "mia", "block"), "roblox")],
    "a list that was not there": [include(("people", "tom", "allow"), "scratch.mit.edu")],
    "one more in a list on one line": [
        include(("people", "mia", "devices"), "mia-phone"),
        put(("devices", "mia-phone"), {"ip": "192.168.1.41"}),
    ],
    "one less in a list on one line": [exclude(("people", "mia", "devices"), "console")],
    "somebody new": [put(("people", "zoe"), {"age": 4})],
    "somebody less: the last": [remove(("people", "tom"))],
    "nights": [put_times(("people", "mia", "bedtime"), {"school-nights": "20:00-07:00"})],
    "the same nights every day": [put_times(("people", "mia", "bedtime"), "20:00-07:00")],
    "a device by another name": [
        rename(("devices", "console"), "playstation"),
        exclude(("people", "mia", "devices"), "console"),
    ],
    "a list of one's own": [include(("lists",), {"category": "adult", "url": "https://example.org/a.txt"})],
    "a device less": [exclude(("people", "mia", "devices"), "console"), remove(("devices", "console"))],
    "rules of the house": [include(("block",), "gambling")],
}


def comments(text):
    return [line[line.index("#") :].strip() for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("name", EDITS)
def test_every_comment_stays(name):
    """A comment beside a removed value moves to a line of its own."""
    after = apply_edits(HAND_WRITTEN, EDITS[name])
    parse_policy(after.encode(), None)
    assert sorted(comments(after)) == sorted(comments(HAND_WRITTEN))
    gone = [line for line in diff(HAND_WRITTEN, after) if line.startswith("-")]
    assert all(not line[1:].lstrip().startswith("#") for line in gone), gone


def test_twenty_edits_one_after_another_keep_every_comment_in_its_order():
    text = HAND_WRITTEN
    for edits in EDITS.values():
        text = apply_edits(text, edits)
        parse_policy(text.encode(), None)
    own_lines = [line.strip() for line in HAND_WRITTEN.splitlines() if line.strip().startswith("#")]
    assert [line.strip() for line in text.splitlines() if line.strip() in own_lines] == own_lines
    assert sorted(comments(text)) == sorted(comments(HAND_WRITTEN))


def test_a_comment_beside_a_removed_value_stays():
    after = apply_edits(HAND_WRITTEN, [exclude(("people", "mia", "block"), "roblox"), remove(("people", "tom"))])
    lines = [line.strip() for line in after.splitlines()]
    assert (
        lines.index("# no games before supper") < lines.index("# after what happened in June") < lines.index("- tiktok")
    )
    assert (
        lines.index("# Tom is nearly grown up") < lines.index("# lives here every other week") < lines.index("devices:")
    )


MAIN = (
    "include: people/*.yaml   # one file for each\npeople: {ana: {age: 41}}   # me\nlists:\n  - {category: adult, url:"
    ' "https://a.example/l"}\n'
)
MIA = """\
# Mia's own file
people:
  mia:
    age: 9            # ten in May
    block: [roblox]   # since June
devices:
  tablet: {ip: 192.168.1.3}
"""


@pytest.mark.parametrize(
    ("edits", "changed"),
    [
        ([put(("people", "mia", "age"), 10)], ["mia"]),
        (
            [exclude(("people", "mia", "block"), "roblox"), include(("people", "mia", "allow"), "scratch.mit.edu")],
            ["mia"],
        ),
        ([put(("people", "ana", "age"), 42)], ["main"]),
        ([put(("people", "zoe"), {"age": 3})], ["main"]),
        ([include(("people", "ana", "devices"), "tablet"), exclude(("people", "mia", "devices"), "tablet")], ["main"]),
        ([remove(("devices", "tablet")), put(("network", "country"), "PT")], ["main", "mia"]),
        ([include(("lists",), {"category": "adult", "url": "https://b.example/l"})], ["main"]),
        ([put_times(("people", "mia", "bedtime"), "21:00-07:00")], ["mia"]),
    ],
)
def test_an_edit_applies_to_the_file_with_its_path(edits, changed):
    before = {"main": MAIN, "mia": MIA}
    after = apply_edits_to_files(before, edits)
    assert [name for name in before if before[name] != after[name]] == changed
    for name in before:
        assert sorted(comments(after[name])) == sorted(comments(before[name]))


def test_only_the_edited_lines_change():
    changed = [line for line in diff(HAND_WRITTEN, apply_edits(HAND_WRITTEN, EDITS["an age"])) if line[0] in "+-"]
    assert changed == ["-      age: 9", "+      age: 10"]


def test_holidays_stay_when_the_nights_of_ordinary_weeks_change():
    after = apply_edits(HAND_WRITTEN, EDITS["nights"])
    assert '"22:00-09:00"' in after
    assert '"20:30-07:00"' not in after


@pytest.mark.parametrize("name", ["family.yaml", "cafe.yaml", "shared-house.yaml"])
def test_the_examples_keep_their_comments(name):
    text = (EXAMPLES / name).read_text()
    after = apply_edits(text, [put(("network", "country"), "FR"), put(("people", "new one"), {"age": 3})])
    parse_policy(after.encode(), EXAMPLES / name)
    assert comments(after) == comments(text)


def test_an_edit_that_changes_nothing_leaves_the_text_alone():
    assert (
        apply_edits(HAND_WRITTEN, [put(("network", "country"), "PT"), exclude(("people", "tom", "block"), "roblox")])
        == HAND_WRITTEN
    )


def test_the_first_change_begins_a_file():
    text = apply_edits(NEW_FILE_HEADER, [put(("network", "country"), "NO"), put(("people", "no"), {"age": 9})])
    policy = parse_policy(text.encode(), None)
    assert (policy.network.country, list(policy.people)) == ("NO", ["no"])
    assert text.startswith("# ")


@pytest.mark.parametrize("text", ["- a\n- list\n", "just text\n", "a: [1\n", "people: 7\n"])
def test_text_that_is_not_a_policy_is_refused(text):
    with pytest.raises(ValueError, match=r"policy file|not a mapping"):
        apply_edits(text, [put(("people", "mia", "age"), 9)])


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20)


@given(NAMES, NAMES)
def test_no_name_escapes_its_yaml_value(name, note):
    """Any name and note is stored as it is and adds nothing else."""
    before = parse_policy(HAND_WRITTEN.encode(), None)
    try:
        after = parse_policy(
            apply_edits(HAND_WRITTEN, [put(("people", name), {"age": 9}), put(("people", "mia", "age"), 11)]).encode(),
            None,
        )
    except (ValueError, PolicyError):
        return
    assert set(after.people) == {*before.people, name}
    assert after.network == before.network
    assert set(after.devices) == set(before.devices)


# a comment at the end of the file stays where it is, before a new section
@pytest.mark.parametrize("name", sorted(EDITS.keys() - {"a list of one's own", "rules of the house"}))
def test_an_entry_is_changed_as_if_the_whole_file_had_been_read(name):
    assert apply_edits(HAND_WRITTEN, EDITS[name]) == _edit(HAND_WRITTEN, EDITS[name])


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("  mia: &mia\n    age: 9\n  ben: *mia\n", "  mia: &mia\n    age: 9\n    block: [tiktok]\n  ben: *mia\n"),
        (
            '  mia: {age: 9,\n    block: [roblox]}\n\n  # a comment\n  "ben": {age: 5}\n',
            '  mia: {age: 9, block: [roblox, tiktok]}\n\n  # a comment\n  "ben": {age: 5}\n',
        ),
        (
            "  ben: {age: 5}\n  mia:\n    block:\n    - roblox  # why\n# the end\n",
            "  ben: {age: 5}\n  mia:\n    block:\n    - roblox  # why\n    - tiktok\n# the end\n",
        ),
        ("  ben: {age: 5}\n  mia: {age: 9}", "  ben: {age: 5}\n  mia: {age: 9, block: [tiktok]}\n"),
    ],
)
def test_the_neighbours_of_an_entry_stay(before, expected):
    head = "network: {country: PT}\npeople:  # all of them\n"
    assert apply_edits(head + before, [include(("people", "mia", "block"), "tiktok")]) == head + expected


def test_an_entry_in_braces_is_changed():
    before = {"people": {"mia": {"age": 9}, "ben": {"age": 5}}}
    after = apply_edits(json.dumps(before, indent=1), [include(("people", "mia", "block"), "tiktok")])
    assert yaml.safe_load(after) == {"people": {"mia": {"age": 9, "block": ["tiktok"]}, "ben": {"age": 5}}}
