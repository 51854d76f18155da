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


def token_of(running: Hedgerow, scope: str) -> str:
    local = httpx.HTTPTransport(uds=str(running.state / "run" / "control.sock"), verify=False)
    with httpx.Client(transport=local, trust_env=False, timeout=30) as client:
        made = client.post("http://localhost/api/v1/tokens", json={"name": scope, "scopes": [scope]})
        return str(made.json()["token"])


def status_of(running: Hedgerow, method: str, path: str, token: str, body: object = None) -> int:
    """The answer to a machine elsewhere on the network."""
    transport, headers = httpx.HTTPTransport(local_address="127.0.9.7"), {"authorization": f"Bearer {token}"}
    with httpx.Client(transport=transport, headers=headers, trust_env=False, timeout=30) as client:
        return client.request(method, f"{running.web}/api/v1/{path}", json=body).status_code


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
        for nowhere in (
            "nowhere",
            "224.0.0.251",
            "ff02::fb",
            "0.0.0.0",
            "::",
            "fe80::1%<b>",
            "1" * 46,
        ):
            assert lease(running, "PUT", nowhere, {"mac": TABLET}).status_code == 422, nowhere
        for nobody in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "<b>", "", "02:00:5e:00:53:01\n", None, 7):
            assert lease(running, "PUT", "127.0.9.8", {"mac": nobody}).status_code == 422, nobody
        bodies: tuple[object, ...] = (
            {"mac": TABLET, "until": "soon"},
            {"mac": TABLET, "until": -1},
            {"mac": TABLET, "name": "x"},
            [],
        )
        for body in bodies:
            assert lease(running, "PUT", "127.0.9.8", body).status_code == 422, body
        assert lease(running, "PUT", "127.0.9.8", {"mac": TABLET, "more": "x" * 70_000}).status_code == 413
        for token, reports in (("leases", 204), ("manage", 204), ("read", 403), ("metrics", 403)):
            secret = token_of(running, token)
            assert status_of(running, "PUT", "leases/127.0.9.9", secret, {"mac": TABLET}) == reports, token
            assert status_of(running, "DELETE", "leases/127.0.9.9", secret) == reports, token
            if token == "leases":
                for path in ("leases", "policy", "devices", "decisions", "status", "tokens"):
                    assert status_of(running, "GET", path, secret) == 403, path
                assert status_of(running, "POST", "pause", secret, {}) == 403
        assert status_of(running, "PUT", "leases/127.0.9.9", "forged", {"mac": TABLET}) in (401, 403)
        assert lease(running, "PUT", f"::ffff:{BEHIND}", {"mac": TABLET}).status_code == 204
        assert len(lease(running, "GET", "").json()) == 1, "the same address in another form"
    with hedgerow_again(tmp_path, tmp_path / "again.txt") as running:
        assert is_blocked(running), "the lease outlasts a restart"
        assert [each["mac"] for each in lease(running, "GET", "").json()] == [TABLET]
        assert lease(running, "DELETE", BEHIND).status_code == 204
        wait_until(lambda: not is_blocked(running), 20, "the address is free")
        assert lease(running, "DELETE", BEHIND).status_code == 404
