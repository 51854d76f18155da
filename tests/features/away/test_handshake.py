"""Answers that were forged on the way, and the right one. A real WireGuard answers in tests/lab/test_away.py."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from hedgerow.features.away.handshake import Handshake, TunnelFileKeys, _derive, parse_tunnel_file

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
    assert handshake.is_answer(answer_of_home(initiation, device.public_key(), shared)), (
        "the right answer, after a forged one"
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda index, right: b"",
        lambda index, right: right[:-1],
        lambda index, right: right + b"x",
        lambda index, right: b"\1" + right[1:],
        lambda index, right: right[:8] + bytes(4) + right[12:],
        lambda index, right: b"\3\0\0\0" + bytes(60),  # a cookie for somebody else
        lambda index, right: b"\3\0\0\0" + index + bytes(55),
    ],
)
def test_a_datagram_for_somebody_else_or_of_another_length_is_none(answer: Callable[[bytes, bytes], bytes]) -> None:
    device, shared = X25519PrivateKey.generate(), os.urandom(32)
    handshake = Handshake(TunnelFileKeys(device.private_bytes_raw(), PUBLIC, shared, "home.example", 51820))
    initiation = handshake.initiation(1.0)
    index, right = initiation[4:8], answer_of_home(initiation, device.public_key(), shared)
    assert not handshake.is_answer(answer(index, right))
    assert handshake.is_answer(b"\3\0\0\0" + index + bytes(56)), "home is there, and under load"
    assert handshake.is_answer(right)


PRIVATE_KEY, PUBLIC_KEY, SHARED_KEY = (bytes([number]) * 32 for number in (1, 2, 3))
FILE = """
[Interface]
PrivateKey = {}
Address = 10.60.0.2/32

[Peer]
PublicKey = {}
PresharedKey = {}
Endpoint = {}
AllowedIPs = 0.0.0.0/0
"""


def tunnel_file(*, shared: bytes = SHARED_KEY, endpoint: str = "home.example:51820") -> str:
    return FILE.format(*(b64encode(key).decode() for key in (PRIVATE_KEY, PUBLIC_KEY, shared)), endpoint)


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("home.example:51820", "home.example", 51820),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
    ],
)
def test_a_tunnels_file_is_read(endpoint: str, host: str, port: int) -> None:
    expected = TunnelFileKeys(PRIVATE_KEY, PUBLIC_KEY, SHARED_KEY, host, port)
    assert parse_tunnel_file(tunnel_file(endpoint=endpoint)) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it has no Endpoint"),
        (tunnel_file().replace("PresharedKey", "SharedKey"), "it has no PresharedKey"),
        (tunnel_file(shared=bytes(31)), "a key is not 32 octets long"),
        (tunnel_file().replace("PublicKey = A", "PublicKey = !"), "."),
        (tunnel_file(endpoint="home.example"), "."),
        (tunnel_file(endpoint="home.example:wireguard"), "."),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_tunnel_file(text)


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
