"""Our HPACK coding beside that of the package it replaces: the same fields, the same tables, and refusals of the same
blocks.
"""

from __future__ import annotations

import re

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as reference_huffman
from hypothesis import example, given, settings
from hypothesis import strategies as some
from linear_work import assert_linear

from hedgerow import hpack_codec
from hedgerow.hpack_codec import FastDecoder, FastEncoder, decode_huffman, encode_huffman

NAMES = some.sampled_from([b":method", b":path", b":authority", b"accept", b"cookie", b"x-one", b"x-two"])
FIELDS = some.lists(
    some.tuples(NAMES, some.one_of(some.sampled_from([b"GET", b"/", b""]), some.binary(max_size=150))), max_size=8
)
BLOCKS = some.tuples(FIELDS, some.booleans(), some.sampled_from([None, 0, 60, 4096]))


def outcome(decoder: Decoder, block: bytes) -> object:
    try:
        fields = [tuple(field) for field in decoder.decode(block, raw=True)]
    except (ProtocolError, HPACKError):
        return "refused"
    return fields, list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize


@settings(max_examples=100)
@given(some.lists(BLOCKS, min_size=1, max_size=6))
def test_blocks_mean_the_same(blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> None:
    for encoder in (Encoder(), FastEncoder()):
        ours, theirs = FastDecoder(), Decoder()
        for fields, is_huffman, table_size in blocks:
            if table_size is not None:
                encoder.header_table_size = table_size
            block = encoder.encode(fields, huffman=is_huffman)
            found = outcome(ours, block)
            assert found == outcome(theirs, block)
            assert isinstance(found, tuple)
            assert found[:2] == (fields, list(encoder.header_table.dynamic_entries))


def test_encoder_uses_the_table() -> None:
    fields = [
        (b":method", b"GET"),
        (b":path", b"/one"),
        (b"x-field", b"a value"),
        (b"accept", b"*/*"),
        (b"cookie", b"a=b"),
    ]
    encoder, decoder = FastEncoder(), Decoder()
    sizes = []
    for number in range(200):
        block = encoder.encode([*fields, (b"x-number", b"%d" % (number // 100))])
        sizes.append(len(block))
        assert [tuple(each) for each in decoder.decode(block, raw=True)][:-1] == fields
    assert sizes[1] < sizes[0] // 2
    assert len(set(sizes[1:100])) == 1
    assert len(encoder.header_table.dynamic_entries) == 5


def test_codes_of_usual_strings_are_kept_but_not_those_of_secrets() -> None:
    def kept() -> tuple[int, int]:
        return hpack_codec._encode_usual.cache_info().currsize, hpack_codec._decode_usual.cache_info().currsize

    before = kept()
    secrets = [
        (b"cookie", b"sid=of-a-test"),
        (b":path", b"/of-a-test"),
        NeverIndexedHeaderTuple(b"user-agent", b"of-a-test"),
    ]
    FastDecoder().decode(FastEncoder().encode(secrets))
    assert kept() == before
    FastDecoder().decode(FastEncoder().encode([(b"user-agent", b"of-a-test")]))
    assert kept() == (before[0] + 1, before[1] + 1)


def test_size_of_the_table_is_announced_though_the_setting_is_repeated() -> None:
    for sizes in ([0, 0], [100, 100], [0, 4096], [0, 4096, 4096]):
        encoder, decoder = FastEncoder(), Decoder()
        encoder.encode([(b"x-field", b"a value")])
        for size in sizes:
            encoder.header_table_size = size
        decoder.max_allowed_table_size = sizes[-1]
        assert [tuple(each) for each in decoder.decode(encoder.encode([(b"accept", b"*/*")]), raw=True)] == [
            (b"accept", b"*/*")
        ]
        assert encoder.header_table_size == decoder.header_table_size == sizes[-1]


def test_many_fields_stay_bounded() -> None:
    encoder, decoder = FastEncoder(), Decoder()
    for number in range(2000):
        fields = [(b"x-field", b"%d" % number), (b"x-same", b"same"), (b"x-%d" % (number % 7), b"y" * (number % 90))]
        assert [tuple(each) for each in decoder.decode(encoder.encode(fields), raw=True)] == fields
    assert len(encoder._numbers) < 600


def test_sensitive_fields_are_never_indexed() -> None:
    encoder = FastEncoder()
    for _ in range(2):
        block = encoder.encode([NeverIndexedHeaderTuple(b"authorization", b"Basic abc")], huffman=False)
        assert block == b"\x1f\x08\x09Basic abc"
        (found,) = Decoder().decode(block)
        assert not found.indexable


@settings(max_examples=300)
@given(some.lists(some.binary(max_size=40), max_size=4))
@example([b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"])
@example([b"\x82\x3f\xe1\x1f"])
@example([b"\x3f\xe2\x1f"])
@example([b"\x80"])
@example([b"\x7f"])
def test_junk_is_refused_alike(blocks: list[bytes]) -> None:
    ours, theirs = FastDecoder(), Decoder()
    for block in blocks:
        found, expected = outcome(ours, block), outcome(theirs, block)
        assert found == expected or (found == "refused" and has_many_updates(block))
        if found == "refused":
            return


@pytest.mark.parametrize(
    "block",
    [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\x3f\xe1\x1f",
        b"\x3f\xe2\x1f",  # a table larger than we allow
        b"\x80",
        b"\xbe",  # an index behind the end of the table
        b"\x7f",
        b"\x40\x01",
        b"\x40\x01a\x05cut",
        b"\x40\x81\xff\x01b",  # a Huffman code that is padded for longer than seven bits
        b"\x40\x84\xff\xff\xff\xff\x01b",  # the code for the end of a string
    ],
)
def test_broken_blocks_are_refused_alike(block: bytes) -> None:
    assert outcome(FastDecoder(), block) == outcome(Decoder(), block) == "refused"


def test_fields_are_text_or_octets_as_asked_for() -> None:
    block = Encoder().encode([(b":path", b"/one"), (b"x-field", b"a value")])
    assert [tuple(each) for each in FastDecoder().decode(block)] == [(":path", "/one"), ("x-field", "a value")]
    assert FastDecoder().decode(block, raw=True) == [(b":path", b"/one"), (b"x-field", b"a value")]


def test_what_was_decoded_before_is_kept_for_the_next_time_only() -> None:
    decoder = FastDecoder()
    decoder.hold([(b"a", b"b")])
    assert decoder.decode(b"\x82", raw=True) == [(b"a", b"b")]
    assert decoder.decode(b"\x82", raw=True) == [(b":method", b"GET")]


def test_a_field_larger_than_the_table_empties_it() -> None:
    """RFC 7541, section 4.4."""
    encoder, decoder = FastEncoder(), Decoder()
    for value in (b"short", b"x" * 5000, b"short", b"short"):
        (found,) = decoder.decode(encoder.encode([(b"x-field", value)]), raw=True)
        assert tuple(found) == (b"x-field", value)
        assert list(encoder.header_table.dynamic_entries) == list(decoder.header_table.dynamic_entries)


def has_many_updates(block: bytes) -> bool:
    """Return whether a block may begin with more than two table size updates, which hpack accepts."""
    return len(re.findall(rb"[\x20-\x3f]", block)) > 2


@pytest.mark.parametrize(
    "block", [b"\x80", b"\xff", b"\x00\x7f", b"\x00\x01a\x84\x1c\x64\xff\xff", b"\x3f\xe1\xff\x7f"]
)
def test_a_block_that_cannot_be_decoded_has_the_code_of_the_rfc(block: bytes) -> None:
    """RFC 9113, section 4.3."""
    with pytest.raises(ProtocolError) as refused:
        FastDecoder().decode(block, raw=True)
    assert refused.value.error_code is ErrorCodes.COMPRESSION_ERROR


def test_a_block_has_two_table_size_updates_at_its_start_and_no_more() -> None:
    """RFC 7541, section 4.2."""
    fields = [(b":method", b"GET")]
    assert FastDecoder().decode(b"\x20\x3f\xe1\x1f\x82", raw=True) == fields
    for block in (b"\x20\x20\x3f\xe1\x1f\x82", b"\x20" * 3, b"\x82\x20"):
        assert outcome(FastDecoder(), block) == "refused"
    decoder = FastDecoder()
    assert decoder.decode(b"\x20", raw=True) == []
    assert decoder.decode(b"\x20\x20\x82", raw=True) == fields, "the next block may have two again"


COSTLY_BLOCKS = {
    "table size updates": b"\x20",
    "a long number": b"\xff",
    "long indices of names": b"\x0f\x80\x80\x80\x00\x00",
    "long lengths of strings": b"\x00\x7f\x80\x00" + b"a" * 127 + b"\x00",
    "empty fields": b"\x00\x00\x00",
    "empty fields in the table": b"\x40\x00\x00",
    "fields from the table": b"\xbe",
    "Huffman codes": b"\x00\x01a\x83\x1c\x64\x5f",
}


@pytest.mark.parametrize("kind", COSTLY_BLOCKS)
def test_a_block_costs_no_more_than_its_length(kind: str) -> None:
    unit = COSTLY_BLOCKS[kind]

    def decode(block: bytes) -> None:
        decoder = FastDecoder()
        decoder.max_header_list_size = 1 << 30
        decoder.decode(b"\x40\x01a\x01b", raw=True)
        outcome(decoder, block)

    assert_linear(decode, lambda size: unit * (size // len(unit)), 64 * 1024)


def test_fields_of_the_table_are_counted_before_a_list_of_them_is_built() -> None:
    """An entry of 4 kB takes one octet of a block."""
    decoder = FastDecoder()
    decoder.max_header_list_size = 12 * 1024
    decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000, raw=True)
    with pytest.raises(DenialOfServiceError):
        decoder.decode(b"\xbe" * 3000, raw=True)
    assert decoder.decode(b"\xbe" * 2, raw=True) == [(b"a", b"x" * 4000)] * 2


def test_list_that_is_too_long_is_refused_alike() -> None:
    block = Encoder().encode([(b"x", b"y" * 100)] * 10)
    for most in (1329, 1330):
        ours, theirs = FastDecoder(), Decoder()
        ours.max_header_list_size = theirs.max_header_list_size = most
        assert outcome(ours, block) == outcome(theirs, block)
        assert (outcome(FastDecoder(), block) == "refused") is False


@settings(max_examples=200)
@given(some.binary(max_size=60))
def test_huffman_codes_mean_the_same(text: bytes) -> None:
    encoded = encode_huffman(text)
    assert encoded == HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    assert decode_huffman(encoded) == text
    found: list[object] = []
    for decode in (decode_huffman, reference_huffman):
        try:
            found.append(decode(text))
        except HPACKError:
            found.append("refused")
    assert found[0] == found[1]
