"""Answers that were forged on the way, and the right one. A real WireGuard answers in tests/lab/test_away.py."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from hedgerow.network.handshake import Handshake, TunnelFileKeys, _derive

HOME = X25519PrivateKey.generate()
PUBLIC = HOME.public_key().public_bytes_raw()


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), PUBLIC], ids=["zero", "low order", "another key's"])
def test_a_forged_answer_is_none(point: bytes) -> None:
    device, shared = X25519PrivateKey.generate(), os.urandom(32)
    handshake = Handshake(TunnelFileKeys(device.private_bytes_raw(), PUBLIC, shared, "home.example", 51820))
    initiation = handshake.initiation(1.0)
    forged = b"\2\0\0\0" + bytes(4) + initiation[4:8] + point + bytes(48)
    assert len(forged) == 92
    assert not handshake.is_answer(forged)
    assert handshake.is_answer(answer_of_home(initiation, device.public_key(), shared)), "the right answer, after a forged one"


def answer_of_home(initiation: bytes, device: X25519PublicKey, shared: bytes) -> bytes:
    """Answer as the other end does (the WireGuard paper, section 5.4.3)."""
    home = Handshake(TunnelFileKeys(HOME.private_bytes_raw(), PUBLIC, shared, "home.example", 51820))
    theirs, own = X25519PublicKey.from_public_bytes(initiation[8:40]), X25519PrivateKey.generate()
    sent = own.public_key().public_bytes_raw()
    for mixed, secrets in (
        (initiation[8:40], (initiation[8:40], HOME.exchange(theirs))),
        (initiation[40:88], (HOME.exchange(device),)),
        (initiation[88:116], ()),
        (sent, (sent, own.exchange(theirs), own.exchange(device))),
    ):
        home._mix_hash(mixed)
        for secret in secrets:
            home._mix_key(secret)
    home._chain, mixed, key = _derive(home._chain, shared, 3)
    home._mix_hash(mixed)
    return b"\2\0\0\0" + bytes(4) + initiation[4:8] + sent + home._seal(key, b"") + bytes(32)
