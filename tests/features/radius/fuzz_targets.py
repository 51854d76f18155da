"""Reports of users."""

from __future__ import annotations

import hashlib

from fuzz_targets.target import FuzzTarget

from hedgerow.features.radius.protocol import parse_accounting


def report(data: bytes) -> None:
    data = data[: 0xFFFF - 20]
    head = b"\x04\x01" + (20 + len(data)).to_bytes(2)
    parse_accounting(head + hashlib.md5(head + bytes(16) + data + b"secret").digest() + data, b"secret")


TARGETS: dict[str, FuzzTarget] = {
    "radius": FuzzTarget(report, (b"\x28\6\0\0\0\1\1\5mia\x08\6\x0a\0\0\1\x1f\x1302-00-5E-00-53-01",), (ValueError,)),
}
