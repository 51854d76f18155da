"""The first two messages of a WireGuard session, by which a machine anywhere finds out whether a device's tunnel is
answered.

Bytes in, bytes out: no sockets and no clock. Source: the WireGuard paper, sections 5.4.2 to 5.4.4. Nothing else can
tell from outside that the port is reached, since WireGuard answers nobody without a key.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode
from dataclasses import dataclass, field
from hashlib import blake2s
from struct import pack

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_CONSTRUCTION, _IDENTIFIER = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_TAI64_EPOCH = 0x400000000000000A
_INITIATION, _RESPONSE, _COOKIE_REPLY = b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0"
_RESPONSE_OCTETS, _COOKIE_OCTETS, _MAC_OCTETS = 92, 64, 16
_KEY_OCTETS, _ZERO_NONCE = 32, bytes(12)


@dataclass(frozen=True, slots=True)
class TunnelFileKeys:
    """A device's end of a tunnel, as its file describes it: keys, and the host and port of the other end."""

    private: bytes = field(repr=False)
    public: bytes
    shared: bytes = field(repr=False)
    host: str
    port: int


def parse_tunnel_file(text: str) -> TunnelFileKeys:
    """Read a file of `hedgerow away add` (wg-quick(8)). Raises ValueError."""
    values = {
        key.strip(): value.strip()
        for key, separator, value in (line.partition("=") for line in text.splitlines())
        if separator
    }
    try:
        host, _, port = values["Endpoint"].rpartition(":")
        private, public, shared = (
            b64decode(values[name], validate=True) for name in ("PrivateKey", "PublicKey", "PresharedKey")
        )
        if not len(private) == len(public) == len(shared) == _KEY_OCTETS:
            raise ValueError(f"a key is not {_KEY_OCTETS} octets long")
        return TunnelFileKeys(private, public, shared, host.strip("[]"), int(port))
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}") from None


class Handshake:
    """One attempt. `initiation` returns the datagram to send; `is_answer` recognises the other end's answer."""

    def __init__(self, end: TunnelFileKeys) -> None:
        self._end = end
        self._index = os.urandom(4)
        self._ephemeral = X25519PrivateKey.generate()
        self._chain = _hash(_CONSTRUCTION)
        self._hash = _hash(_hash(self._chain, _IDENTIFIER), end.public)

    def initiation(self, now: float) -> bytes:
        """Return the first message (148 octets) at an instant, which must be later than that of any message before."""
        end, static = self._end, X25519PrivateKey.from_private_bytes(self._end.private)
        ephemeral = self._ephemeral.public_key().public_bytes_raw()
        self._mix_hash(ephemeral)
        self._mix_key(ephemeral)
        key = self._mix_key(self._ephemeral.exchange(X25519PublicKey.from_public_bytes(end.public)))
        sealed = self._seal(key, static.public_key().public_bytes_raw())
        key = self._mix_key(static.exchange(X25519PublicKey.from_public_bytes(end.public)))
        stamp = self._seal(key, pack("!QL", _TAI64_EPOCH + int(now), int(now % 1 * 1e9)))
        body = _INITIATION + self._index + ephemeral + sealed + stamp
        mac = blake2s(body, key=_hash(b"mac1----", end.public), digest_size=_MAC_OCTETS).digest()
        return body + mac + bytes(_MAC_OCTETS)

    def is_answer(self, data: bytes) -> bool:
        """Return True for the answer of whoever has the other key: a response or, under load, a cookie (which is not
        verified).
        """
        if data[:4] == _COOKIE_REPLY:
            return len(data) == _COOKIE_OCTETS and data[4:8] == self._index
        if len(data) != _RESPONSE_OCTETS or data[:4] != _RESPONSE or data[8:12] != self._index:
            return False
        before = self._chain, self._hash
        ephemeral, static = data[12:44], X25519PrivateKey.from_private_bytes(self._end.private)
        theirs = X25519PublicKey.from_public_bytes(ephemeral)
        try:
            secrets = ephemeral, self._ephemeral.exchange(theirs), static.exchange(theirs)
        except ValueError:  # a point of low order, which no key has
            return False
        self._mix_hash(ephemeral)
        for secret in secrets:
            self._mix_key(secret)
        self._chain, mixed, key = _derive(self._chain, self._end.shared, 3)
        self._mix_hash(mixed)
        try:
            ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, data[44:60], self._hash)
        except InvalidTag:  # forged: the right answer may still come
            self._chain, self._hash = before
            return False
        return True

    def _seal(self, key: bytes, plain: bytes) -> bytes:
        sealed = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, plain, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _mix_hash(self, data: bytes) -> None:
        self._hash = _hash(self._hash, data)

    def _mix_key(self, secret: bytes) -> bytes:
        self._chain, key = _derive(self._chain, secret, 2)
        return key


def _hash(*parts: bytes) -> bytes:
    return blake2s(b"".join(parts)).digest()


def _derive(key: bytes, secret: bytes, count: int) -> list[bytes]:
    """Return `count` keys of 32 octets (HKDF of the paper, section 5.4)."""
    root, made = hmac.digest(key, secret, "blake2s"), b""
    found = []
    for number in range(1, count + 1):
        made = hmac.digest(root, made + bytes([number]), "blake2s")
        found.append(made)
    return found
