"""Policies in several files, and calendars."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.yaml_tree import read_tree

CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//school//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20261221
DTEND;VALUE=DATE:20270104
SUMMARY:Winter
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20260610
RRULE:FREQ=YEARLY
SUMMARY:Dia de Portugal
END:VEVENT
END:VCALENDAR
"""


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "hedgerow.yaml"


def test_people_in_separate_files(tmp_path: Path) -> None:
    main = "include: people/*.yaml\npeople: {ana: {age: 41}}\nlists: [{category: adult, path: a.txt}]\n"
    mia = (
        "people: {mia: {age: 9, devices: [tablet]}}\ndevices: {tablet: {ip: 192.168.1.9}}\nlists: [{category: gambling,"
        " path: g.txt}]\n"
    )
    path = _write(
        tmp_path, {"hedgerow.yaml": main, "people/mia.yaml": mia, "people/tom.yaml": "people: {tom: {age: 15}}\n"}
    )
    policy = load_policy(path)
    assert list(policy.people) == ["ana", "mia", "tom"]
    assert policy.devices["tablet"].person == "mia"
    assert [source.category for source in policy.lists] == ["adult", "gambling"]
    assert policy.files == (str(tmp_path / "people/mia.yaml"), str(tmp_path / "people/tom.yaml"))
    assert policy.people["tom"].origin is not None
    assert str(policy.people["tom"].origin) == f"{tmp_path / 'people/tom.yaml'}:1"


def test_mistakes_name_the_included_file(tmp_path: Path) -> None:
    files = {
        "hedgerow.yaml": "include: [a.yaml, b.yaml, c.yaml]\npeople:\n  mia: {age: 9}\n",
        "a.yaml": "# a comment\npeople:\n  mia: {age: 8}\n  tom: {agee: 15}\n",
        "b.yaml": "network: {timezone: UTC}\nlists: [{category: adult, path: x}, {category: adult}]\n",
        "c.yaml": "- a\n",
    }
    with pytest.raises(PolicyError) as caught:
        load_policy(_write(tmp_path, files))
    reported = [
        (Path(problem.source).name, problem.line, problem.column, problem.message) for problem in caught.value.problems
    ]
    expected = [
        ("a.yaml", 3, 3, "'mia' is given twice: first in"),
        ("a.yaml", 4, 9, "unknown key 'agee'. Did you mean age?"),
        ("b.yaml", 1, 1, "'network' is not allowed in an included file"),
        ("b.yaml", 2, 37, "a list needs either a url or a path"),
        ("c.yaml", 1, 1, "a policy is a mapping"),
    ]
    assert [each[:3] for each in reported] == [each[:3] for each in expected], reported
    for found, wanted in zip(reported, expected, strict=True):
        assert wanted[3] in found[3]


def test_a_file_is_included_once_and_not_nested(tmp_path: Path) -> None:
    path = _write(
        tmp_path, {"hedgerow.yaml": "include: [a.yaml, '*.yaml', a.yaml]\n", "a.yaml": "people: {mia: {age: 9}}\n"}
    )
    with pytest.raises(PolicyError, match="'include' is not allowed in an included file"):
        load_policy(path)
    path.write_text("include: [a.yaml, 'a*.yaml']\n")
    assert list(load_policy(path).people) == ["mia"]


def test_holidays_from_a_calendar(tmp_path: Path) -> None:
    path = _write(
        tmp_path, {"hedgerow.yaml": "network: {holidays: [school.ics, 2026-11-01]}\n", "school.ics": CALENDAR}
    )
    policy = load_policy(path)
    holidays = set(policy.network.holidays)
    assert {date(2026, 12, 21), date(2027, 1, 3), date(2026, 6, 10), date(2031, 6, 10), date(2026, 11, 1)} <= holidays
    assert not {date(2027, 1, 4), date(2026, 12, 20)} & holidays, (
        "the end of an event of whole days is the day after its last"
    )
    assert policy.files == (str(tmp_path / "school.ics"),)


@pytest.mark.parametrize(
    "text", ["", "hello", "BEGIN:VCALENDAR\nEND:VCALENDAR\n", CALENDAR.replace("20261221", "2026x"), "\x00\x01"]
)
def test_an_invalid_calendar_is_reported(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, {"hedgerow.yaml": "network: {holidays: [school.ics]}\n", "school.ics": text})
    with pytest.raises(PolicyError, match=r"school\.ics"):
        load_policy(path)


def test_a_file_that_is_read_again_is_a_tree_of_its_own() -> None:
    data = b"people: {mia: {age: 9, block: [roblox]}}"
    first = read_tree(data, "a.yaml")
    expected = read_tree(data, "b.yaml")
    assert (first.source, expected.source) == ("a.yaml", "b.yaml")
    first.value["people"]["mia"]["block"].append("tiktok")  # type: ignore[index,call-overload,union-attr]
    first.places.clear()
    first.add_problem((), "a mistake")
    assert read_tree(data, "b.yaml") == expected
