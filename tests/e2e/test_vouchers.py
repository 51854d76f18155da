"""Café seats that a voucher opens, and the audit for inspections."""

from __future__ import annotations

import csv
import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

SEAT, OTHER, COUNTER, THIRD = "127.0.0.6", "127.0.0.7", "127.0.0.8", "127.0.0.9"
POLICY = """
unopened_seats: closed
block: [news.example]
seats:
  seat-1: {ip: 127.0.0.6}
  seat-2: {ip: 127.0.0.7}
  seat-3: {ip: 127.0.0.9}
devices:
  counter: {ip: 127.0.0.8, profile: adult}
"""


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY) as each:
        yield each


def seat_command(cafe: Hedgerow, *words: str) -> str:
    done = hedgerow_command("seat", *words, "--state", str(cafe.state))
    assert done.returncode == 0, done.stderr
    return done.stdout


def vouchers(cafe: Hedgerow, count: int, minutes: int, band: str) -> list[str]:
    return seat_command(cafe, "vouchers", str(count), "--minutes", str(minutes), "--as", band).split()


def is_open(cafe: Hedgerow, name: str, source: str) -> bool:
    return kdig_addresses(cafe.dns, name, source=source) != ["0.0.0.0"]


def type_code(cafe: Hedgerow, code: str, source: str) -> tuple[int, str]:
    command = ["curl", "-s", "-w", "\n%{http_code}", "--interface", source, "-H", f"Origin: {cafe.web}"]
    command += ["-d", urllib.parse.urlencode({"code": code}), f"{cafe.web}/device/voucher"]
    text, _, status = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.rpartition(
        "\n"
    )
    return int(status), text


def own_page(cafe: Hedgerow, source: str) -> str:
    return subprocess.run(
        ["curl", "-s", "--interface", source, f"{cafe.web}/device"], capture_output=True, text=True, check=True
    ).stdout


