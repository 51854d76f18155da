"""Old reports are answered and change nothing: whoever sends them repeats them otherwise, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hedgerow.features.radius.accounting import SECRET_NAME, RadiusAccounting
from hedgerow.journal.database import open_journal
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import DeviceLookup
from hedgerow.policies.reading.load import parse_policy

SECRET = b"between access point and filter"
MAC = "02-00-5E-00-53-01"
START, STOP, INTERIM = 1, 2, 3
HOUR = 3600.0


def request(status: int, at: float, session: str = "5F") -> bytes:
    fields = [(40, status.to_bytes(4)), (1, b"ana"), (31, MAC.encode()), (44, session.encode())]
    fields.append((55, int(at).to_bytes(4)))
    body = b"".join(bytes((kind, len(value) + 2)) + value for kind, value in fields)
    head = bytes((4, 7)) + (20 + len(body)).to_bytes(2)
    return head + hashlib.md5(head + bytes(16) + body + SECRET).digest() + body


def free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def answered(data: bytes, port: int) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        for _ in range(10):
            try:
                await loop.sock_sendall(client, data)
                async with asyncio.timeout(0.5):
                    answer = await loop.sock_recv(client, 4096)
            except (TimeoutError, ConnectionRefusedError):
                await asyncio.sleep(0.05)
                continue
            return answer[4:] == hashlib.md5(answer[:4] + data[4:20] + SECRET).digest()
    return False


def test_old_reports_are_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(check_answers(tmp_path))
    told = [record for record in caplog.records if "changes nothing" in record.message]
    assert len(told) == 2, "one for each reason"


async def check_answers(tmp_path: Path) -> None:
    (tmp_path / SECRET_NAME).write_bytes(SECRET)
    store = open_journal(tmp_path / "journal.sqlite")
    port = free_port()
    text = f"""network: {{radius: {{clients: [127.0.0.1], listen: "127.0.0.1:{port}", identity: user-name}}}}
people: {{ana: {{age: 9}}}}
"""
    policy = parse_policy(text.encode(), None)
    view = SimpleNamespace(rulesets=SimpleNamespace(devices=DeviceLookup(policy)))
    core: Any = SimpleNamespace(
        snapshots=SimpleNamespace(policy=policy, view=view, request=lambda: None),
        store=store,
        settings=SimpleNamespace(state=tmp_path),
    )
    accounting, now = RadiusAccounting(core), time.time()

    def people() -> list[str | None]:
        return [each.person for each in UsageStore(store).sessions(time.time())]

    running = asyncio.create_task(accounting.run())
    try:
        assert await answered(request(START, now - 1200), port), "it waited while nobody answered"
        assert people() == [] == [*accounting.status()]
        for hours in (5, 6):
            assert await answered(request(START, now - hours * HOUR), port)
        assert people() == []
        assert [row.about for row in accounting.status()] == ["users by RADIUS"]
        assert await answered(request(START, now), port)
        assert people() == ["ana"]
        assert [*accounting.status()] == []
        assert await answered(request(STOP, now + 1), port)
        assert await answered(request(INTERIM, now), port), "the relay delivers it after the end"
        assert people() == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.dispose()
