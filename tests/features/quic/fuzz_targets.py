"""Frames of HTTP/3."""

from __future__ import annotations

from fuzz_targets.target import FuzzTarget

from hedgerow.features.quic.doh3 import ControlReader, Http3Error, frame, parse_request


def doh3(data: bytes) -> None:
    """The first octet chooses a request or a unidirectional stream."""
    if data[:1] == b"\0":
        parse_request(0, data[1:])
        return
    reader = ControlReader()
    for at in range(1, len(data), 7):
        reader.feed(2, data[at : at + 7], ends=False)


TARGETS: dict[str, FuzzTarget] = {
    "doh-http3": FuzzTarget(
        doh3,
        (
            b"\0" + frame(1, b"\0\0\xd1\xd7\x51\x02/x\x50\x01h") + frame(0x21, b"grease") + frame(0, b"body"),
            b"\1\0" + frame(4, b"\6\x60\0") + frame(0x0D, b"\1"),
        ),
        (Http3Error,),
    ),
}
