"""*Why?* on an entry of a running Hedgerow: the rules of then, after the policy has changed and after a restart."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until


def page(running: Hedgerow, path: str, **parameters: str) -> str:
    token = (running.state / "admin-token").read_text().strip()
    answer = httpx.get(
        f"{running.web}{path}",
        params=parameters,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
        verify=False,
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html.partition("<main")[2]).split())


def row_of(running: Hedgerow, host: str) -> str:
    """Wait for the entry of a host, and return the number of its latest row."""

    row = re.compile(rf'<bdi class="host clamp">{re.escape(host)}</bdi>.*?/why\?row=(\d+)"', re.DOTALL)

    def find() -> str:
        found = row.search(page(running, "/log/raw", host=host))
        return found[1] if found else ""

    return wait_until(find, 60, f"the entry of {host}")


def test_an_entry_is_explained_by_what_held_then(internet: SmallInternet, tmp_path: Path) -> None:
    people = """
people:
  mia:
    age: 9
    devices: [mia-tablet]
    block: [{what: news.example, note: until the exam}]
devices:
  mia-tablet: {ip: 127.0.0.2}
"""
    before = family_policy(internet, people=people)
    after = family_policy(
        internet, people=people.replace("block: [{what: news.example, note: until the exam}]", "allow: [news.example]")
    )
    with running_hedgerow(before, lists=LISTS, directory=tmp_path) as running:
        assert kdig_addresses(running.dns, "news.example", source=TABLET) == ["0.0.0.0"]
        assert kdig_addresses(running.dns, "gambling.example", source=TABLET) == ["0.0.0.0"]
        ruled, listed = row_of(running, "news.example"), row_of(running, "gambling.example")
        running.edit_policy(after)
        wait_until(
            lambda: kdig_addresses(running.dns, "news.example", source=TABLET) != ["0.0.0.0"], 60, "the change applies"
        )
    with running_hedgerow(after, lists=LISTS, directory=tmp_path) as running:
        then = text_of(page(running, "/why", row=ruled))
        assert "blocked news.example" in then
        assert "block: [{what: news.example, note: until the exam}]" in then
        assert "changed since then" in then
        assert "The rule for news.example opens it." in then.partition("And now")[2]
        from_list = text_of(page(running, "/why", row=listed))
        assert "topic: Gambling" in from_list
        assert re.search(r"List \S*gambling\.hosts · as of", from_list), from_list
        assert kdig_addresses(running.dns, "gambling.example", source=TABLET) == ["0.0.0.0"]
        wait_until(lambda: row_of(running, "gambling.example") != listed, 60, "the new entry")
        assert "still in force" in text_of(page(running, "/why", row=row_of(running, "gambling.example")))
