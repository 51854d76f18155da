"""Under which addresses this machine is reached."""

from __future__ import annotations

from collections.abc import Sequence

from hedgerow.network.own_addresses import OwnAddresses, own_addresses


def test_the_loopback_is_ours() -> None:
    assert "127.0.0.1" in own_addresses()


def test_they_are_looked_up_again_after_a_while() -> None:
    given: list[Sequence[str]] = [["192.0.2.1"], ["192.0.2.2"]]
    own = OwnAddresses(lambda: given.pop(0), seconds=3600)
    assert own() == {"192.0.2.1"}
    assert own() == {"192.0.2.1"}
    own = OwnAddresses(lambda: given.pop(0) if given else [], seconds=0)
    assert own() == {"192.0.2.2"}
    assert own() == set()
