"""More than a hundred mistakes in the policy of a running Hedgerow: each is reported, and none changes the rules in
force.
"""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

from hedgerow.policies.reading.load import PolicyError, parse_policy

SECTIONS = Path(__file__).parents[1] / "policies" / "reading" / "mistakes.txt"
NOTICED = 10
"""Mistakes that Hedgerow notices by itself. It is told to read the others, which takes less time."""


@contextlib.contextmanager
def _api(running: Hedgerow) -> Iterator[httpx.Client]:
    token = (running.state / "admin-token").read_text().strip()
    with httpx.Client(
        base_url=f"{running.web}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
        verify=False,
    ) as http:
        yield http


def _status(api: httpx.Client) -> dict[str, Any]:
    return dict(api.get("/status").json())


def _mistakes_of(text: str, path: Path) -> list[tuple[int | None, str]]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode(), path)
    return [(problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.timeout(300)
def test_no_mistake_changes_the_running_policy(internet: SmallInternet) -> None:
    texts = [
        section.partition("\n")[2]
        for section in re.split(r"^=== ", SECTIONS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    ]
    assert len(texts) > 100
    with running_hedgerow(family_policy(internet), lists=LISTS) as running, _api(running) as api:
        before = _status(api)["policy_loaded"]
        snapshot = (running.state / "published" / "snapshot.json").read_bytes()
        for number, text in enumerate(texts):
            expected = _mistakes_of(text, running.policy_path)
            running.edit_policy(text)
            if number >= NOTICED:
                running.process.send_signal(signal.SIGHUP)

            def is_told(wanted: list[tuple[int | None, str]] = expected) -> bool:
                return [(each["line"], each["message"]) for each in _status(api)["policy_problems"]] == wanted

            wait_until(is_told, 60, f"the mistakes of {text!r}")
            assert _status(api)["policy_loaded"] == before
        assert (running.state / "published" / "snapshot.json").read_bytes() == snapshot
        assert kdig_addresses(running.dns, "news.example", source=TABLET) == ["0.0.0.0"]
        running.edit_policy(family_policy(internet).replace("news.example", "bank.example"))
        wait_until(
            lambda: kdig_addresses(running.dns, "bank.example", source=TABLET) == ["0.0.0.0"],
            60,
            "a good edit after all of them",
        )
        assert _status(api)["policy_problems"] == []
