"""Codes over the phone: made on the command line or a page, typed on the block page or the personal page."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses, ticket_in
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

TABLET, OTHER, NIGHT = "127.0.0.2", "127.0.0.3", "127.0.0.4"
BEDTIME = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=40)
PEOPLE = f"""
people:
  mia:
    age: 9
    devices: [tablet]
    block: [news.example, bank.example, games.example]
    budget: {{games: 30m}}
  tom: {{age: 9, devices: [other], block: [news.example]}}
  sue:
    age: 9
    devices: [night]
    block: [news.example]
    bedtime: "{BEDTIME:%H:%M}-{BEDTIME + datetime.timedelta(hours=1):%H:%M}"
devices:
  tablet: {{ip: 127.0.0.2}}
  other: {{ip: 127.0.0.3}}
  night: {{ip: 127.0.0.4}}
"""
ASK = "/.well-known/hedgerow/ask"


@pytest.fixture(scope="module")
def running(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + PEOPLE, workers=2) as each:
        yield each


def _make(running: Hedgerow, *words: str) -> str:
    made = hedgerow_command("code", *words, "--json", "--state", str(running.state))
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["digits"])


def _is_blocked(running: Hedgerow, name: str, source: str = TABLET) -> bool:
    return kdig_addresses(running.dns, name, source=source) == ["0.0.0.0"]


def _type(running: Hedgerow, net: SmallInternet, host: str, digits: str, source: str = TABLET) -> tuple[int, str]:
    """On the block page of a host."""
    url = net.url(host, scheme="http")
    origin = url.rstrip("/")
    page = curl(url, proxy=running.proxy, source=source).text
    form = urllib.parse.urlencode({"url": url, "ticket": ticket_in(page), "code": digits})
    words = [
        "curl",
        "-s",
        "-o",
        "-",
        "-w",
        "\n%{http_code}",
        "--interface",
        source,
        "-x",
        "http://{}:{}".format(*running.proxy),
    ]
    done = subprocess.run(
        [*words, "-H", f"Origin: {origin}", "-d", form, origin + ASK],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def _type_at_own_page(running: Hedgerow, digits: str, source: str = TABLET) -> tuple[int, str]:
    words = [
        "curl",
        "-s",
        "-o",
        "-",
        "-w",
        "\n%{http_code}",
        "--interface",
        source,
        "-H",
        f"Origin: {running.web}",
        "-d",
        f"code={digits}",
    ]
    done = subprocess.run(
        [*words, f"{running.web}/device/code"], capture_output=True, text=True, timeout=60, check=True
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def test_a_code_opens_its_site_once_over_dns_and_proxy(running: Hedgerow, internet: SmallInternet) -> None:
    page = curl(internet.url("news.example", scheme="http"), proxy=running.proxy, source=TABLET)
    assert page.status == 403
    assert "I have a code" in page.text
    assert _is_blocked(running, "news.example")
    digits = _make(running, "mia", "--open", "news.example")
    assert len(digits) == 6
    assert _type(running, internet, "news.example", digits, OTHER)[0] == 403, "tom's device"
    status, text = _type(running, internet, "news.example", f"{digits[:3]} {digits[3:]}")
    assert status == 200, text
    assert "news.example is open until " in text
    wait_until(lambda: not _is_blocked(running, "news.example"), 30, "DNS")
    url = internet.url("news.example", scheme="http")
    wait_until(lambda: curl(url, proxy=running.proxy, source=TABLET).status == 200, 30, "the proxy")
    assert _is_blocked(running, "news.example", OTHER)
    assert _type_at_own_page(running, digits)[0] == 422, "a code is for one use"


def test_the_page_names_a_bedtime_that_comes_before_the_end(running: Hedgerow, internet: SmallInternet) -> None:
    words = ("code", "sue", "--open", "news.example", "--json", "--state", str(running.state))
    # The command fails while what was changed before is not in force everywhere.
    made = wait_until(lambda: hedgerow_command(*words).stdout, 30, "a code")
    text = _type(running, internet, "news.example", json.loads(made)["digits"], NIGHT)[1]
    assert re.search(rf"news\.example is open until [^<]*{BEDTIME:%H:%M}", text), text


def test_a_code_answers_a_request(running: Hedgerow, internet: SmallInternet) -> None:
    url = internet.url("bank.example", scheme="http")
    page = curl(url, proxy=running.proxy, source=TABLET).text
    form = urllib.parse.urlencode({"url": url, "ticket": ticket_in(page), "note": "homework"})
    words = [
        "curl",
        "-s",
        "--interface",
        TABLET,
        "-x",
        "http://{}:{}".format(*running.proxy),
        "-H",
        f"Origin: {url.rstrip('/')}",
    ]
    subprocess.run([*words, "-d", form, url.rstrip("/") + ASK], capture_output=True, timeout=60, check=True)
    (request,) = wait_until(lambda: json.loads(running.run("requests", "--json").stdout), 30, "the request")
    digits = _make(running, "--request", str(request["id"]))
    assert _type_at_own_page(running, digits)[0] == 303
    wait_until(lambda: not _is_blocked(running, "bank.example"), 30, "DNS")
    assert json.loads(running.run("requests", "--json").stdout) == []


def test_minutes_over_the_phone_and_guessing(running: Hedgerow, internet: SmallInternet) -> None:
    refused = hedgerow_command("code", "tom", "--minutes", "15", "--state", str(running.state))
    assert refused.returncode == 2
    assert "tom has no time budget" in refused.stderr
    digits = _make(running, "mia", "--minutes", "15", "--of", "games")
    assert _type_at_own_page(running, digits)[0] == 303
    rows = json.loads(running.run("budgets", "--json").stdout)
    assert next(row["limit"] for row in rows if row["subject"] == "games") == 45

    right = _make(running, "tom", "--open", "news.example")
    wrong = [f"{(int(right) + n) % 10**6:06}" for n in range(1, 6)]
    answers = [_type_at_own_page(running, each, OTHER) for each in wrong]
    assert {status for status, _ in answers} == {422}
    assert f'value="{wrong[0]}"' in answers[0][1], "what was typed is kept"
    assert "Too many codes" in _type_at_own_page(running, right, OTHER)[1], "even the right one has to wait now"
    assert _is_blocked(running, "news.example", OTHER)
    del internet
