"""Two people of one home whose names are asked of different resolvers."""

from __future__ import annotations

import json

from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.nameserver import nameserver
from small_internet.records import parse_zone
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

ANN, MIA = "127.0.0.5", "127.0.0.6"
HOME = f"""
people:
  ann: {{age: 40, devices: [laptop]{{own}}}}
  mia: {{age: 9, devices: [tablet]}}
devices:
  laptop: {{ip: {ANN}}}
  tablet: {{ip: {MIA}}}
"""


def address(house: Hedgerow, source: str) -> list[str]:
    found = kdig(house.dns, "www.shared.example", source=source)
    assert found is not None, house.stderr
    return found.data("A")


def test_a_person_gets_resolvers_of_her_own_without_a_restart(whole_internet: SmallInternet) -> None:
    whole_internet.nameserver.add_zone(parse_zone("shared.example", "www 60 A 127.0.0.81"))
    with nameserver([parse_zone("shared.example", "www 60 A 127.0.0.82")]) as own:
        start = network_section(whole_internet)
        with running_hedgerow(start + HOME.replace("{own}", "")) as house:
            assert address(house, ANN) == address(house, MIA) == ["127.0.0.81"]
            house.edit_policy(start + HOME.replace("{own}", f", upstream: ['{own.upstream}']"))
            wait_until(lambda: address(house, ANN) == ["127.0.0.82"], 30, "her own resolver's answer")
            assert address(house, MIA) == ["127.0.0.81"]
            explained = json.loads(house.run("explain", "laptop", "www.shared.example", "--json").stdout)
            assert explained["upstream"] == [own.upstream]
            assert f"resolvers: {own.upstream}" in house.run("explain", "laptop", "www.shared.example").stdout
            house.edit_policy(start + HOME.replace("{own}", ""))
            wait_until(lambda: address(house, ANN) == ["127.0.0.81"], 30, "the network's again")
