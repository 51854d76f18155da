"""Troubles at the top of *Today*: a broken policy file, lists that all fail, and a full disk, each with what is
enforced meanwhile.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
from pathlib import Path

import httpx
import pytest
from list_server import ListServer, send, text
from small_internet import SmallInternet
from small_internet.broken_disk import fill, small_disk
from small_internet.clients import curl, kdig_addresses
from small_internet.family import LISTS, OWN_LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, hedgerow_command, running_hedgerow, wait_until

from hedgerow.app.snapshot import Snapshot


def troubles(running: Hedgerow) -> dict[str, str]:
    """Return the text of each trouble on Today by its id."""
    token = (running.state / "admin-token").read_text().strip()
    answer = httpx.get(
        f"{running.web}/", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60, verify=False
    )
    assert answer.status_code == 200
    found = re.findall(r'<section class="card trouble" id="trouble-(\w+)"(.*?)</section>', answer.text, re.DOTALL)
    return {name: " ".join(re.sub("<[^>]*>", " ", body).split()) for name, body in found}


def readiness(running: Hedgerow) -> tuple[int, str]:
    """Return what a load balancer gets, which has no credentials and another name for this host."""
    answer = curl(f"{running.web}/readyz", source=TABLET, headers=["Host: balanced.example"])
    return answer.status, answer.text


def is_filtering(running: Hedgerow) -> bool:
    return kdig_addresses(running.dns, "news.example", source=TABLET) == ["0.0.0.0"]


def test_a_broken_policy_file_is_shown_until_it_is_right_again(internet: SmallInternet) -> None:
    good = family_policy(internet)
    with running_hedgerow(good, lists=LISTS) as running:
        assert troubles(running) == {}
        assert readiness(running) == (200, "ok\n")
        running.edit_policy(good + "people: [\n")
        shown = wait_until(lambda: troubles(running).get("policy", ""), 60, "the broken file is shown")
        assert "stay in force" in shown
        assert re.search(r"hedgerow\.yaml:\d+", shown)
        assert readiness(running) == (503, "the newest policy has mistakes, and the last good one is in force\n")
        assert is_filtering(running)
        running.policy_path.unlink()
        assert "the file is missing" in wait_until(lambda: troubles(running).get("policy", ""), 60)
        assert is_filtering(running)
        running.edit_policy(good)
        wait_until(lambda: troubles(running) == {}, 60, "the file is right again")
        assert readiness(running) == (200, "ok\n")


def test_lists_that_all_fail_are_shown_with_the_copies_in_force(internet: SmallInternet) -> None:
    with ListServer().serving() as publisher:
        broken = lambda handler: send(handler, 503)  # noqa: E731
        names = [f"{word}.txt" for word in ("first", "second")]
        publisher.paths = {f"/{name}": broken for name in names}
        entries = [f'  - {{category: adult, name: {name}, url: "{publisher.root}/{name}"}}\n' for name in names]
        with running_hedgerow(family_policy(internet, lists=OWN_LISTS + "".join(entries)), lists=LISTS) as running:
            shown = wait_until(lambda: troubles(running).get("lists", ""), 60, "failing lists are shown")
            assert "None of the 2 lists can be fetched" in shown
            assert "Most unsuitable sites are open" in shown
            assert "503" in shown
            assert readiness(running) == (503, "lists are missing\n")
            assert kdig_addresses(running.dns, "gambling.example", source=TABLET) == ["0.0.0.0"]
            publisher.paths = {f"/{name}": text(f"{name}.example\n".encode()) for name in names}
            paths = ("--state", str(running.state), "--policy", str(running.policy_path))
            command = hedgerow_command("lists", "update", *paths, timeout=200)
            assert command.returncode == 0, command.stderr
            wait_until(lambda: "lists" not in troubles(running), 60, "the command has fetched them")
            wait_until(lambda: readiness(running) == (200, "ok\n"), 60, "they are in force")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_shown_and_filtering_goes_on(internet: SmallInternet, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 256) as disk,
        running_hedgerow(family_policy(internet), lists=LISTS, directory=disk) as running,
    ):
        assert troubles(running) == {}
        filler = fill(disk)
        assert is_filtering(running)
        shown = wait_until(lambda: troubles(running).get("disk", ""), 60, "the full disk is shown")
        assert "Filtering goes on" in shown
        assert str(running.state) in shown
        filler.unlink()
        wait_until(lambda: troubles(running) == {}, 60, "there is room again")
        assert is_filtering(running)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_change_on_a_full_disk_is_told_as_it_is(internet: SmallInternet, tmp_path: Path) -> None:
    headers = {"accept-language": "en"}
    with (
        small_disk(tmp_path / "disk", 256) as disk,
        running_hedgerow(family_policy(internet), lists=LISTS, directory=disk) as running,
        httpx.Client(
            base_url=running.web,
            trust_env=False,
            timeout=60,
            cookies=running.cookies,
            headers=headers | {"origin": running.web},
            verify=False,
        ) as browser,
    ):
        browser.headers.update({"accept-language": "en", "origin": running.web})

        def closes(item: str) -> bool:
            return item in [target.name for target in Snapshot.in_force(running.state).policy.people["tom"].rules.block]

        def tap(item: str) -> str:
            answer = browser.post("/people/tom/switch", data={"close": item}, follow_redirects=True)
            return html.unescape(answer.text)

        assert 'data-done="YouTube closed for tom."' in tap("youtube")
        assert closes("youtube")
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        said = {item: tap(item) for item in ("twitch", "netflix", "reddit")}
        for item, page in said.items():
            is_written = item in running.policy_path.read_text()
            said_closed = "closed for tom." in page and "not in force yet" not in page
            assert said_closed is closes(item), (item, page)
            assert ("Saved, but not in force yet" in page) is (is_written and not closes(item)), (item, page)
            assert ("Nothing was changed" in page) is not is_written, (item, page)
        filler.unlink()
        wait_until(
            lambda: all(closes(item) is (item in running.policy_path.read_text()) for item in said),
            30,
            "what was saved is in force",
        )
        assert 'data-done="Pinterest closed for tom."' in tap("pinterest")
        assert closes("pinterest")
