"""A site that no list has, from its first page to its correction by a parent: recognised by the proxy,
blocked by DNS.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path

import httpx
from small_internet import SmallInternet
from small_internet.clients import HttpAnswer, curl, kdig
from small_internet.family import COMPUTER, LAPTOP, LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, hedgerow_command, running_hedgerow, wait_until

PATIENCE = 30.0
HOST = "films.example"
LABELLED = '<meta name="rating" content="RTA-5042-1996-1400-1577-RTA"><body>Enter'
WORDS = (
    "<title>Online casino with free spins - welcome bonus</title><body><h1>Live casino and slot games</h1><p>No deposit"
    " bonus, jackpot slots, Megaways, live dealer, roulette, blackjack and baccarat. Wagering requirements 35x."
    " Sportsbook: live betting, bet now."
)


def opened(running: Hedgerow, internet: SmallInternet, host: str, page: str, scheme: str = "http") -> HttpAnswer:
    path = f"/html/{base64.urlsafe_b64encode(page.encode()).decode()}"
    return curl(internet.url(host, path, scheme), proxy=running.proxy, source=COMPUTER, ca=running.authority)


def addresses(running: Hedgerow, host: str, source: str) -> list[str]:
    answer = kdig(running.dns, host, source=source)
    assert answer is not None, running.stderr
    return answer.data("A")


def post(running: Hedgerow, path: str, **form: str) -> int:
    token = (running.state / "admin-token").read_text().strip()
    answer = httpx.post(
        f"{running.web}{path}",
        data=form,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
        verify=False,
    )
    return answer.status_code


def lists_page(running: Hedgerow) -> str:
    token = (running.state / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
    return httpx.get(f"{running.web}/lists", headers=headers, trust_env=False, timeout=60, verify=False).text


def test_a_recognised_site_is_remembered_shown_corrected_and_kept(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    net = whole_internet
    start = partial(
        running_hedgerow, family_policy(net), lists=LISTS, upstream_authority=net.authority.root, directory=tmp_path
    )
    with start() as running:
        assert addresses(running, HOST, TABLET) == [net.address_of(HOST)]
        assert opened(running, net, HOST, LABELLED, "https").status == 403
        wait_until(lambda: addresses(running, HOST, TABLET) == ["0.0.0.0"], PATIENCE, "DNS blocks the site")
        assert addresses(running, f"www.{HOST}", LAPTOP) == ["0.0.0.0"], "for all children, with what is beneath it"
        told = json.loads(running.run("explain", "--json", "mia-tablet", HOST).stdout)
        assert (told["decision"]["verdict"], told["decision"]["reason"], told["decision"]["what"]) == (
            "block",
            "recognised",
            "adult",
        )
        assert "a page of this site looked like adult on 20" in running.run("explain", "mia-tablet", HOST).stdout

        assert opened(running, net, "casino.example", WORDS).status == 403
        assert addresses(running, "casino.example", TABLET) == [net.address_of("casino.example")], (
            "one page of words is not enough"
        )
        assert opened(running, net, "casino.example", WORDS + "<p>more").status == 403
        wait_until(lambda: addresses(running, "casino.example", TABLET) == ["0.0.0.0"], PATIENCE)

        page = lists_page(running)
        assert HOST in page
        assert "casino.example" in page
        assert post(running, "/lists/sites/correct", host=HOST) == 303
        wait_until(
            lambda: addresses(running, HOST, TABLET) == [net.address_of(HOST)], PATIENCE, "a correction opens the site"
        )
        assert opened(running, net, HOST, LABELLED).status == 403, "its pages are judged all the same"

    with start() as running:
        assert addresses(running, "casino.example", TABLET) == ["0.0.0.0"], "after a restart"
        assert addresses(running, HOST, TABLET) == [net.address_of(HOST)]
        shown = json.loads(hedgerow_command("lists", "remembered", "--json", "--state", str(running.state)).stdout)
        assert [(row["host"], row["topic"]) for row in shown] == [("casino.example", "gambling")]
        forget = ("lists", "forget", "casino.example", "--state", str(running.state))
        assert hedgerow_command(*forget).returncode == 0
        wait_until(
            lambda: addresses(running, "casino.example", TABLET) == [net.address_of("casino.example")],
            PATIENCE,
            "it is forgotten",
        )
        assert (
            hedgerow_command("lists", "remembered", "--state", str(running.state)).stdout
            == "No site is remembered for its pages.\n"
        )
        again = hedgerow_command(*forget)
        assert (again.returncode, again.stderr) == (2, "hedgerow: casino.example is not remembered\n")
