"""Sites that are new here: closed to a small child, open to others, and known after some days, or by a registry that
the policy asks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from list_server import ListServer, text
from small_internet import SmallInternet
from small_internet.authority import Authority, server_context
from small_internet.clients import curl, kdig
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.sites_seen import DAY_S, SitesSeen

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date()
CHILD, PARENT = "127.0.0.6", "127.0.0.41"
OWN_NAME = "nas.familie-kleinstadt.net"
SITE, OLD_SITE = "kleine-eisenbahn-freunde.net", "alte-eisenbahn-freunde.net"


def policy(net: SmallInternet, asked: str = "") -> str:
    asked = f"  registration_age: {asked}\n" if asked else ""
    people = "people: {mia: {age: 6, devices: [tablet]}, ana: {age: 41, devices: [phone]}}\n"
    devices = f"devices: {{tablet: {{ip: {CHILD}}}, phone: {{ip: {PARENT}}}}}\n"
    return f"{network_section(net)}  new_sites_days: 7\n  records: {{{OWN_NAME}: 127.0.0.9}}\n{asked}{people}{devices}"


def is_blocked(running: Hedgerow, site: str = SITE, source: str = CHILD) -> bool:
    answer = kdig(running.dns, f"www.{site}", source=source)
    assert answer is not None, running.stderr
    return answer.data("A") == ["0.0.0.0"]


def explained(running: Hedgerow, site: str) -> str:
    return running.run("explain", "tablet", site).stdout


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ListServer]:
    """An RDAP server: one site was registered in 2015, the other yesterday."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    with ListServer(server_context(authority.leaf("127.0.0.1"))).serving() as server:
        for site, day in ((OLD_SITE, "2015-05-03"), (SITE, str(YESTERDAY))):
            events = [{"eventAction": "registration", "eventDate": f"{day}T09:00:00Z"}]
            server.paths[f"/domain/{site}"] = text(
                json.dumps({"objectClassName": "domain", "ldhName": site, "events": events}).encode()
            )
        yield server


def test_a_new_site_is_closed_to_the_youngest_for_some_days(
    whole_internet: SmallInternet, tmp_path: Path, registry: ListServer
) -> None:
    file, today = tmp_path / "state" / "published" / "sites_seen", int(time.time() // DAY_S)

    def prepare(_directory: Path) -> None:
        file.parent.mkdir(parents=True, mode=0o700)
        file.write_bytes(SitesSeen(7, today, today - 30).pack())

    with running_hedgerow(policy(whole_internet), directory=tmp_path, prepare=prepare) as running:
        assert (is_blocked(running), is_blocked(running, OLD_SITE), is_blocked(running, source=PARENT)) == (
            True,
            True,
            False,
        )
        own = kdig(running.dns, OWN_NAME, source=CHILD)
        assert own is not None
        assert own.data("A") == ["127.0.0.9"]
        told = json.loads(running.run("explain", "--json", "tablet", SITE).stdout)["decision"]
        assert (told["verdict"], told["reason"], told["what"]) == ("block", "recognised", "new-domains")
        page = curl(f"http://{SITE}/", proxy=running.proxy, source=CHILD)
        assert (page.status, "This site is new here" in page.text, registry.asked) == (403, True, [])

        running.edit_policy(policy(whole_internet, registry.root))
        wait_until(lambda: not is_blocked(running, OLD_SITE), 30.0, "the old site opens")
        assert [path for path, _ in registry.asked] == [f"/domain/{OLD_SITE}"]
        assert "it is new here, but was registered on 2015-05-03" in explained(running, OLD_SITE)
        assert is_blocked(running)
        wait_until(lambda: f"(registered {YESTERDAY})" in explained(running, SITE), 30.0, "the new site has a date")
        assert is_blocked(running)
        assert f"It was registered on {YESTERDAY}" in curl(f"http://{SITE}/", proxy=running.proxy, source=CHILD).text
        assert 'hedgerow_registration_questions_total{outcome="answered"} 2.0' in curl(f"{running.web}/metrics").text
    seen = SitesSeen.unpack(file.read_bytes())
    assert seen.first_day(seen.hash_of(SITE)) == today
    later = {seen.hash_of(SITE): today - 7, seen.hash_of(OLD_SITE): today}
    file.write_bytes(SitesSeen(7, today, today - 30, seen.key).with_sites(later, today, seen.registered).pack())
    with running_hedgerow(policy(whole_internet, registry.root), directory=tmp_path) as running:
        assert (is_blocked(running), is_blocked(running, OLD_SITE), len(registry.asked)) == (False, False, 2)
        running.edit_policy(policy(whole_internet))
        wait_until(lambda: is_blocked(running, OLD_SITE), 30.0, "nobody is asked any more")
