"""Files of statements that an inspection checks."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fuzz_targets.target import FuzzTarget

from hedgerow.features.statements.chain import verify_chain


def statements(data: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    assert not verify_chain(data.splitlines(), (key,), (key,)).receipts


TARGETS: dict[str, FuzzTarget] = {
    "statements": FuzzTarget(
        statements, (b'{"statement": {"number": 1, "day": "2026-11-24"}, "signature": "AAAA"}\n',)
    ),
}
