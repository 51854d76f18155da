"""Content codings: decoded in pieces of any size, bounded, and tolerant of the mistakes that browsers forgive."""

from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.proxy.scanners.decoding import BLOCK, MOST_PER_BYTE, UNPACKED_FREELY, ContentDecoder, ExcessiveExpansion
from hedgerow.proxy.scanners.page_text import TextDecoder, detect_charset

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=4), "zstd": zstd.compress}


def decoded(data: bytes, encoding: str, charset: str = "", piece: int = 7) -> str:
    decoder, text, found = ContentDecoder(encoding), TextDecoder(charset), ""
    for position in range(0, len(data), piece):
        for part in decoder.feed(data[position : position + piece]):
            found += text.feed(part)
    return found + text.feed(b"", last=True)


@pytest.mark.parametrize(
    "encoding",
    [
        "",
        "identity",
        "gzip",
        "x-gzip",
        "deflate",
        "raw deflate",
        "GZIP",
        "br",
        "zstd",
        "gzip, br",
        "gzip,identity , gzip",
    ],
)
def test_encodings(encoding: str) -> None:
    page = "Größe " * 3000
    packer = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(page.encode()[:9000]) + gzip.compress(page.encode()[9000:]),
        "deflate": zlib.compress(page.encode()),
        "raw deflate": packer.compress(page.encode()) + packer.flush(),
        "br": brotli.compress(page.encode()),
        "zstd": zstd.compress(page.encode()[:9000]) + zstd.compress(page.encode()[9000:]),
        "gzip, br": brotli.compress(gzip.compress(page.encode())),
        "gzip,identity , gzip": gzip.compress(gzip.compress(page.encode())),
    }
    data = packed.get(encoding.lower().removeprefix("x-"), page.encode())
    assert decoded(data, encoding.removeprefix("raw ")) == page


@pytest.mark.parametrize("encoding", ["utf-8", "none", "UTF-8, 8bit", "gzip", "x-gzip, none", "gzip, gzip"])
def test_names_that_are_no_codings_are_ignored(encoding: str) -> None:
    """As in browsers, which show such a page."""
    page = "<p>words " * 3000
    assert decoded(page.encode(), encoding) == page
    assert decoded(gzip.compress(page.encode()), f"{encoding}, gzip, none") == page


def test_an_unsupported_coding_is_reported() -> None:
    assert not ContentDecoder("dcb").is_readable
    assert not ContentDecoder("gzip, dcz").is_readable
    assert not ContentDecoder(", ".join(["gzip"] * 5)).is_readable


@pytest.mark.parametrize("encoding", ["compress", "x-compress", "aes128gcm", "exi", "pack200-gzip", "sdch"])
def test_codings_that_no_browser_has_are_ignored(encoding: str) -> None:
    assert decoded(b"<p>words", encoding) == "<p>words"


PACKED = gzip.compress(b"<p>words", mtime=0)
DEFLATED = zlib.compress(b"<p>words")[2:-4]


@pytest.mark.parametrize(
    "packed",
    [
        PACKED[:3] + b"\2" + PACKED[4:10] + b"??" + PACKED[10:],
        PACKED[:3] + b"\xe0" + PACKED[4:],
        PACKED[:3] + b"\x1e" + PACKED[4:10] + b"\3\0abcname\0comment\0??" + PACKED[10:],
        PACKED[:-8] + bytes(8),
        PACKED[:-8],
    ],
    ids=["wrong check sum of the header", "reserved flags", "all fields", "wrong check sum", "no check sum"],
)
@pytest.mark.parametrize("size", [1, 100])
def test_gzip_is_read_as_browsers_read_it(packed: bytes, size: int) -> None:
    decoder = ContentDecoder("gzip")
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(each for piece in pieces for each in decoder.feed(piece)) == b"<p>words"
    assert decoder.is_readable


LONG = bytes([*PACKED[:3], 0x18, *PACKED[4:10]]) + b"n" * 100_000 + b"\0" + b"c" * 100_000 + b"\0" + PACKED[10:]


@pytest.mark.parametrize("size", [7, 1_000_000])
def test_a_header_of_gzip_may_be_long(size: int) -> None:
    assert decoded(LONG, "gzip", piece=size) == "<p>words"
    assert decoded(PACKED + LONG, "gzip", piece=size) == "<p>words" * 2


