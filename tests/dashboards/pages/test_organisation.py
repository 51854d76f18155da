"""The page of all sites."""

from __future__ import annotations

import httpx
from web_server import TOKEN, Web
from web_server.household import fill


def test_sites_in_need_of_attention_come_first(web: Web) -> None:
    fill(web)
    answer = httpx.get(f"{web.url}/organisation", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    for words in ("2 machines report.", "2 need attention.", "some workers are not running", "7 / 20", "never seen", "only at: cafe-1"):
        assert words in answer.text
