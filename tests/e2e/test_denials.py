"""A denied request on the block page that waits for the answer, and on the device's own page."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, ticket_in
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

ASK = "/.well-known/hedgerow/ask"


@pytest.fixture(scope="module")
def running(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as hedgerow:
        yield hedgerow


def ask(running: Hedgerow, url: str) -> str:
    """Ask for a page as the block page's form does. Returns the URL that the page which waits loads."""
    origin = url.rstrip("/")
    page = curl(url, proxy=running.proxy, source=TABLET).text
    form = urllib.parse.urlencode({"url": url, "ticket": ticket_in(page), "note": "please"})
    words = [
        "curl",
        "-si",
        "--interface",
        TABLET,
        "-x",
        "http://{}:{}".format(*running.proxy),
        "-H",
        f"Origin: {origin}",
        "-d",
        form,
    ]
    answer = subprocess.run([*words, origin + ASK], capture_output=True, text=True, timeout=60, check=True).stdout
    again = re.search(r"(?i)^refresh: \d+; url=(\S+)", answer, re.M)
    assert again is not None, answer
    return origin + again[1]


def open_requests(running: Hedgerow) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(running.run("requests", "--json").stdout)
    return found


def test_a_waiting_page_is_told_of_a_denial_while_it_waits(running: Hedgerow, internet: SmallInternet) -> None:
    waiting = ask(running, internet.url("news.example", scheme="http"))
    (request,) = wait_until(lambda: open_requests(running), 30)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(curl, waiting, proxy=running.proxy, source=TABLET)
        why = "Homework <first>"
        assert running.run("requests", "--deny", str(request["id"]), "--why", why).returncode == 0
        page = answer.result(60)
    assert (page.status, "The answer is no" in page.text) == (200, True), (waiting, page.text[-1500:])
    assert ">Homework &lt;first&gt;</blockquote>" in page.text
    assert "refresh" not in page.headers, "it waits no longer"
    transport = httpx.HTTPTransport(local_address=TABLET, verify=False)
    with httpx.Client(base_url=running.web, transport=transport, trust_env=False, timeout=60) as child:
        own_page = child.get("/device", headers={"accept-language": "en"}).text
    assert '<span class="tag block">no</span>' in own_page
    assert "<bdi>Homework &lt;first&gt;</bdi>" in own_page


def test_asking_again_waits_again(running: Hedgerow, internet: SmallInternet) -> None:
    url = internet.url("gambling.example", scheme="http")
    ask(running, url)
    (request,) = wait_until(lambda: open_requests(running), 30)
    running.run("requests", "--deny", str(request["id"]))
    waiting = wait_until(lambda: _next_second(running, url), 30)
    page = curl(waiting, proxy=running.proxy, source=TABLET)
    assert "The answer is no" not in page.text, "that was the answer to the last time"


def _next_second(running: Hedgerow, url: str) -> str:
    """Ask again, in a later second than the denial: tickets hold whole seconds."""
    before = int(time.time())
    wait_until(lambda: int(time.time()) > before + 1, 5)
    return ask(running, url)
