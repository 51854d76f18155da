"""Bodies that the inspector scans: files, pages, and the phrase lists that pages are judged by."""

from __future__ import annotations

import gzip
from functools import partial

from fuzz_targets.lists import zip_archive
from fuzz_targets.target import STREAM, FuzzTarget, Shape, pieces
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision
from hedgerow.policies.youtube import is_chosen
from hedgerow.proxy.inspection.response import without_http3
from hedgerow.proxy.scanners.body import BodyScan
from hedgerow.proxy.scanners.page_text import PageFacts, PageLabel, TextDecoder, detect_charset, label_of
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.visible_text import MAX_EMBEDDED, Markup, TextExtractor
from hedgerow.proxy.scanners.words import PhraseMatcher, parse_phrases
from hedgerow.proxy.scanners.youtube import YouTubeScanner


def scanned_body(data: bytes) -> None:
    """Scan a body. Its first octets choose the content coding, the media type and the size of the pieces."""
    first = data[:2].ljust(2, b"\0")
    coding = ("", "gzip", "br", "zstd", "deflate", "gzip, br")[first[0] % 6]
    media = ("text/html", "application/octet-stream", "application/zip", "text/xml", "", "application/msword")[
        first[1] % 6
    ]
    rules = ScanRules(
        ContentRules(page_limit=50, files=("executables", "archives", "torrents", "macros"), everywhere=True)
    )
    scan = BodyScan(Head("https://a.example/x", media, encoding=coding, is_document=True), rules, in_worker=True)
    size = (4096, 1, 64, 1 << 16)[first[1] // 6 % 4]
    for start in range(2, len(data), size):
        scan.feed(data[start : start + size])
        while scan.is_busy:
            scan.go_on()
    scan.end()
    assert scan.refusal is None or isinstance(scan.refusal, Decision)


def page_text(data: bytes, markup: Markup = Markup.HTML) -> None:
    facts = PageFacts()
    decoder, extractor = TextDecoder(detect_charset(data[:1024], "")), TextExtractor(facts, markup)
    length = 0
    for piece in pieces(data):
        length += len(extractor.feed(decoder.feed(piece)))
    length += len(extractor.feed(decoder.feed(b"", last=True), last=True))
    assert length <= 20 * len(data) + 64 + 4 * MAX_EMBEDDED * (b"<!ENTITY" in data)
    assert len(facts.description) <= 20_000
    assert facts.label in PageLabel


def response_fields(data: bytes) -> None:
    """Read the fields of a response's head that say what its body is."""
    text = data.decode("latin-1")
    head = Head("https://a.example/" + text, text, text, text, rating=text, pics_label=text)
    BodyScan(head, ScanRules(ContentRules(page_limit=50, files=("executables",), everywhere=True)))
    without_http3(text)
    label_of("pics-label", text)


def youtube_page(data: bytes) -> None:
    """Check a response of YouTube in pieces, and ask for the decision after each as the scanner's process does."""
    for path in ("/watch?v=abcdefghij1", "/youtubei/v1/next", "/youtubei/v1/browse"):
        url, chosen = f"https://www.youtube.com{path}", ("@name", "video:abcdefghij1")
        scanner = YouTubeScanner(url, chosen)
        for piece in pieces(data):
            scanner.feed(piece)
            scanner.release()
        assert (scanner.end() is None) is is_chosen(url, data[1:], chosen)


def phrase_list(data: bytes) -> None:
    phrases, _problems = parse_phrases(data.decode("utf-8", "replace"), "fuzz")
    if phrases:
        PhraseMatcher(phrases).find("a page with text")


_PAGE = (
    "<html><head><meta charset=utf-8><title>x</title><style>a{}</style></head><body>Win m&#111;ney &amp; caſino"
    " ﷺ</body></html>".encode()
)

TARGETS: dict[str, FuzzTarget] = {
    "body": FuzzTarget(
        scanned_body,
        (
            b"\0\0" + _PAGE,
            b"\0\6" + _PAGE,
            b"\1\0" + gzip.compress(_PAGE),
            b"\0\2" + zip_archive(),
            b"\0\5\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            b"\0\1MZ" + bytes(80),
        ),
        grown=(Shape(b"\0\0<html><head><meta charset=", b" ", b""), Shape(b"\0\6<html><head><", b"a", b"")),
    ),
    "page-text": FuzzTarget(
        page_text,
        (STREAM + _PAGE,),
        tokens=(
            b"<!--",
            b"-->",
            b"<script>",
            b"</script",
            b"<script type=json>",
            b"&#x",
            b"\\u00",
            b"<meta name=",
            b'"',
            b"=//a.b",
            b"<svg>",
            b"<title>",
            b"<style>a{b:'",
            b"<iframe srcdoc='",
            b"<p>a",
            b"<![CDATA[",
        ),
        grown=(Shape(STREAM + b"<html><head><meta ", b"a", b">"), Shape(STREAM + b"<html><head><meta ", b"a-", b" >")),
    ),
    "page-text-xml": FuzzTarget(
        partial(page_text, markup=Markup.XML),
        (STREAM + b"<!DOCTYPE x [<!ENTITY a 'words'><!ENTITY b '&a;&a;'>]><x a='b'>&b;&a;<![CDATA[text]]><?x y?></x>",),
    ),
    "response-fields": FuzzTarget(
        response_fields,
        (
            b"text/html; charset='iso-8859-1', application/zip",
            b"attachment; filename=\"a.exe\"; filename*=UTF-8'en'b%20c.docm",
            b'(PICS-1.1 "x" l gen true r (n 4 s 3 v 0 l 0))',
            b'h3=":443"; ma=86400, h2=":443"',
        ),
    ),
    "youtube-page": FuzzTarget(
        youtube_page,
        (
            STREAM + b'{"videoDetails":{"videoId":"abcdefghij1"},"channelId":"UCaaaaaaaaaaaaaaaaaaaaaa",'
            b'"ownerProfileUrl":"http://www.youtube.com/@name"}',
            STREAM + b'{"videoOwnerRenderer":{"browseId":"UCaaaaaaaaaaaaaaaaaaaaaa","canonicalBaseUrl":"/@name"},'
            b'"currentVideoEndpoint":{"watchEndpoint":{"videoId":"abcdefghij1"}},"channelMetadataRenderer":{"externalId":"UCa"}}',
        ),
        tokens=(
            b'"',
            b"\\",
            b" ",
            b'"videoDetails":{"videoId":"abcdefghij1"',
            b'"videoOwnerRenderer":',
            b'"channelId":',
        ),
        grown=(Shape(STREAM, b'{"text":"some words"}', b""), Shape(STREAM + b'"videoDetails"', b" ", b":")),
    ),
    "phrase-list": FuzzTarget(phrase_list, (b"#listcategory: 'x'\n< casino ><20>\n<win>,<money><-30>\n.Include<x>\n",)),
}
"""The targets by name."""
