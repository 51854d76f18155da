"""The end of a permission, from each page that has its button."""

import httpx
import pytest
from web_server import NOW, TOKEN

from hedgerow.policies.model import Grant


@pytest.mark.parametrize("page", ["/day", "/"])
def test_the_page_from_which_a_permission_was_ended_stays(web, page):
    web.ledger.give(Grant("given", "chess.example", "ana", NOW, None, person="mia"))
    headers = {"authorization": f"Bearer {TOKEN}", "origin": web.url, "referer": f"{web.url}{page}"}
    with httpx.Client(base_url=web.url, trust_env=False, timeout=30, headers=headers, verify=False) as local:
        assert local.post("/grants/given/revoke").headers["location"].partition("?")[0] == page
    assert web.control.reader.grants(NOW + 1) == ()
