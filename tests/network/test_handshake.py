"""Answers that were forged on the way. A real WireGuard answers in tests/lab/test_away.py."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from hedgerow.network.handshake import Handshake, TunnelFileKeys

PUBLIC = X25519PrivateKey.generate().public_key().public_bytes_raw()


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), PUBLIC], ids=["zero", "low order", "another key's"])
def test_a_forged_answer_is_none(point: bytes) -> None:
    handshake = Handshake(TunnelFileKeys(os.urandom(32), PUBLIC, os.urandom(32), "home.example", 51820))
    index = handshake.initiation(1.0)[4:8]
    answer = b"\2\0\0\0" + bytes(4) + index + point + bytes(48)
    assert len(answer) == 92
    assert not handshake.is_answer(answer)
