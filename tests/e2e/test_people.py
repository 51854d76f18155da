"""Different people get different answers, and bedtime changes them at its minute."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.family import LAPTOP, LISTS, PEOPLE, TABLET, family_policy
from small_internet.fast_time import WallClock
from small_internet.promises import Stopwatch
from small_internet.running import Hedgerow, running_hedgerow, wait_until

BEDTIME = datetime(2027, 1, 8, 20, tzinfo=UTC).timestamp()
WITH_BEDTIME = re.sub(r"(    age: \d+\n)", r'\1    bedtime: "20:00-04:00"\n', PEOPLE)


def told(running: Hedgerow, name: str, source: str) -> tuple[list[str], int]:
    """The addresses and the smallest TTL."""
    answer = kdig(running.dns, name, source=source)
    assert answer is not None, running.stderr
    return answer.data("A"), min((ttl for _, ttl, _, _ in answer.records), default=0)


def proxied(running: Hedgerow, internet: SmallInternet, host: str, source: str) -> int:
    return curl(internet.url(host, "/", "http"), proxy=running.proxy, source=source).status


def test_age_decides_at_the_same_moment(family: Hedgerow, internet: SmallInternet) -> None:
    assert told(family, "chat.example", TABLET)[0] == ["0.0.0.0"]
    assert told(family, "chat.example", LAPTOP)[0] == [internet.address_of("chat.example")]
    assert proxied(family, internet, "chat.example", TABLET) == 403
    assert proxied(family, internet, "chat.example", LAPTOP) == 200
    for source in (TABLET, LAPTOP):
        assert told(family, "adult.example", source)[0] == ["0.0.0.0"]


def test_bedtime_changes_both_points_for_both_children(internet: SmallInternet, tmp_path: Path) -> None:
    children, lifeline = (TABLET, LAPTOP), "www.childline.org.uk"
    clock = WallClock(tmp_path, BEDTIME - 3600)
    with running_hedgerow(
        family_policy(internet, people=WITH_BEDTIME), lists=LISTS, environment=clock.environment
    ) as running:
        clock.set(BEDTIME - 30)
        for child in children:
            left = BEDTIME - clock.now()
            addresses, ttl = told(running, "bank.example", child)
            assert addresses == [internet.address_of("bank.example")]
            assert ttl <= left + 1, "a TTL reaches past bedtime"
            assert proxied(running, internet, "bank.example", child) == 200
        clock.set(BEDTIME - 1)
        wait_until(lambda: clock.now() >= BEDTIME, 5)
        watch = Stopwatch(running)
        for child in children:
            watch.holds_within(2, _is_blocked(running, "bank.example", child), f"bedtime for {child} at the resolver")
            watch.holds_within(2, lambda: proxied(running, internet, "bank.example", child) == 403, "and at the proxy")  # noqa: B023
        assert told(running, lifeline, TABLET)[0] == [internet.address_of(lifeline)]


def _is_blocked(running: Hedgerow, name: str, source: str) -> Callable[[], bool]:
    return lambda: told(running, name, source)[0] == ["0.0.0.0"]


def test_explain_agrees_with_dns_and_proxy(family: Hedgerow, internet: SmallInternet) -> None:
    cases = [
        ("mia-tablet", TABLET, "adult.example", "category", "lists/adult.txt", 3),
        ("mia-tablet", TABLET, "chat.example", "category", "lists/social.adblock", 3),
        ("tom-laptop", LAPTOP, "gambling.example", "category", "lists/gambling.hosts", 1),
        ("mia-tablet", TABLET, "news.example", "rule", "hedgerow.yaml", None),
        ("mia-tablet", TABLET, "bank.example", "default", None, None),
        ("tom-laptop", LAPTOP, "news.example", "default", None, None),
        ("mia-tablet", TABLET, "www.childline.org.uk", "lifeline", None, None),
    ]
    for device, source, host, reason, file, line in cases:
        done = family.run("explain", "--json", device, f"https://{host}/page")
        assert done.returncode == 0, done.stderr
        explained = json.loads(done.stdout)["decision"]
        blocked = told(family, host, source)[0] == ["0.0.0.0"]
        connect = curl(
            f"https://{host}:{internet.origins.https_port}/", proxy=family.proxy, source=source, insecure=True
        )
        assert blocked == (connect.connect_status == 403) == (explained["verdict"] == "block"), (host, explained)
        assert explained["reason"] == reason, (host, explained)
        if file:
            assert explained["rule"]["source"].endswith(file), explained
            assert explained["rule"]["line"] == (line or _line_of(family, host)), explained


def _line_of(running: Hedgerow, text: str) -> int:
    lines = running.policy_path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
