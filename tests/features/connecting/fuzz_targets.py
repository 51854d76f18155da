"""Answers of routers."""

from __future__ import annotations

from fuzz_targets.target import FuzzTarget

from hedgerow.features.connecting.handed_out import inform, parse_dns_servers


def answer(data: bytes) -> None:
    parse_dns_servers(b"\x02" + inform("192.168.1.2", 7)[1:240] + data, 7)


TARGETS: dict[str, FuzzTarget] = {
    "dhcp-answer": FuzzTarget(answer, (b"\x35\x01\x05\x00\x06\x08\xc0\xa8\x01\x02\x09\x09\x09\x09\xff",), ()),
}
