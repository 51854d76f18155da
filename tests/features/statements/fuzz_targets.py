"""Files of statements and entries that an inspection checks."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fuzz_targets.target import FuzzTarget

from hedgerow.features.statements.chain import verify_chain
from hedgerow.features.statements.counter_check import check_lines


def statements(data: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    assert not verify_chain(data.splitlines(), (key,), (key,)).receipts


def entries(data: bytes) -> None:
    report = check_lines(data.splitlines(), ())
    assert report.entries or report.problems or not data.splitlines()


TARGETS: dict[str, FuzzTarget] = {
    "statements": FuzzTarget(
        statements, (b'{"statement": {"number": 1, "day": "2026-11-24"}, "signature": "AAAA"}\n',)
    ),
    "counter_entries": FuzzTarget(
        entries,
        (b'{"digest":"","entry":{"action":"pay","actor":"Ana","at":5.0,"taken":3},"number":1,"previous":""}\n',),
    ),
}
