"""The first day: a family that follows the guide is protected, with its publishers of lists played on loopback."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from forward_proxy import PASSWORD, forward_proxy
from list_mirror import ListMirror
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.running import (
    Hedgerow,
    executable,
    hedgerow_command,
    network_section,
    running_hedgerow,
    wait_until,
)

from hedgerow.blocklists.sources import public_sources

CHILD = "127.0.0.31"
STEPS: Mapping[str, Mapping[str, str]] = {
    "password": {"name": "Ana", "password": "four words and more"},
    "place": {"country": "PT", "zone": "Europe/Lisbon"},
    "people": {"name-0": "Ana", "adult-0": "yes", "name-1": "Mia", "age-1": "9"},
    "devices": {"device-0": CHILD, "called-0": "tablet", "person-0": "Mia"},
}


STARTER_NAMES = sum(
    bool(line) and not line.startswith("#")
    for line in (files("hedgerow") / "blocklists/data/starter/adult.txt").read_text().splitlines()
)
"""Names of the adult category in the list that ships with Hedgerow."""


def new_machine(internet: SmallInternet) -> str:
    """The policy of a machine on which nobody has set anything, with the small internet's nameserver."""
    return network_section(internet).replace("  lists: starter\n", "")


@contextlib.contextmanager
def parent_after_the_guide(running: Hedgerow) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=running.web, trust_env=False, timeout=30, headers={"origin": running.web}, verify=False
    ) as parent:
        for step, form in STEPS.items():
            answer = parent.post(
                f"/start/{step}", data={**form, **({"code": running.setup_code} if step == "password" else {})}
            )
            assert answer.status_code == 303, (step, answer.text)
        yield parent


def adult_coverage(parent: httpx.Client) -> dict[str, Any]:
    status = parent.get("/api/v1/status").json()
    return next(row for row in status["coverage"] if row["category"] == "adult")


def is_blocked(running: Hedgerow, name: str) -> bool:
    answer = kdig(running.dns, name, source=CHILD)
    assert answer is not None
    return answer.data("A") == ["0.0.0.0"]


@pytest.mark.root
def test_a_family_that_follows_the_guide_is_protected(internet: SmallInternet, tmp_path: Path) -> None:
    sources = public_sources()
    lists = {
        name: "".join(f"{name}-{number}.example\n" for number in range(300)).encode()
        for name in ("hagezi-nsfw", "oisd-nsfw")
    }
    mirror = ListMirror({sources[name].url: content for name, content in lists.items()}, tmp_path)
    with (
        mirror.serving(),
        running_hedgerow(
            new_machine(internet), publishers=mirror.environment, program=(*mirror.program, executable())
        ) as running,
        parent_after_the_guide(running) as parent,
    ):
        coverage = wait_until(lambda: (row := adult_coverage(parent))["lists"] == 3 and row, 60, "both lists in force")
        assert (coverage["state"], coverage["names"]) == ("missing", STARTER_NAMES + 600)
        assert set(coverage["missing"]) == {"shadowwhisperer-adult", "stevenblack-porn"}
        for name in lists:
            wait_until(lambda: is_blocked(running, f"{name}-7.example"), 10, name)  # noqa: B023 (called at once)
        wait_until(lambda: "Hedgerow is set up" in parent.get("/start/done").text, 30, "the child's device has asked")
        assert "Most adult sites are open" not in parent.get("/").text
        assert {url for url in mirror.asked if "nsfw" in url} == {sources[name].url for name in lists}

        parent.post("/lists/selection", data={"lists": "starter"}, headers={"referer": f"{running.web}/lists"})
        wait_until(lambda: not is_blocked(running, "oisd-nsfw-8.example"), 30, "the starter list alone")
        coverage = adult_coverage(parent)
        assert (coverage["state"], coverage["names"], coverage["lists"]) == ("starter", STARTER_NAMES, 1)
        assert "Most adult sites are open" in parent.get("/").text


@pytest.mark.root
def test_an_office_behind_a_proxy_gets_its_lists(internet: SmallInternet, tmp_path: Path) -> None:
    """Only the proxy knows the publishers' names. It wants a password, which is nowhere to be read."""
    url = public_sources()["hagezi-nsfw"].url
    mirror = ListMirror({url: "".join(f"office-{number}.example\n" for number in range(300)).encode()}, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = dict.fromkeys(mirror.names, mirror.address)
    with mirror.serving(), forward_proxy(tmp_path, "127.0.0.1", port, names, wants_password=True) as proxy:
        office = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy.url)
        publishers = {**office, "SSL_CERT_FILE": mirror.environment["SSL_CERT_FILE"]}
        with running_hedgerow(new_machine(internet), publishers=publishers) as running:
            wait_until(lambda: is_blocked(running, "office-7.example"), 60, "the list is in force")
            told = running.run("doctor", "--json").stdout + running.run("lists", "status").stdout + running.stderr
            kept = [path.read_bytes() for path in running.state.rglob("*") if path.is_file()]
            assert f"CONNECT {urlsplit(url).hostname}:443" in proxy.asked()
            assert PASSWORD not in told
            assert not any(PASSWORD.encode() in each for each in kept)


def test_without_internet_the_start_is_quiet_and_the_pages_are_loud(internet: SmallInternet) -> None:
    with running_hedgerow(new_machine(internet)) as running, parent_after_the_guide(running) as parent:
        wait_until(lambda: adult_coverage(parent)["state"] == "starter", 60, "the downloads have failed")
        warnings = [line for line in running.stderr.splitlines() if "lists could not be fetched" in line]
        assert len(warnings) == 1, running.stderr
        assert is_blocked(running, "www.pornhub.com"), "the starter list is in force"
        assert "lists can be fetched" in parent.get("/").text
        wait_until(lambda: "Almost set up" in parent.get("/start/done").text, 30, "the child's device has asked")
        findings = {row["what"]: row for row in json.loads(running.run("doctor", "--json").stdout)}
        assert findings["adult lists"]["health"] == "bad"
        assert "most adult sites are open" in findings["adult lists"]["found"]
        shown = hedgerow_command("lists", "status", "--state", str(running.state)).stdout
        assert re.search(r"only the starter list \(1,\d{3} names\)", " ".join(shown.split())), shown
