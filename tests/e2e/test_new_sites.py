"""A site that is new here: closed to a small child, open to everybody else, and known after some days, also after a restart."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from list_server import ListServer, text
from small_internet import SmallInternet
from small_internet.authority import Authority, server_context
from small_internet.clients import curl, kdig
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.sites_seen import DAY_S, SitesSeen

CHILD, PARENT = "127.0.0.6", "127.0.0.41"
SITE = "kleine-eisenbahn-freunde.net"


def policy(net: SmallInternet) -> str:
    people = "people: {mia: {age: 6, devices: [tablet]}, ana: {age: 41, devices: [phone]}}\n"
    return f"{network_section(net)}  new_sites_days: 7\n{people}devices: {{tablet: {{ip: {CHILD}}}, phone: {{ip: {PARENT}}}}}\n"


def is_blocked(running: Hedgerow, source: str = CHILD, site: str = SITE) -> bool:
    answer = kdig(running.dns, f"www.{site}", source=source)
    assert answer is not None, running.stderr
    return answer.data("A") == ["0.0.0.0"]


def test_a_new_site_is_closed_to_the_youngest_for_some_days(whole_internet: SmallInternet, tmp_path: Path) -> None:
    file, today = tmp_path / "state" / "published" / "sites_seen", int(time.time() // DAY_S)

    def prepare(_directory: Path) -> None:
        file.parent.mkdir(parents=True, mode=0o700)
        file.write_bytes(SitesSeen(7, today, today - 30).pack())

    with running_hedgerow(policy(whole_internet), directory=tmp_path, prepare=prepare) as running:
        assert is_blocked(running, CHILD)
        assert not is_blocked(running, PARENT)
        told = json.loads(running.run("explain", "--json", "tablet", SITE).stdout)["decision"]
        assert (told["verdict"], told["reason"], told["what"]) == ("block", "recognised", "new-domains")
        page = curl(f"http://{SITE}/", proxy=running.proxy, source=CHILD)
        assert (page.status, "This site is new here" in page.text) == (403, True)
    seen = SitesSeen.unpack(file.read_bytes())
    assert seen.first_day(seen.hash_of(SITE)) == today
    file.write_bytes(SitesSeen(7, today, today - 30, seen.key).with_sites({seen.hash_of(SITE): today - 7}, today).pack())
    with running_hedgerow(policy(whole_internet), directory=tmp_path) as running:
        assert not is_blocked(running, CHILD)


OLD_SITE = "alte-eisenbahn-freunde.net"


def test_a_registry_opens_what_was_registered_long_ago_and_dates_what_was_not(
    whole_internet: SmallInternet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    file, today = tmp_path / "state" / "published" / "sites_seen", int(time.time() // DAY_S)
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"

    def prepare(_directory: Path) -> None:
        file.parent.mkdir(parents=True, mode=0o700)
        file.write_bytes(SitesSeen(7, today, today - 30).pack())

    def why(running: Hedgerow, site: str) -> str:
        return running.run("explain", "tablet", site).stdout

    with ListServer(server_context(authority.leaf("127.0.0.1"))).serving() as registry:
        for site, date in ((OLD_SITE, "2015-05-03"), (SITE, yesterday)):
            events = [{"eventAction": "registration", "eventDate": f"{date}T09:00:00Z"}]
            registry.paths[f"/domain/{site}"] = text(json.dumps({"objectClassName": "domain", "ldhName": site, "events": events}).encode())
        asks = f"network:\n  registration_age: {registry.root}\n"
        asking = policy(whole_internet).replace("network:\n", asks)
        with running_hedgerow(asking, directory=tmp_path, prepare=prepare) as running:
            assert not is_blocked(running, PARENT)  # what is open is nobody's business
            assert is_blocked(running, site=OLD_SITE)
            wait_until(lambda: not is_blocked(running, site=OLD_SITE), 30.0, "the old site opens")
            assert [path for path, _ in registry.asked] == [f"/domain/{OLD_SITE}"]
            assert "it is new here, but was registered on 2015-05-03" in why(running, OLD_SITE)
            assert is_blocked(running)
            wait_until(lambda: f"(registered {yesterday})" in why(running, SITE), 30.0, "the new site has a date")
            assert is_blocked(running)
            assert f"It was registered on {yesterday}" in curl(f"http://{SITE}/", proxy=running.proxy, source=CHILD).text
            assert 'hedgerow_registration_questions_total{outcome="answered"} 2.0' in curl(f"{running.web}/metrics").text
        with running_hedgerow(asking, directory=tmp_path) as running:
            assert (is_blocked(running, site=OLD_SITE), is_blocked(running)) == (False, True)
            assert f"(registered {yesterday})" in why(running, SITE)
        assert len(registry.asked) == 2
        with running_hedgerow(policy(whole_internet), directory=tmp_path) as running:  # nobody is asked any more
            assert is_blocked(running, site=OLD_SITE)
