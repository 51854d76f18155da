"""The question when a site was registered, put to a server that speaks RDAP over HTTPS, and to some that do not keep to
it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from list_server import ListServer, Serve, send, slowly, text
from small_internet.authority import Authority, server_context

from hedgerow.app.control.snapshots.sites_seen import SitesSeenFile
from hedgerow.features.registration_age import rdap
from hedgerow.features.registration_age.rdap import (
    Question,
    Registration,
    find_server,
    load_bootstrap,
    look_up,
    look_up_in_subprocess,
    parse_bootstrap,
)
from hedgerow.features.registration_age.registrations import (
    LASTING_S,
    MAX_ATTEMPTS,
    MAX_WAITING,
    QUESTIONS_PER_HOUR,
    SILENT_S,
    RegistrationAges,
)
from hedgerow.features.registration_age.settings import REGISTRIES
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.sites_seen import DAY_S

SITE = "kleine-eisenbahn-freunde.net"
DAY_OF_2015 = 16_558  # 2015-05-03


def domain(*events: tuple[str, str], name: str = SITE, **more: object) -> bytes:
    """An answer with these events, each an action and a date, as RFC 9083 has it."""
    listed = [{"eventAction": action, "eventDate": date} for action, date in events]
    answer = {"rdapConformance": ["rdap_level_0"], "objectClassName": "domain", "ldhName": name, "events": listed}
    return json.dumps(answer | more).encode()


def leads_to(location: str) -> Serve:
    return lambda handler: send(handler, 302, location=location)


OLD = domain(
    ("registration", "2015-05-03T10:20:30Z"),
    ("expiration", "2027-05-03T10:20:30Z"),
    ("last changed", "2026-05-04T00:00:00Z"),
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ListServer]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    with ListServer(server_context(authority.leaf("127.0.0.1"))).serving() as server:
        yield server


def question(server: ListServer, folder: Path) -> Question:
    return Question(SITE, f"{server.root}/", folder)


@pytest.mark.parametrize(
    ("answer", "day"),
    [
        (OLD, DAY_OF_2015),
        (domain(("Registration", "2015-05-03t23:59:59.123456789+00:00"), name=SITE.upper() + "."), DAY_OF_2015),
        (domain(("registration", "2015-05-03")), DAY_OF_2015),
        (
            domain(("registration", "1999-01-01T00:00:00Z"), ("reregistration", "2015-05-03T00:00:00Z")),
            DAY_OF_2015,
        ),  # somebody else's by now
        (domain(("registration", "2015-05-02T20:00:00-05:00")), DAY_OF_2015),
        (domain(("last changed", "2015-05-03T00:00:00Z")), None),
        (domain(entities=[{"deep": [[[{}]]]}] * 100), None),
    ],
)
def test_the_date_of_an_answer_counts(server: ListServer, tmp_path: Path, answer: bytes, day: int | None) -> None:
    server.paths[f"/domain/{SITE}"] = text(answer)
    assert look_up(question(server, tmp_path)) == Registration(day)
    assert [path for path, _ in server.asked] == [f"/domain/{SITE}"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (text(b"<!doctype html>"), "not that of an RDAP server"),
        (text(b"[" * 60_000), "not that of an RDAP server"),
        (text(b'{"objectClassName": "domain", "x": ' + b"[" * 60_000), "not that of an RDAP server"),
        (text(b'{"objectClassName": "domain", "events": [{"eventAction": 7}]}'), "not that of an RDAP server"),
        (text(domain(pad="x" * 70_000)), "larger than 64 kB"),
        (text(domain(("registration", "2015-05-03T00:00:00Z"), name="example.net")), "about something else"),
        (text(OLD.replace(b'"domain"', b'"entity"')), "about something else"),
        (text(domain(("registration", "2999-01-01T00:00:00Z"))), "can't be right"),
        (text(domain(("registration", "0001-01-01T00:00:00+14:00"))), "can't be right|is none"),
        (text(domain(("registration", "yesterday"))), "is none"),
        (leads_to(f"/domain/{SITE}"), "redirects"),
        (leads_to(f"http://rdap.example/domain/{SITE}"), "without encryption"),
        (leads_to("https://localhost:1/"), "inside the network"),
        (leads_to("https://[::1]/"), "inside the network"),
        (leads_to("https://192.168.1.1/"), "inside the network"),
        (leads_to("https://[64:ff9b::7f00:1]/"), "inside the network"),
        (lambda handler: send(handler, 400), "answers 400"),
    ],
)
def test_a_useless_answer_is_not_asked_for_again(
    server: ListServer, tmp_path: Path, answer: Serve, problem: str
) -> None:
    server.paths[f"/domain/{SITE}"] = answer
    found = look_up(question(server, tmp_path))
    assert (found.day, found.wait_s) == (None, None)
    assert found.problem
    assert any(each in found.problem for each in problem.split("|"))


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (lambda handler: send(handler, 429, retry_after="120"), 120.0),
        (lambda handler: send(handler, 503, retry_after="99999999999"), 0.0),
        (lambda handler: send(handler, 503, retry_after="999999999"), DAY_S),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), 0.0),
        (lambda _handler: None, 0.0),
        (leads_to("https://[/"), 0.0),
    ],
)
def test_a_busy_server_is_asked_again_later(server: ListServer, tmp_path: Path, answer: Serve, wait_s: float) -> None:
    server.paths[f"/domain/{SITE}"] = answer
    found = look_up(question(server, tmp_path))
    assert (found.day, found.wait_s) == (None, wait_s)
    assert found.problem


def test_a_server_that_is_slow_or_not_trusted_is_given_up(
    server: ListServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.paths[f"/domain/{SITE}"] = slowly(OLD, 60.0)
    monkeypatch.setattr(rdap, "_SECONDS", 0.2)
    assert look_up(question(server, tmp_path)).wait_s == 0.0
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "not trusted" in look_up(question(server, tmp_path)).problem
    assert len(server.asked) == 1


def test_a_site_that_the_server_does_not_know_is_no_failure(server: ListServer, tmp_path: Path) -> None:
    assert look_up(question(server, tmp_path)) == Registration()


def test_the_question_is_put_by_a_confined_process(server: ListServer, tmp_path: Path) -> None:
    server.paths[f"/moved/{SITE}"] = text(OLD)
    server.paths[f"/domain/{SITE}"] = leads_to(f"/moved/{SITE}")
    assert asyncio.run(look_up_in_subprocess(question(server, tmp_path / "new" / "folder"))) == Registration(
        DAY_OF_2015
    )


LISTED = {
    "com": ["https://rdap.example/com/v1/"],
    "co.uk": ["https://uk.example"],
    "uk": ["https://else.example/"],
    "xyz": ["http://x.example/"],
}
BOOTSTRAP = json.dumps({"version": "1.0", "services": [[[suffix], urls] for suffix, urls in LISTED.items()]}).encode()


@pytest.mark.parametrize(
    ("site", "server"),
    [
        ("a.com", "https://rdap.example/com/v1/"),
        ("a.co.uk", "https://uk.example/"),
        ("a.me.uk", "https://else.example/"),
        ("a.xyz", ""),
        ("a.de", ""),
    ],
)
def test_the_registry_is_that_of_the_longest_suffix(site: str, server: str) -> None:
    assert find_server(parse_bootstrap(BOOTSTRAP), site) == server


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"services": []}', b'{"services": [[["com"]]]}', b"[" * 90_000, b'{"services": [["com", "x"]]}'],
)
def test_a_damaged_list_of_servers_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="IANA"):
        parse_bootstrap(data)


def test_the_last_good_list_of_servers_stays(server: ListServer, tmp_path: Path) -> None:
    url, place = f"{server.root}/dns.json", tmp_path / "dns.json"
    server.paths["/dns.json"] = text(BOOTSTRAP)
    assert load_bootstrap(tmp_path, url) == load_bootstrap(tmp_path, url) == LISTED
    assert len(server.asked) == 1
    for bad in (text(b"<html>"), lambda handler: send(handler, 500)):
        server.paths["/dns.json"] = bad
        os.utime(place, (0.0, time.time() - 8 * DAY_S))
        assert load_bootstrap(tmp_path, url) == load_bootstrap(tmp_path, url) == LISTED
    assert len(server.asked) == 3
    place.unlink()
    with pytest.raises(Exception, match="IANA's list of servers can't be had"):
        load_bootstrap(tmp_path, url)


class Home:
    """The queue of a home with its table of sites, a clock that is set by hand, and a server that answers as the test
    says.
    """

    def __init__(self, folder: Path, whom: str = REGISTRIES) -> None:
        self.now, self.published, self.asked = 0.0, 0, list[str]()
        self.answer = Registration(DAY_OF_2015)
        self.policy = parse_policy(
            f"people: {{mia: {{age: 6}}}}\nnetwork: {{registration_age: '{whom}'}}".encode(), Path("hedgerow.yaml")
        )
        self.asks: Policy = self.policy
        self.sites = SitesSeenFile(folder)
        self.sites.prepare(self.policy)
        self.ages = RegistrationAges(
            folder,
            policy=lambda: self.asks,
            sites=self.sites,
            publish=self.publish,
            clock=lambda: self.now,
            ask=self.ask,
        )

    def publish(self) -> None:
        self.published += 1

    async def ask(self, question: Question) -> Registration:
        self.asked.append(question.site)
        return self.answer

    def step(self) -> str:
        return asyncio.run(self.ages.step())


def test_each_site_is_asked_about_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for site in (SITE, SITE, "", "no_such", "EXAMPLE.net", "example.net/x"):
        home.ages.want(site)
    assert [home.step() for _ in range(3)] == ["answered", "", ""]
    home.ages.want(SITE)
    home.sites.prepare(home.policy)
    home.ages.want(SITE)
    assert (home.step(), home.asked, home.published) == ("", [SITE], 1)


def test_a_site_without_a_date_is_asked_about_again_the_next_day(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.answer = Registration()
    home.ages.want(SITE)
    assert home.step() == "unknown"
    home.now = SILENT_S - 1
    home.ages.want(SITE)
    assert home.step() == ""
    home.now = SILENT_S
    home.ages.want(SITE)
    assert (home.step(), home.published) == ("unknown", 0)


@pytest.mark.parametrize("day", [-1, 70_000, 10**12])
def test_a_day_that_the_table_cannot_hold_is_none(tmp_path: Path, day: int) -> None:
    home = Home(tmp_path)
    home.answer = Registration(day)
    home.ages.want(SITE)
    assert (home.step(), home.published, home.sites.prepare(home.policy)) == ("unknown", 0, tmp_path / "sites_seen")


def test_a_busy_registry_is_left_alone_for_longer_each_time_and_others_are_not(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.answer = Registration(problem="the server answers 429", wait_s=100.0)
    home.ages.want(SITE)
    asked_at = []
    while home.ages._waiting:
        if home.step():
            asked_at.append(home.now)
        home.now += 10.0
    pauses = [after - before for before, after in itertools.pairwise(asked_at)]
    assert (pauses, len(home.asked)) == ([100.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0], MAX_ATTEMPTS)
    home.answer = Registration(DAY_OF_2015)
    home.ages.want("eine-andere.org")
    home.ages.want("noch-eine.net")
    assert (home.step(), home.asked[-1]) == ("answered", "eine-andere.org")
    assert home.step() == ""  # .net rests


def test_the_doctor_is_told_of_a_lasting_failure_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.answer = Registration(problem="the server answers 503", wait_s=0.0)
    home.ages.want(SITE)
    home.step()
    home.now = LASTING_S - 1
    assert home.ages.lasting_problem == ""
    home.now = LASTING_S
    assert home.ages.lasting_problem == "the server answers 503"
    home.answer = Registration()
    assert (home.step(), home.ages.lasting_problem) == ("unknown", "")


def test_questions_per_hour_and_in_the_queue_are_limited(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for number in range(2 * MAX_WAITING):
        home.ages.want(f"site-{number}.net")
    assert [home.step() for _ in range(QUESTIONS_PER_HOUR + 1)] == ["answered"] * QUESTIONS_PER_HOUR + [""]
    home.now = 3600.0
    assert [home.step() for _ in range(MAX_WAITING)].count("answered") == QUESTIONS_PER_HOUR
    assert len(home.ages._waiting) == MAX_WAITING - 2 * QUESTIONS_PER_HOUR


def test_nobody_is_asked_without_the_policys_word(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ages.want(SITE)
    home.asks = Policy()
    assert home.step() == ""
    home.asks = home.policy
    assert (home.step(), home.asked) == ("", [])
