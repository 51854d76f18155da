"""Cards of features at the named places of the core's pages, in the order of the features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from web_server import Web, running_web

from hedgerow.dashboards import templating
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.policies.model import DeviceId

POLICY = "people: {mia: {age: 9, devices: [tablet]}}\ndevices: {tablet: {ip: 127.0.0.2}}\n"
PAGES = {
    Place.TODAY: "/",
    Place.PERSON: "/people/mia",
    Place.PERSON_TIME: "/people/mia/time",
    Place.DEVICE: "/devices",
    Place.DEVICE_CHANGE: "/devices",
    Place.SETTINGS: "/settings",
    Place.NOTICES: "/settings/notices",
    Place.OWN_PAGE_START: "/device",
    Place.OWN_PAGE: "/device",
}


def _told(subject: object) -> str:
    """Return the name of a person or device, or the text of none."""
    return str(getattr(subject, "name", "") or getattr(subject, "id", "") or getattr(subject, "device", ""))


def _cards(name: str) -> tuple[Card, ...]:
    return tuple(Card(place=place, template="toy.html", read=_reader(f"{name} {place}")) for place in Place)


def _reader(name: str) -> Callable[[object, object], str]:
    return lambda _context, subject: f"{name}:{_told(subject)}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(POLICY)
    hidden = Card(place=Place.TODAY, template="toy.html", read=lambda _context, _subject: None)
    both = Extensions(cards=(*_cards("first"), hidden)) + Extensions(cards=_cards("second"))
    with running_web(tmp_path, extensions=both) as running:
        running.control.devices["127.0.0.1"] = DeviceView(DeviceId("tablet"), "mia", "child-8-12")
        yield running


def test_each_place_shows_its_cards_in_order(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.html").write_text("<p>[{{ card.value }}]</p>")
    monkeypatch.setattr(templating, "FEATURES", tmp_path)
    of_device = (Place.DEVICE, Place.DEVICE_CHANGE, Place.OWN_PAGE_START, Place.OWN_PAGE)
    subjects = {Place.PERSON: "mia", Place.PERSON_TIME: "mia", **dict.fromkeys(of_device, "tablet")}
    for place, path in PAGES.items():
        page = httpx.get(web.url + path, trust_env=False, timeout=60, verify=False).text
        subject = subjects.get(place, "")
        assert page.count(f"[first {place}:") == page.count(f"[second {place}:") == 1, place
        assert page.index(f"[first {place}:{subject}]") < page.index(f"[second {place}:{subject}]"), place
