"""What of a page somebody sees, in whatever encoding and pieces it comes."""

from __future__ import annotations

import gzip
import itertools
import random
import sys
import unicodedata
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners.decoding import BLOCK, MOST_PER_BYTE, UNPACKED_FREELY, Excessive
from hedgerow.proxy.scanners.scanner import MAX_UNPACKED, PORTION, BodyScanner, scanner_for
from hedgerow.proxy.scanners.words import BodyDecoder, PageScanner, PhraseMatcher, TextExtractor, detect_charset, normalize_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=4), "zstd": zstd.compress}


def text_of(page: str) -> str:
    return TextExtractor().feed(page, last=True)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>One</p><p>Two</p>", "one two "),
        ("<b>p</b>a<i>g</i>e", "page "),
        ("<a href=x>one</a><a href=y>two</a>", "one two "),
        ("a<script>var b = '<p>';</script>c<style>d { }</style>e<!-- f > g -->h", "a c e h "),
        ("a<SCRIPT type=module>b</sCript >c", "a c "),
        ("a<script>never ends", "a "),
        ("Caf&eacute;&nbsp;au lait &amp; th&#233;", "cafe au lait the "),
        ("ÉCOLE Straße İstanbul", "ecole straße istanbul "),
        ("p\u00ado\u200br\u2060n", "porn "),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width "),
        ("2 < 3 and 5 > 4", "2 3 and 5 4 "),
        ("<title>Title</title><img alt='hidden'>", "title "),
        ("p\0o\0r\0n\0", "porn "),
        ("under_score-and.dots", "under score and dots "),
        ("", ""),
    ],
)
def test_what_is_seen(page: str, expected: str) -> None:
    assert text_of(page) == expected


@given(st.text(alphabet="<>/!-&;#scriptb aé'\"=\u00ad"), st.lists(st.integers(1, 7)))
def test_pieces_make_no_difference(page: str, sizes: list[int]) -> None:
    whole, text, position = text_of(page), TextExtractor(), 0
    found = ""
    for size in sizes:
        found += text.feed(page[position : position + size])
        position += size
    found += text.feed(page[position:], last=True)
    assert found == whole


def decoded(data: bytes, encoding: str, charset: str = "", piece: int = 7) -> str:
    decoder, found = BodyDecoder(encoding, charset), ""
    for position in range(0, len(data), piece):
        for part in decoder.bytes_of(data[position : position + piece]):
            found += decoder.text_of(part)
    return found + decoder.text_of(b"", last=True)


@pytest.mark.parametrize(
    "encoding", ["", "identity", "gzip", "x-gzip", "deflate", "raw deflate", "GZIP", "br", "zstd", "gzip, br", "gzip,identity , gzip"]
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
def test_a_coding_that_is_none_is_passed_over(encoding: str) -> None:
    """As by browsers, which show such a page."""
    page = "<p>words " * 3000
    assert decoded(page.encode(), encoding) == page
    assert decoded(gzip.compress(page.encode()), f"{encoding}, gzip, none") == page


def test_what_cannot_be_undone_says_so() -> None:
    assert not BodyDecoder("dcb").is_known
    assert not BodyDecoder("gzip, compress").is_known
    assert not BodyDecoder(", ".join(["gzip"] * 5)).is_known


def test_a_broken_body_ends_and_a_bomb_comes_in_small_pieces() -> None:
    for coding, pack in PACKERS.items():
        page = random.Random(1).randbytes(40_000).hex()
        found = decoded(pack(page.encode())[:20_000] + b"\xff" * 50, coding, piece=50)
        assert found[:9_000] == (page[:9_000] if found else ""), coding
        assert len(found) < len(page), coding
        bomb = pack(bytes(50_000_000))
        pieces = BodyDecoder(coding).bytes_of(bomb)
        sizes: list[int] = []
        with pytest.raises(Excessive):
            sizes.extend(map(len, pieces))
        assert max(sizes) <= 4 * BLOCK, coding
        assert sum(sizes) <= UNPACKED_FREELY + MOST_PER_BYTE * len(bomb), coding


def test_a_bomb_inside_another_is_counted_too() -> None:
    """What comes out at the end is nothing, and what has to be unpacked on the way is much."""
    empty = b"\x00\x00\x00\xff\xff" * 4_000_000  # blocks of deflate without content
    decoder = BodyDecoder("deflate, br")
    pieces: list[bytes] = []
    with pytest.raises(Excessive):
        pieces.extend(decoder.bytes_of(brotli.compress(b"\x78\x9c" + empty)))
    assert set(pieces) <= {b""}
    assert decoder.work <= 2 * UNPACKED_FREELY


def test_what_one_letter_stands_for_is_bounded() -> None:
    for letter in map(chr, range(0x80, 0x110000)):
        assert len(normalize_text(letter)) <= 4, hex(ord(letter))
    assert normalize_text("\ufdfa" * 1000) == " "
    assert normalize_text("\ud55c\uae00 \ufb01n") == unicodedata.normalize("NFKD", "\ud55c\uae00 fin")


@pytest.mark.parametrize("digits", ["9" * 5000, "x" + "f" * 5000, "0" * 5000, "X" + "0" * 5000])
def test_a_number_of_any_length_is_no_character(digits: str) -> None:
    assert text_of(f"a&#{digits};b") == "a b "


def test_leading_zeros_make_no_difference() -> None:
    assert text_of("&#00000098;&#x0000061;&#098;&#0;") == "bab "


@pytest.mark.parametrize(
    ("data", "declared", "expected"),
    [
        ("Größe".encode(), "", "Größe"),
        ("Größe".encode("latin-1"), "", "Größe"),
        ("Größe".encode("latin-1"), "iso-8859-1", "Größe"),
        ("Größe".encode("utf-16"), "", "Größe"),
        ("\ufeffGröße".encode(), "latin-1", "Größe"),
        (b'<meta http-equiv=Content-Type content="text/html; charset=windows-1251">' + "слово".encode("cp1251"), "", "слово"),
        (b"<meta charset='shift_jis'>" + "言葉".encode("shift_jis"), "", "言葉"),
        ("Größe".encode(), "no-such-charset", "Größe"),
        ("Größe".encode(), "rot13", "Größe"),
        (b"abc", "idna", "abc"),
    ],
)
def test_charsets(data: bytes, declared: str, expected: str) -> None:
    assert expected in decoded(data, "", declared)


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "base64", "utf-7", "x", "punycode", "utf-16", "big5"]))
def test_no_bytes_upset_it(data: bytes, declared: str) -> None:
    decoded(data, "", declared)
    for coding in PACKERS:
        decoded(data, coding, declared)
    detect_charset(data, declared)


