"""Answers of registries, and the list of their servers."""

from __future__ import annotations

from fuzz_targets.target import FuzzTarget

from hedgerow.features.registration_age.rdap import parse_bootstrap, parse_registration

_REGISTRATION = (
    b'{"objectClassName":"domain","ldhName":"EXAMPLE.net",'
    b'"events":[{"eventAction":"registration","eventDate":"2015-05-03T10:20:30.5+02:00"}]}'
)


def registration(data: bytes) -> None:
    day = parse_registration(data, "example.net", 20_000)
    assert day is None or 0 < day <= 20_001


TARGETS: dict[str, FuzzTarget] = {
    "registration": FuzzTarget(registration, (_REGISTRATION,), (ValueError,)),
    "rdap-servers": FuzzTarget(
        parse_bootstrap, (b'{"services": [[["net"], ["https://rdap.example/"]]]}',), (ValueError,)
    ),
}