@pytest.mark.parametrize("outer", [0, 9])
def test_a_long_header_within_another_coding_is_read(outer: int) -> None:
    extra = bytes([*PACKED[:3], 4, *PACKED[4:10]]) + b"\xff\xff" + bytes(65_535) + PACKED[10:]
    for packed in (LONG, extra, gzip.compress(b"<p>words" + b" " * 100_000, 0)):
        assert decoded(gzip.compress(packed, outer), "gzip, gzip", piece=1_000_000).strip() == "<p>words"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_follows_compressed_data_is_not_kept(coding: str) -> None:
    """Its copies would take time that grows with the square of its length."""
    decoder = ContentDecoder(coding)
    assert b"".join(decoder.feed(PACKED if coding == "gzip" else DEFLATED)) == b"<p>words"
    tracemalloc.start()
    try:
        for _ in range(64):
            assert b"".join(decoder.feed(bytes(BLOCK))) == b""
        assert tracemalloc.get_traced_memory()[1] < 4 * BLOCK
    finally:
        tracemalloc.stop()
    assert decoder.is_readable


def stored(text: bytes, last: int = 1) -> bytes:
    """Return a deflated block that is stored, with spare bits such that it looks like the head of the other format."""
    head = next(bits for bits in range(0x08 | last, 0x100, 0x10) if bits & 7 == last)
    return bytes([head]) + len(text).to_bytes(2, "little") + (len(text) ^ 0xFFFF).to_bytes(2, "little") + text


@pytest.mark.parametrize("packed", [DEFLATED, zlib.compress(b"<p>words"), zlib.compress(b"<p>words")[:-4] + bytes(4)])
def test_both_formats_of_deflate_are_read(packed: bytes) -> None:
    assert decoded(packed, "deflate") == "<p>words"


def test_a_raw_format_that_begins_like_the_other_is_read() -> None:
    text = next(b"." * size for size in range(1, 600) if int.from_bytes(stored(b"." * size, 0)[:2]) % 31 == 0)
    assert stored(text, 0)[0] & 0x0F == 8
    assert decoded(stored(text, 0) + DEFLATED, "deflate") == text.decode() + "<p>words"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
def test_what_cannot_be_decoded_is_reported(encoding: str) -> None:
    decoder = ContentDecoder(encoding)
    assert b"".join(decoder.feed(b"\x1f<p>words")) == b""
    assert not decoder.is_readable


def test_a_broken_body_ends_and_a_bomb_is_cut_into_small_pieces() -> None:
    for coding, pack in PACKERS.items():
        page = random.Random(1).randbytes(40_000).hex()
        found = decoded(pack(page.encode())[:20_000] + b"\xff" * 50, coding, piece=50)
        assert found[:9_000] == (page[:9_000] if found else ""), coding
        assert len(found) < len(page), coding
        bomb = pack(bytes(50_000_000))
        pieces = ContentDecoder(coding).feed(bomb)
        sizes: list[int] = []
        with pytest.raises(ExcessiveExpansion):
            sizes.extend(map(len, pieces))
        assert max(sizes) <= 4 * BLOCK, coding
        assert sum(sizes) <= UNPACKED_FREELY + MOST_PER_BYTE * len(bomb), coding


def test_the_inner_coding_of_a_bomb_counts_too() -> None:
    """Decoding takes much work and results in nothing."""
    empty = b"\x00\x00\x00\xff\xff" * 4_000_000  # blocks of deflate without content
    decoder = ContentDecoder("deflate, br")
    pieces: list[bytes] = []
    with pytest.raises(ExcessiveExpansion):
        pieces.extend(decoder.feed(brotli.compress(b"\x78\x9c" + empty)))
    assert set(pieces) <= {b""}
    assert decoder.work <= 2 * UNPACKED_FREELY


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "base64", "utf-7", "x", "punycode", "utf-16", "big5"]))
def test_any_bytes_decode(data: bytes, declared: str) -> None:
    decoded(data, "", declared)
    for coding in PACKERS:
        decoded(data, coding, declared)
    detect_charset(data, declared)
