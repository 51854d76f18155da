"""The bandwidth of seats: which limit each has, and rules that nftables takes."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.features.cafe import queueing
from hedgerow.features.cafe.bandwidth import (
    SeatBytes,
    SeatLine,
    increase,
    parse_seat_bytes,
    render_bandwidth,
    render_bandwidth_removal,
    seat_lines,
)
from hedgerow.features.cafe.seat_limiter import SeatLimiter
from hedgerow.features.cafe.settings import Bandwidth
from hedgerow.features.contract import GatewayCore
from hedgerow.network import gateway as nftables
from hedgerow.network.nft_expressions import NftCommand
from hedgerow.policies.model import DeviceId, Session
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.text.addresses import parse_network

POLICY = b"""
cafe: {bandwidth: {child: [8, 2], adult: 20}}
unopened_seats: closed
seats:
  seat-1: {mac: "02:00:00:00:00:01"}
  seat-2: {mac: "02:00:00:00:00:02"}
  seat-3: {cidr: 192.168.60.16/28}
devices:
  kiosk: {mac: "02:00:00:00:00:09", profile: seat-child}
  counter: {mac: "02:00:00:00:00:0a", profile: adult}
"""
CHILD, ADULT = Bandwidth(8_000_000, 2_000_000), Bandwidth(20_000_000, 20_000_000)


def rulesets(catalogue: Catalogue, *sessions: Session, policy: bytes = POLICY) -> Rulesets:
    return Rulesets(parse_policy(policy, Path("hedgerow.yaml")), (), (), catalogue, sessions=sessions)


def session(seat: str, profile: str, ends: float | None = None) -> Session:
    return Session(seat, DeviceId(seat), "ana", 0.0, ends, profile=profile)


def test_the_kind_of_session_decides(catalogue: Catalogue) -> None:
    found = rulesets(catalogue, session("seat-1", "seat-adult", 100.0), session("seat-3", "seat-child"))
    assert {line.seat: line.limit for line in seat_lines(found, 50.0)} == {
        "seat-1": ADULT,
        "seat-2": CHILD,
        "seat-3": CHILD,
        "kiosk": CHILD,
    }
    after = {line.seat: line.limit for line in seat_lines(found, 100.0)}
    assert after[DeviceId("seat-1")] == CHILD, "without a session a seat has the profile of a child"


def test_without_limits_no_seat_is_counted(catalogue: Catalogue) -> None:
    bare = POLICY.replace(b"cafe: {bandwidth: {child: [8, 2], adult: 20}}", b"")
    assert seat_lines(rulesets(catalogue, session("seat-1", "seat-child"), policy=bare), 0.0) == ()


def test_nftables_takes_the_rules_and_counts(tmp_path: Path) -> None:
    nft = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    unshare = shutil.which("unshare")
    if nft is None or unshare is None:
        pytest.skip("nft and unshare are not installed")
    networks = tuple(
        network for text in ("192.168.60.16/28", "fd00::7") if (network := parse_network(text)) is not None
    )
    lines = (
        SeatLine(DeviceId("seat-1"), ("02:00:00:00:00:01",), (), CHILD),
        SeatLine(DeviceId("seat-2"), (), networks, None),
        SeatLine(DeviceId("seat-3"), (), (), ADULT),
    )
    commands = tmp_path / "commands.json"
    commands.write_text(json.dumps({"nftables": render_bandwidth(["lo"], lines)}))
    apply, show = (
        f"{nft} -j -f {commands}",
        f"{nft} list table netdev hedgerow && {nft} -j list counters table netdev hedgerow",
    )
    done = subprocess.run(
        [unshare, "--net", "sh", "-c", f"{apply} && {apply} && {show}"], capture_output=True, text=True, check=False
    )
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("network namespaces cannot be made here")
    assert done.returncode == 0, done.stderr
    table, start, counters = done.stdout.partition('{"nftables"')
    assert "ether saddr vmap { 02:00:00:00:00:01 : goto up-1 }" in table
    assert "limit rate over 250000 bytes/second" in table or "limit rate over 244 kbytes/second" in table
    assert "meta priority set 5ea7:1" in table
    assert "goto down-3" not in table, "it has no address"
    counted = json.loads(start + counters)["nftables"]
    assert parse_seat_bytes(counted, lines) == {line.seat: SeatBytes(0, 0) for line in lines}


def test_bytes_between_two_readings() -> None:
    one, two = DeviceId("seat-1"), DeviceId("seat-2")
    found = increase({one: SeatBytes(100, 10)}, {one: SeatBytes(150, 10), two: SeatBytes(7, 0)})
    assert found == {one: SeatBytes(50, 0), two: SeatBytes(7, 0)}


def test_the_end_of_the_last_seat_leaves_no_limit_after_an_error(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules may be in place although the interface was refused, and without seats nobody looks again."""
    applied: list[list[NftCommand]] = []
    freed: list[str] = []

    def refuse(_name: str, _rates: object) -> None:
        raise queueing.QueueingError("lan0 has a queueing discipline of somebody's own.")

    monkeypatch.setattr(nftables, "apply", applied.append)
    monkeypatch.setattr(queueing, "limit_interface", refuse)
    monkeypatch.setattr(queueing, "free_interface", freed.append)
    monkeypatch.setattr("hedgerow.network.interfaces.device_ports", tuple)
    GatewayConfig(lan=("lan0",)).save(tmp_path)
    view = cast(Any, SimpleNamespace(rulesets=rulesets(catalogue)))
    core = GatewayCore(
        settings=cast(Any, SimpleNamespace(state=tmp_path)),
        view=lambda: view,
        guarded_tunnel=tuple,
        report=lambda _totals: None,
        writer=cast(Any, None),
    )

    async def day() -> None:
        limiter = SeatLimiter(core)
        running = asyncio.create_task(limiter.run())
        async with asyncio.timeout(20):
            while not applied:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await limiter.close()

    asyncio.run(day())
    assert applied[0] != render_bandwidth_removal()
    assert (applied[-1], freed) == (render_bandwidth_removal(), ["lan0"])