def portal(cafe: Hedgerow, source: str) -> tuple[str, dict[str, object]]:
    """Content type and facts of the API of RFC 8908."""
    words = ["curl", "-s", "-w", "\n%{content_type}", "--interface", source, f"{cafe.web}/captive-portal"]
    text, _, kind = subprocess.run(words, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return kind, json.loads(text)


def test_a_guest_with_a_voucher(cafe: Hedgerow, internet: SmallInternet) -> None:
    wait_until(lambda: not is_open(cafe, "school.example", SEAT), 30, "nobody has opened it")
    assert is_open(cafe, "school.example", COUNTER)
    assert is_open(cafe, "www.childline.org.uk", SEAT)
    page = curl(internet.url("school.example", scheme="http"), proxy=cafe.proxy, source=SEAT)
    assert (page.status, page.headers["location"]) == (302, [f"{cafe.web}/device"])
    assert "Your voucher code" in own_page(cafe, SEAT)
    assert portal(cafe, SEAT) == (
        "application/captive+json",
        {"captive": True, "user-portal-url": f"{cafe.web}/device", "seat": "seat-1", "called": False},
    )

    first, second = vouchers(cafe, 2, 60, "child")
    status, text = type_code(cafe, "AAAA-AAAA", SEAT)
    assert status == 422
    assert "This voucher is not valid" in text
    assert type_code(cafe, f" {first.lower().replace('-', chr(0x2013))} ", SEAT)[0] == 303
    wait_until(lambda: is_open(cafe, "school.example", SEAT), 30, "the seat is open")
    assert not is_open(cafe, "news.example", SEAT), "under the café's rules"
    assert not is_open(cafe, "school.example", OTHER)
    facts = portal(cafe, SEAT)[1]
    assert not facts["captive"]
    assert 3500 < int(str(facts["seconds-remaining"])) <= 3600

    assert type_code(cafe, first, OTHER)[0] == 422, "it was used"
    assert type_code(cafe, second, SEAT)[0] == 303, "more time"
    wait_until(lambda: 7100 < int(str(portal(cafe, SEAT)[1]["seconds-remaining"])) <= 7200, 30)
    (adults,) = vouchers(cafe, 1, 60, "adult")
    assert "another kind" in type_code(cafe, adults, SEAT)[1], "a child's session does not become an adult's"
    seat_command(cafe, "end", "seat-1")
    wait_until(lambda: not is_open(cafe, "school.example", SEAT), 30, "closed again")
    assert type_code(cafe, adults, OTHER)[0] == 303
    wait_until(lambda: is_open(cafe, "www.tiktok.com", OTHER), 30, "an adult sits there")


def test_a_guest_pauses_and_moves_with_the_rest_of_the_session(cafe: Hedgerow) -> None:
    def left(source: str) -> int:
        return int(str(portal(cafe, source)[1].get("seconds-remaining", 0)))

    seat_command(cafe, "open", "seat-1", "--as", "child", "--minutes", "60")
    seat_command(cafe, "extend", "seat-1", "30")
    wait_until(lambda: 5300 < left(SEAT) <= 5400, 30, "minutes are added")
    seat_command(cafe, "pause", "seat-1", "--minutes", "30")
    wait_until(lambda: not is_open(cafe, "school.example", SEAT), 30, "closed while the guest is away")
    seat_command(cafe, "move", "seat-1", "seat-3")
    assert not is_open(cafe, "school.example", THIRD), "the pause moves along"
    seat_command(cafe, "resume", "seat-3")
    wait_until(lambda: is_open(cafe, "school.example", THIRD), 30)
    wait_until(lambda: 5200 < left(THIRD) <= 5400, 30, "the time stood still, and no longer than that")
    assert not is_open(cafe, "school.example", SEAT), "nobody sits there"
    seat_command(cafe, "end", "seat-3")
    wait_until(lambda: not is_open(cafe, "school.example", THIRD), 30)


def test_guessing_vouchers_is_limited(cafe: Hedgerow) -> None:
    answers = [type_code(cafe, f"GUESS{number:03}", OTHER)[1] for number in range(6)]
    assert "Too many codes were tried here" in answers[-1]
    (good,) = vouchers(cafe, 1, 60, "adult")
    assert type_code(cafe, good, OTHER)[0] == 422
    assert type_code(cafe, good, COUNTER)[0] == 422, "that is no seat"
    seat_command(cafe, "end", "seat-2")
    wait_until(lambda: portal(cafe, OTHER)[1]["captive"], 30, "the guest has left")
    assert type_code(cafe, good, OTHER)[0] == 303, "the next guest has tried nothing yet"


def test_the_portal_believes_nothing_that_a_guest_says_of_itself(cafe: Hedgerow) -> None:
    def sent(path: str, *words: str, source: str = THIRD) -> tuple[int, str]:
        command = ["curl", "-s", "-w", "\n%{http_code}", "--interface", source, *words, f"{cafe.web}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    here = ("-H", f"Origin: {cafe.web}")
    seat_command(cafe, "open", "seat-1", "--as", "child", "--minutes", "60")
    wait_until(lambda: not portal(cafe, SEAT)[1]["captive"], 30, "a guest sits at the first seat")
    forged = ("X-Forwarded-For: 127.0.0.6", "Forwarded: for=127.0.0.6;host=evil.example", "X-Real-IP: 127.0.0.6")
    for header in (*forged, "X-Forwarded-Host: evil.example", "Via: 1.1 seat-1", "Device: seat-1"):
        facts = json.loads(sent("/captive-portal?device=seat-1&seat=seat-1", "-H", header)[1])
        assert (facts["captive"], facts["seat"]) == (True, "seat-3"), header
        assert facts["user-portal-url"] == f"{cafe.web}/device"
    assert sent("/captive-portal", "-H", "Host: evil.example")[0] == 421
    assert sent("/captive-portal", "-H", f"Host: {cafe.web.removeprefix('http://')}@evil.example")[0] == 421
    assert "<b>" not in sent("/device?voucher=%22%3E%3Cb%3E")[1]
    (good,) = vouchers(cafe, 1, 60, "child")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"{cafe.web}.evil.example"):
        assert sent("/device/voucher", "-H", f"Origin: {origin}", "-d", f"code={good}")[0] == 403, origin
    for path in ("/counter/open/seat-3", "/counter/move/seat-1", "/counter/vouchers", "/api/v1/sessions/seat-3"):
        assert sent(path, *here, "-d", "minutes=60&device=seat-3&to=seat-3&count=1")[0] in {401, 403, 404}, path
    assert sent("/device/call", *here, "-d", "device=seat-1&seat=seat-1")[0] == 303
    assert portal(cafe, THIRD)[1]["called"]
    assert not portal(cafe, SEAT)[1]["called"], "a seat calls for itself"

    # Wildcards, markup and a code of any length are wrong codes, and many at once are no more tries than one by one.
    for wrong in ("%", "____-____", "' OR 1=1 --"):
        assert "This voucher is not valid" in type_code(cafe, wrong, THIRD)[1]
    assert type_code(cafe, "A" * 400, THIRD)[0] == 422
    with ThreadPoolExecutor(12) as guesses:
        answers = list(guesses.map(lambda number: type_code(cafe, f"GUESS{number:03}", THIRD)[1], range(24)))
    tried = sum("This voucher is not valid" in each for each in answers)
    assert tried <= 2, "five in a quarter of an hour, whoever asks how often"
    assert type_code(cafe, good, THIRD)[0] == 422
    assert portal(cafe, THIRD)[1]["captive"]
    assert type_code(cafe, good, SEAT)[0] == 303, "another seat's guest is not held up"
    seat_command(cafe, "end", "seat-1")
    wait_until(lambda: bool(portal(cafe, SEAT)[1]["captive"]), 30, "closed again")


def test_audit_for_inspections(cafe: Hedgerow) -> None:
    seat_command(cafe, "open", "seat-1", "--as", "child")
    wait_until(lambda: is_open(cafe, "school.example", SEAT), 30)
    for _ in range(3):
        assert not is_open(cafe, "news.example", SEAT)
        assert not is_open(cafe, "www.tiktok.com", SEAT)

    def told() -> dict[tuple[str, str], int]:
        rows = list(csv.DictReader(seat_command(cafe, "audit").splitlines()))
        assert {row["day"] for row in rows} <= {
            time.strftime("%Y-%m-%d", time.gmtime(time.time() - back)) for back in (0, 3600)
        }
        return {(row["reason"], row["what"]): int(row["count"]) for row in rows}

    wait_until(lambda: told().get(("category", "social"), 0) >= 3, 60, "the journal has written it")
    text = seat_command(cafe, "audit")
    assert "seat-1" not in text
    assert "127.0.0" not in text
