"""Each change over the API says whether DNS and proxy apply the newest rules."""

from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest
from web_server import TOKEN, Web

from hedgerow.dashboards.control import Enforcement


@pytest.mark.parametrize(
    ("enforced", "is_in_force", "problem"),
    [
        (Enforcement(), "?1", ""),
        (Enforcement(("dns",)), "?0", "Saved, but not in force yet: names of sites still follow the rules of before."),
        (
            Enforcement((), "no room", is_written=False),
            "?0",
            "Saved, but not in force yet: it cannot be written (no room).",
        ),
        (
            Enforcement((), "no room"),
            "?1",
            "In force until the next restart: it cannot be saved (no room).",
        ),
    ],
)
def test_a_change_tells_whether_it_is_in_force(web: Web, enforced: Enforcement, is_in_force: str, problem: str) -> None:
    web.control.enforced = enforced
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, verify=False, timeout=60) as script:
        change = script.post("/api/v1/pause", json={"person": "mia"})
        assert change.status_code == 201
        assert change.headers["Hedgerow-In-Force"] == is_in_force
        assert unquote(change.headers.get("Hedgerow-Problem", "")) == problem
        assert "Hedgerow-In-Force" not in script.get("/api/v1/status").headers


def test_a_change_waits_for_one_that_is_being_published(web: Web) -> None:
    """A code changes no rules: only those of somebody else can be on their way."""
    web.control.enforced, web.control.settled = Enforcement(("dns", "proxy")), Enforcement()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, verify=False, timeout=60) as script:
        made = script.post("/api/v1/codes", json={"person": "mia", "subject": "roblox"})
        assert (made.status_code, made.headers["Hedgerow-In-Force"]) == (201, "?1")
