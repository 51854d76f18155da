"""An edit parses only the entries that it may change, and leaves everything else in the file as it is."""

import pytest
import yaml

from hedgerow.dashboards.edits.devices import owner_edits, rename_device_edits
from hedgerow.dashboards.edits.household import name_device_edits, remove_device_edits
from hedgerow.dashboards.edits.yaml_text import _edit, apply_edits, excerpt_for, exclude, include, put, remove, rename
from hedgerow.policies.reading.load import parse_policy

MANY = 300


@pytest.fixture(scope="module")
def school():
    """The text of a policy with many people and devices."""
    people = "".join(f"  p{number}: {{age: 9, devices: [d{number}]}}\n" for number in range(MANY))
    devices = "".join(f"  d{number}:\n    ip: 10.0.{number // 200}.{number % 200 + 1}\n" for number in range(MANY))
    return f"network:\n  country: PT\npeople:\n{people}\n# Bought by the city\ndevices:\n{devices}"


EDITS = {
    "a new person": lambda _policy: [put(("people", "zoe"), {"age": 9})],
    "an older person": lambda _policy: [put(("people", "p70", "age"), 10)],
    "a person less": lambda _policy: [remove(("people", "p70"))],
    "the last person": lambda _policy: [remove(("people", f"p{MANY - 1}"))],
    "a new device": lambda policy: name_device_edits(policy, "10.0.9.9", "tablet", ""),
    "a new device of somebody": lambda policy: name_device_edits(policy, "10.0.9.9", "tablet", "p8"),
    "a device less": lambda policy: remove_device_edits(policy, "d80"),
    "a renamed device": lambda policy: rename_device_edits(policy, "d80", "tablet"),
    "another owner": lambda policy: owner_edits(policy, "d80", "person:p9"),
    "another country": lambda _policy: [put(("network", "country"), "ES")],
    "a first seat": lambda _policy: [put(("seats", "seat-1"), {"ip": "10.0.9.9"})],
}


@pytest.mark.parametrize("name", EDITS)
def test_the_work_for_an_edit_does_not_grow_with_the_file(school, name):
    edits = EDITS[name](parse_policy(school.encode(), None))
    assert len(excerpt_for(school, edits).text.splitlines()) < 25
    after = apply_edits(school, edits)
    parse_policy(after.encode(), None)
    assert yaml.safe_load(after) == yaml.safe_load(_edit(school, edits)) != yaml.safe_load(school)
    old, new = set(school.splitlines()), set(after.splitlines())
    assert max(len(old - new), len(new - old)) <= 4


TEXTS = {
    "windows": "people:\r\n  ana: {age: 30}\r\n  mia:\r\n    age: 9\r\n\r\n  # why\r\n  tom: {age: 8}\r\n",
    "quoted": '"people":\n  \'ana\': {age: 30}\n  "mia": {age: 9}\n  tom: {age: 8}\n',
    "anchors": "people:\n  ana: &a {age: 30}\n  mia: {age: 9}\n  tom: {age: 8}\n  ben: *a\n",
    "braces": "people: {ana: {age: 30}, mia: {age: 9}, tom: {age: 8}}\n",
    "open end": "people:\n  ana: {age: 30}\n  mia: {age: 9}\n  tom: {age: 8}",
    "end of a document": "---\npeople:\n  ana: {age: 30}\n  mia: {age: 9}\n  tom: {age: 8}\n...\n",
    "several lines": "people:\n  ana: {age: 30}\n  mia: {age: 9,\n    block: [roblox,\n  tiktok]}\n  tom: {age: 8}\n",
    "block text": "people:\n  ana:\n    note: |\n      mia: 1\n\n      # text\n  mia: {age: 9}\n  tom: {age: 8}\n",
    "no indent": "people:\n ana:\n  block:\n  - roblox\n mia: {age: 9}\n tom: {age: 8}\n",
    "the placeholder's name": "people:\n  omitted-entries-0: 0\n  ana: {age: 30}\n  mia: {age: 9}\n  tom: {age: 8}\n",
}
CHANGES = {
    "change": [put(("people", "mia", "age"), 10)],
    "add": [put(("people", "zoe"), {"age": 4})],
    "remove": [remove(("people", "mia"))],
    "remove the last": [remove(("people", "tom"))],
    "rename": [rename(("people", "mia"), "maria")],
    "include": [include(("people", "tom", "allow"), "scratch.mit.edu")],
    "remove what is not there": [exclude(("people", "mia", "allow"), "scratch.mit.edu")],
    "remove all": [remove(("people",))],
    "another section": [put(("devices", "pc"), {"ip": "10.0.0.1"})],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("text", TEXTS)
def test_an_edit_means_the_same_as_one_of_the_whole_file(text, change):
    before, edits = TEXTS[text], CHANGES[change]
    after = apply_edits(before, edits)
    assert yaml.safe_load(after) == yaml.safe_load(_edit(before, edits))
    assert ("# why" in after) is ("# why" in before)
    if change == "remove what is not there":
        assert after == before


def test_a_comment_after_an_entry_stays_behind_it():
    people = "people:\n  mia: {age: 9}\n  tom: {age: 8}\n  # on holiday until May\n\n# the end\n"
    assert apply_edits(people, [include(("block",), "gambling")]) == f"{people}block: [gambling]\n"
