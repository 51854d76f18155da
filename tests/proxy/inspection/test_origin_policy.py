"""Blocks that only name resolution reveals: no text of an origin recalls one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.proxy.inspection.origin_policy import OriginPolicy
from hedgerow.proxy.inspection.origins import OriginError
from hedgerow.proxy.policy import Counters, DestinationGuard

REQUEST = Request(DeviceId("tablet"), RequestKind.HTTP, "cdn.example", url="https://cdn.example/")


def test_a_block_is_recalled_by_its_own_client_only() -> None:
    """An origin's status line comes into the same message, and could name a block that another child got."""
    blocked = SimpleNamespace(addresses=(), decision=Decision(Verdict.BLOCK, Reason.CATEGORY, "adult"))

    async def resolve(*_words: Any, **_options: Any) -> Any:
        return blocked

    policy = SimpleNamespace(resolve=resolve, guard=DestinationGuard(), observe=lambda *_words: None)
    clients: Any = SimpleNamespace(
        policy=policy,
        find=lambda _id: (Device(DeviceId("tablet"), "child-8-12"), object()),
        active_of=lambda _client: [SimpleNamespace(requests=(REQUEST,))],
    )
    origins, first = OriginPolicy(clients, Counters(), lambda: 0.0), SimpleNamespace(id="first")
    with pytest.raises(OriginError) as refused:
        asyncio.run(origins.addresses_for(first, "cdn.example", 443))  # type: ignore[arg-type]
    message = f"502 {refused.value}"
    found = origins.recall(message, "first")
    assert found is not None
    assert found.request is REQUEST
    assert origins.recall(message, "second") is None
    assert origins.recall(f"blocked behind a name ({'0' * 32})", "first") is None
    origins.forget(first)  # type: ignore[arg-type]
    assert origins.recall(message, "first") is None
