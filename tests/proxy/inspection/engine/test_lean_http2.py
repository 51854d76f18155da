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
from hedgerow.proxy.inspection.engine import lean_http2

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
    some.sampled_from([b"", b"GET", b"CONNECT", b"trailers", b" a", b"a\t", b"a b", b"a\r\nb", b"a\0", b"a\x7f b", b"a.example"]),
    some.binary(max_size=4),
)
FLAGS = some.builds(HeaderValidationFlags, some.booleans(), some.booleans(), some.booleans(), some.booleans())


def verdict(check: Any, fields: list[Field], flags: HeaderValidationFlags) -> object:
    try:
        return list(check(fields, flags))
    except (h2.exceptions.ProtocolError, IndexError) as error:
        return str(error)


@settings(max_examples=400)
@given(some.lists(some.tuples(some.one_of(NAMES, some.binary(max_size=3)), VALUES), max_size=4), some.integers(0, 4), FLAGS)
@example([(b"accept", b"a\x7f\tb")], 4, HeaderValidationFlags(False, False, False, False))
@example([(b":path", b"/")], 4, HeaderValidationFlags(False, False, False, False))
def test_verdicts_are_those_of_h2(more: list[Field], size: int, flags: HeaderValidationFlags) -> None:
    for fields in (REQUEST[:size] + more, [(b":status", b"200"), *more], more):
        assert verdict(lean_http2.validate_headers, fields, flags) == verdict(h2.utilities.validate_headers, fields, flags)


def test_usual_fields_are_judged_without_h2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("h2 was asked")

    monkeypatch.setattr(lean_http2, "_validate_headers", refuse)
    fields = [*REQUEST, (b"accept", b"*/*"), (b"cookie", b"a=b; c=d"), (b"sec-fetch-dest", b"image"), (b"x-empty", b"")]
    assert lean_http2.validate_headers(iter(fields), HeaderValidationFlags(False, False, False, False)) == fields
    response = [(b":status", b"200"), (b"content-type", b"text/html; charset=utf-8")]
    assert lean_http2.validate_headers(response, HeaderValidationFlags(True, False, True, False)) == response
