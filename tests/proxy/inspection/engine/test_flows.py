"""Our subclasses of mitmproxy's flows, fields and connections: they behave as their base classes do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from mitmproxy import http
from mitmproxy.connection import Client, Server

from hedgerow.proxy.inspection.engine.flows import (
    HeaderFields,
    HttpRequest,
    InspectedClient,
    InspectedFlow,
    OriginServer,
    values_of,
)

NAMES = some.sampled_from([b"A", b"a", b"Accept", b"accept", b"X-Y"])
FIELDS = some.lists(some.tuples(NAMES, some.binary(max_size=4)), max_size=6)


@given(FIELDS, NAMES, some.text("ab", max_size=3))
def test_fields_are_looked_up_and_changed_as_by_mitmproxy(
    fields: list[tuple[bytes, bytes]], name: bytes, value: str
) -> None:
    ours, theirs = HeaderFields(fields), http.Headers(fields)
    text = name.decode()
    for key in (name, text, "missing"):
        assert (key in ours, ours.get(key), ours.get(key, "other")) == (
            key in theirs,
            theirs.get(key),
            theirs.get(key, "other"),
        )
        assert ours.get_all(key) == theirs.get_all(key)
    assert values_of(ours) == values_of(theirs)
    for change in (
        lambda headers: headers.add(text, value),
        lambda headers: headers.pop(text, None),
        lambda headers: headers.__setitem__(text, value),
        lambda headers: headers.insert(0, text, value),
    ):
        change(ours)
        change(theirs)
        assert ours.fields == theirs.fields
        assert values_of(ours) == values_of(HeaderFields(theirs.fields))
        assert bytes(ours) == bytes(theirs)


def test_a_flow_has_what_layers_and_hooks_use() -> None:
    client, server = Client(peername=("", 0), sockname=("", 0)), Server(address=None)
    request = HttpRequest(method=b"GET", path=b"/", headers=HeaderFields())
    ours, other, theirs = (
        InspectedFlow(client, server, request),
        InspectedFlow(client, server, request),
        http.HTTPFlow(client, server),
    )
    public = {name for name in vars(theirs) if not name.startswith("_")}
    assert public | {"request"} == set(vars(ours))
    assert ours.id != other.id
    ours.kill()
    assert ours.error is not None


def test_connections_are_equal_only_to_themselves() -> None:
    first, second = (OriginServer.make(id="1", address=("a.example", 443)) for _ in range(2))
    client = InspectedClient.make(id="1", peername=("", 0), sockname=("", 0), timestamp_start=0.0)
    assert len({first, second, client}) == 3
    assert (first.tls, first.alpn, first.error, first.must_be_new, client.sni) == (False, None, None, False, None)
    first.address = ("b.example", 443)
    assert second.address == ("a.example", 443)
