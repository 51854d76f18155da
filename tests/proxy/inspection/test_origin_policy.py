"""Blocks that only name resolution reveals: no text of an origin recalls one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.proxy.inspection.addon import InspectionAddon
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
    assert (block.request, block.decision) == (REQUEST, blocked.decision)
    assert (explain(block), explain(str(block))) == ("the block page", "an error")


def explain(message: str) -> Any:
    """Return what a client gets for a failure with this message."""
    page = SimpleNamespace(
        blocked=lambda *_words: "the block page",
        short_page=lambda *_words, **_options: "an error",
        reader_of=lambda *_words: None,
    )
    clients = SimpleNamespace(policy=SimpleNamespace(page=page), find=lambda _id: None)
    addon: Any = SimpleNamespace(clients=clients, _key=b"k" * 32, _clock=lambda: 0.0)
    return InspectionAddon.explain(addon, 502, message, None, "first")
