"""Sign-in to the proxy with curl and Chromium."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import argon2
import pytest
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.clients import HttpAnswer, curl
from small_internet.family import say
from small_internet.running import Hedgerow, executable, network_section, running_hedgerow, wait_until

KNOWN, STRANGER, OTHER, GUESSER = "127.0.0.2", "127.0.0.50", "127.0.0.51", "127.0.0.52"
PASSWORD = "hedge hog: 7é"
LISTS = {"lists/adult.txt": "adult.example\n"}


def policy(net: SmallInternet, who: str) -> str:
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    return (
        network_section(net)
        + f"""  proxy_sign_in: {who}
  listen: {{transparent: "127.0.0.1:0"}}
people:
  mia: {{age: 9, devices: [mia-tablet]}}
  ana: {{profile: adult, devices: [ana-laptop]}}
devices:
  mia-tablet: {{ip: {KNOWN}}}
  ana-laptop: {{proxy_user: ana, proxy_password: "{quick}"}}
seats:
  seat-1: {{proxy_user: seat-1, proxy_password: "{quick}", trusts_ca: true, block: ["www.school.example/secret"]}}
lists:
  - {{category: adult, path: lists/adult.txt}}
"""
    )


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    """The installed command, whose confined gate imports what it compares passwords with."""
    with running_hedgerow(
        policy(whole_internet, "unknown"),
        lists=LISTS,
        workers=2,
        upstream_authority=whole_internet.authority.root,
        program=("env", executable()),
    ) as running:
        yield running


def fetch(
    running: Hedgerow, url: str, ca: Path, user: str = "", source: str = STRANGER, password: str = PASSWORD
) -> HttpAnswer:
    options = ("--proxy-user", f"{user}:{password}") if user else ()
    return curl(url, proxy=running.proxy, source=source, ca=ca, options=options)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unknown_clients_sign_in_and_get_their_rules(
    cafe: Hedgerow, whole_internet: SmallInternet, scheme: str
) -> None:
    ca = whole_internet.authority.root
    news, adult = whole_internet.url("news.example", "/page", scheme), whole_internet.url("adult.example", "/x", scheme)

    def status(answer: HttpAnswer) -> int:
        return answer.status if scheme == "http" else answer.connect_status

    asked = fetch(cafe, news, ca)
    assert status(asked) == 407
    if scheme == "http":
        assert asked.headers["proxy-authenticate"] == ['Basic realm="Hedgerow", charset="UTF-8"']
        assert "Sign in to continue" in asked.text
    assert status(fetch(cafe, news, ca, "ana")) == 200
    assert status(fetch(cafe, adult, ca, "ANA")) == 200
    assert status(fetch(cafe, adult, ca, "seat-1")) in {403, 200}  # over TLS the block page, under our own certificate
    assert fetch(cafe, adult, ca, "seat-1").status != 200
    assert status(fetch(cafe, news, ca, source=KNOWN)) == 200  # a device that the policy knows is not asked
    assert status(fetch(cafe, adult, ca, source=KNOWN)) == 403
    assert status(fetch(cafe, news, ca, "ana", OTHER, "wrong")) == 407
    assert status(fetch(cafe, news, ca, "nobody", OTHER)) == 407


def test_helplines_need_no_sign_in(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    ca = whole_internet.authority.root
    for user in ("", "nobody"):
        answer = fetch(cafe, whole_internet.url("www.childline.org.uk", "/"), ca, user)
        assert (answer.connect_status, answer.status) == (200, 200), answer.error
        plain = fetch(cafe, whole_internet.url("childline.org.uk", "/talk?x=1", "http"), ca, user)
        assert (plain.status, plain.headers["location"]) == (302, ["https://childline.org.uk/talk?x=1"])
    lying = curl(
        whole_internet.url("news.example", "/"),
        proxy=cafe.proxy,
        source=STRANGER,
        ca=ca,
        options=("--connect-to", f"::www.childline.org.uk:{whole_internet.origins.https_port}"),
    )
    assert (lying.connect_status, lying.status) == (200, 0), "only the helpline is there without a name"
    log = cafe.run("log", "--json").stdout
    assert "childline" not in log


def test_the_user_name_applies_in_the_inspector(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    blocked = fetch(cafe, whole_internet.url("www.school.example", "/secret"), cafe.authority, "seat-1")
    assert (blocked.exit_code, blocked.status) == (0, 403), blocked.error
    opened = fetch(cafe, whole_internet.url("www.school.example", "/open"), cafe.authority, "seat-1")
    assert opened.status == 200
    sent = {name.lower() for name, _ in opened.json()["headers"]}
    assert not sent & {"proxy-authorization", "hedgerow-pass"}


def test_credentials_reach_no_origin_and_no_log(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    answer = fetch(cafe, whole_internet.url("news.example", "/echo", "http"), whole_internet.authority.root, "ana")
    assert "proxy-authorization" not in answer.text.lower()
    secret = base64.b64encode(f"ana:{PASSWORD}".encode()).decode()
    kept = cafe.stderr + cafe.run("log", "--json").stdout
    assert PASSWORD not in kept
    assert secret not in kept
    fetch(cafe, whole_internet.url("adult.example", "/", "http"), cafe.authority, "seat-1")
    wait_until(
        lambda: '"seat-1"' in cafe.run("log", "--json").stdout, 30, "what the seat was refused is logged as the seat's"
    )


def test_guessing_is_slow_without_affecting_others(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    ca, url = whole_internet.authority.root, whole_internet.url("news.example", "/page", "http")
    statuses = [fetch(cafe, url, ca, "ana", GUESSER, f"guess {number}").status for number in range(40)]
    assert statuses[:10] == [407] * 10
    assert 429 in statuses[10:]  # each of two workers counts for itself
    assert set(statuses) == {407, 429}
    assert fetch(cafe, url, ca, "ana", GUESSER).status in {200, 429}
    assert fetch(cafe, url, ca, "ana").status == 200


def test_many_connections_at_once_are_one_check(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    url, place = whole_internet.url("news.example", "/page", "http"), "127.0.0.60"
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda _: fetch(cafe, url, whole_internet.authority.root, "ana", place).status, range(32)))
    assert done == [200] * 32


@pytest.mark.parametrize(
    "value", ["", "Basic", "Basic ????", "Basic YW5h", "Bearer x", "Basic " + "A" * 2000, "Basic \x80"]
)
def test_malformed_credentials_are_challenged_again(cafe: Hedgerow, value: str) -> None:
    head = f"GET http://news.example/ HTTP/1.1\r\nHost: news.example\r\nProxy-Authorization: {value}\r\n\r\n".encode(
        "latin-1"
    )
    source = "127.0.0." + str(70 + len(value) % 97)
    assert say(cafe, head, source=source).startswith((b"HTTP/1.1 407 ", b"HTTP/1.1 400 "))


@pytest.mark.browser
@pytest.mark.skipif(not FOR_PAGES.exists(), reason="Chromium is not installed")
def test_chromium_signs_in(cafe: Hedgerow, whole_internet: SmallInternet) -> None:
    with running_hedgerow(
        policy(whole_internet, "always"), lists=LISTS, upstream_authority=whole_internet.authority.root
    ) as strict:
        proxy = {"server": f"http://127.0.0.1:{strict.proxy[1]}", "username": "ana", "password": PASSWORD}
        with browser_for_pages(proxy=proxy) as browser:
            page = browser.new_context(ignore_https_errors=True).new_page()
            for scheme in ("http", "https"):
                opened = page.goto(whole_internet.url("adult.example", "/", scheme))
                assert opened is not None
                assert opened.status == 200
        assert (
            fetch(strict, whole_internet.url("news.example", "/", "http"), strict.authority, source=KNOWN).status == 407
        )
        strict.edit_policy(policy(whole_internet, "always").replace("proxy_user: ana", "proxy_user: anna"))
        news = whole_internet.url("news.example", "/", "http")
        wait_until(lambda: fetch(strict, news, strict.authority, "ana").status == 407, 30, "the name is another now")


def test_proxy_password_output_works_in_the_policy(cafe: Hedgerow) -> None:
    done = subprocess.run(
        [executable(), "proxy-password"], input=PASSWORD + "\n", capture_output=True, text=True, check=True
    )
    found = re.fullmatch(r'proxy_password: "(\$argon2id\$[^"]+)"\n', done.stdout)
    assert found
    assert argon2.PasswordHasher().verify(found[1], PASSWORD)
    assert re.search(r" transparent=127\.0\.0\.1:\d+", cafe.ready_line)  # from the policy's network.listen
