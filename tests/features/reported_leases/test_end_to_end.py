"""Devices behind a router, known by the leases that a DHCP server reports."""

from __future__ import annotations

from pathlib import Path

import httpx
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, hedgerow_again, network_section, running_hedgerow, wait_until

TABLET = "02:00:5e:00:53:01"
BEHIND = "127.0.9.6"
BLOCKED = ["0.0.0.0"]
PEOPLE = """
people:
  mia: {age: 40, devices: [tablet], block: [mias.example]}
devices:
  tablet: {mac: "02:00:5e:00:53:01"}
"""


def lease(running: Hedgerow, method: str, address: str, body: object = None) -> httpx.Response:
    local = httpx.HTTPTransport(uds=str(running.state / "run" / "control.sock"), verify=False)
    with httpx.Client(transport=local, trust_env=False, timeout=30) as client:
        return client.request(method, f"http://localhost/api/v1/leases/{address}".rstrip("/"), json=body)


def is_blocked(running: Hedgerow) -> bool:
    return kdig_addresses(running.dns, "mias.example", source=BEHIND) == BLOCKED


def test_a_device_behind_a_router_is_known_by_its_lease(internet: SmallInternet, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with running_hedgerow(network_section(internet) + PEOPLE, directory=tmp_path) as running:
        assert not is_blocked(running)
        assert not (running.state / "leases.json").exists(), "nobody has reported a lease"
        assert lease(running, "PUT", BEHIND, {"mac": TABLET.upper()}).status_code == 204
        wait_until(lambda: is_blocked(running), 20, "the policy's device by its lease")
        assert lease(running, "PUT", BEHIND, {"mac": "none"}).status_code == 422
        assert lease(running, "PUT", "nowhere", {"mac": TABLET}).status_code == 422
    with hedgerow_again(tmp_path, tmp_path / "again.txt") as running:
        assert is_blocked(running), "the lease outlasts a restart"
        assert [each["mac"] for each in lease(running, "GET", "").json()] == [TABLET]
        assert lease(running, "DELETE", BEHIND).status_code == 204
        wait_until(lambda: not is_blocked(running), 20, "the address is free")
        assert lease(running, "DELETE", BEHIND).status_code == 404
