"""A site that is new here: closed to a small child, open to everybody else, and known after some days, also after a restart."""

from __future__ import annotations

import json
import time
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.running import Hedgerow, network_section, running_hedgerow

from hedgerow.policies.sites_seen import DAY_S, SitesSeen

CHILD, PARENT = "127.0.0.6", "127.0.0.41"
SITE = "kleine-eisenbahn-freunde.net"


def policy(net: SmallInternet) -> str:
    people = "people: {mia: {age: 6, devices: [tablet]}, ana: {age: 41, devices: [phone]}}\n"
    return f"{network_section(net)}  new_sites_days: 7\n{people}devices: {{tablet: {{ip: {CHILD}}}, phone: {{ip: {PARENT}}}}}\n"


def is_blocked(running: Hedgerow, source: str) -> bool:
    answer = kdig(running.dns, f"www.{SITE}", source=source)
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