def test_plain_is_the_same_for_phrases_and_pages() -> None:
    assert normalize_text("Educação sexual") == "educacao sexual"


@pytest.mark.parametrize("coding", PACKERS)
def test_a_page_that_unpacks_to_more_than_any_real_one_is_refused(coding: str) -> None:
    refused: list[Decision] = []
    verdicts: list[str] = []

    def refuse(decision: Decision) -> ProxyResponse:
        refused.append(decision)
        return ProxyResponse(403, (), b"")

    watch = scanner_for(ContentRules(page_limit=100), PhraseMatcher(()), "text/html", coding, refuse, verdicts.append)
    assert watch is not None
    refusal = watch.feed(PACKERS[coding](b"<p>good</p>" * (MAX_UNPACKED // 11 + 70_000)))
    while refusal is None and watch.is_busy:
        refusal = watch.go_on()
    assert refusal is not None
    assert (refused[0].what, verdicts) == ("too long to be weighed", ["block"])


def test_a_page_of_a_hundred_bytes_is_looked_at_in_portions_and_not_for_long() -> None:
    weighed: list[str] = []
    decoder = BodyDecoder("br")
    watch = BodyScanner(
        ContentRules(page_limit=100), decoder, PageScanner(PhraseMatcher(())), lambda _: ProxyResponse(403, (), b""), weighed.append
    )
    bomb = brotli.compress("\ufdfa".encode() * 5_000_000)
    assert len(bomb) < 150
    refusal, turns = watch.feed(bomb), [decoder.work]
    while refusal is None and watch.is_busy:
        refusal = watch.go_on()
        turns.append(decoder.work)
    assert (refusal is not None, weighed) == (True, ["block"])
    assert all(after - before <= PORTION + 2 * BLOCK for before, after in itertools.pairwise([0, *turns]))
    assert turns[-1] <= UNPACKED_FREELY + MOST_PER_BYTE * len(bomb) + 2 * BLOCK


@pytest.mark.parametrize(
    ("content_type", "is_weighed"),
    [
        ("text/html", True),
        ("", True),
        ("*/*", True),
        ("unknown/unknown", True),
        ("html", True),
        ("text/css, text/html; charset=utf-8", True),
        ("text/html;charset=utf-8, image/png", True),
        ("text/plain", False),
        ("image/png;text/html", False),
        ("text/event-stream", False),
    ],
)
def test_what_browsers_may_take_for_a_page_is_weighed(content_type: str, is_weighed: bool) -> None:
    refusal = ProxyResponse(403, (), b"")
    watch = scanner_for(ContentRules(page_limit=100), PhraseMatcher.load()[0], content_type, "", lambda _: refusal, [].append)
    assert (watch is not None) is is_weighed
