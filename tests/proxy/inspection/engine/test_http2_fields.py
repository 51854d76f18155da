"""Our checks of received HTTP/2 fields beside h2's: the same verdict on whatever fields there are."""

from __future__ import annotations

from typing import Any

import h2.exceptions
import h2.utilities
import pytest
from h2.utilities import HeaderValidationFlags
from hypothesis import example, given, settings
from hypothesis import strategies as some

from hedgerow.hpack_codec import Field
from hedgerow.proxy.inspection.engine import http2_fields

REQUEST: list[Field] = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/")]
NAMES = some.sampled_from(
    [
        b":method",
        b":path",
        b":status",
        b":protocol",
        b"host",
        b"te",
        b"connection",
        b"upgrade",
        b"cookie",
        b"accept",
        b"X-Capital",
        b"",
        b"a:b",
    ]
)
VALUES = some.one_of(
    some.sampled_from(
        [b"", b"GET", b"CONNECT", b"trailers", b" a", b"a\t", b"a b", b"a\r\nb", b"a\0", b"a\x7f b", b"a.example"]
    ),
    some.binary(max_size=4),
)
FLAGS = some.builds(HeaderValidationFlags, some.booleans(), some.booleans(), some.booleans(), some.booleans())


def verdict(check: Any, fields: list[Field], flags: HeaderValidationFlags) -> str | None:
    try:
        for _ in check(fields, flags) or ():
            pass
    except (h2.exceptions.ProtocolError, IndexError) as error:
        return str(error)
    return None


@settings(max_examples=400)
@given(
    some.lists(some.tuples(some.one_of(NAMES, some.binary(max_size=3)), VALUES), max_size=4), some.integers(0, 4), FLAGS
)
@example([(b"accept", b"a\x7f\tb")], 4, HeaderValidationFlags(False, False, False, False))
@example([(b":path", b"/")], 4, HeaderValidationFlags(False, False, False, False))
def test_verdicts_are_those_of_h2(more: list[Field], size: int, flags: HeaderValidationFlags) -> None:
    for fields in (REQUEST[:size] + more, [(b":status", b"200"), *more], more):
        assert verdict(http2_fields.check_fields, fields, flags) == verdict(
            h2.utilities.validate_headers, fields, flags
        )


def test_usual_fields_are_judged_without_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("h2 was asked")

    monkeypatch.setattr(http2_fields, "validate_headers", refuse)
    fields = [*REQUEST, (b"accept", b"*/*"), (b"cookie", b"a=b; c=d"), (b"sec-fetch-dest", b"image"), (b"x-empty", b"")]
    http2_fields.check_fields(fields, HeaderValidationFlags(False, False, False, False))
    http2_fields.check_fields(
        [(b":status", b"200"), (b"content-type", b"text/html")], HeaderValidationFlags(True, False, True, False)
    )


def test_fields_make_a_message() -> None:
    request = http2_fields.request_of([*REQUEST, (b"accept", b"*/*"), (b"cookie", b"a=b"), (b"cookie", b"c=d")])
    assert (request.host, request.port, request.authority, request.path, request.method) == (
        "a.example",
        443,
        "a.example",
        "/",
        "GET",
    )
    assert request.headers.fields == ((b"accept", b"*/*"), (b"cookie", b"a=b"), (b"cookie", b"c=d"))
    response = http2_fields.response_of([(b":status", b"404"), (b"x", b"y")])
    assert (response.status_code, response.headers.fields, response.is_http2) == (404, ((b"x", b"y"),), True)


@pytest.mark.parametrize(
    "fields",
    [
        REQUEST[1:],
        REQUEST[:3],
        [*REQUEST, (b":protocol", b"websocket")],
        [(b":authority", b"a.example:99999"), *REQUEST[:2], REQUEST[3]],
        [(b":method", b"CONNECT"), (b":authority", b"a.example")],
    ],
)
def test_others_make_no_request(fields: list[Field]) -> None:
    with pytest.raises(ValueError):
        http2_fields.request_of(fields)


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"+20", b"099"])
def test_no_response_without_three_digits(status: bytes) -> None:
    with pytest.raises(ValueError, match="no status"):
        http2_fields.response_of([(b":status", status)])
