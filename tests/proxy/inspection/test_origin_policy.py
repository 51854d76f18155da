"""Blocks that only name resolution reveals: no text of an origin recalls one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.proxy.inspection.origin_policy import OriginPolicy, ResolutionBlock
from hedgerow.proxy.inspection.origins import OriginError
from hedgerow.proxy.policy import Counters, DestinationGuard

REQUEST = Request(DeviceId("tablet"), RequestKind.HTTP, "cdn.example", url="https://cdn.example/")


def test_a_failure_carries_its_block_and_no_text_of_an_origin_does() -> None:
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
    (block,) = refused.value.args
    assert isinstance(block, ResolutionBlock)
    assert block.request is REQUEST
    assert not isinstance(str(block), ResolutionBlock)
