"""Scans of whole bodies: portions, limits, types, and scanners added to the tuple."""

from __future__ import annotations

import gc
import gzip
import itertools
import random
import sys
import weakref
import zlib
from pathlib import Path

import brotli
import pytest
import yaml

from hedgerow.blocklists.yaml_files import YamlLoader
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Reason
from hedgerow.proxy.scanners.body import PORTION, BodyScan
from hedgerow.proxy.scanners.decoding import BLOCK, MOST_PER_BYTE, UNPACKED_FREELY
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.visible_text import Markup
from hedgerow.proxy.scanners.words import MAX_UNPACKED, list_versions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=4), "zstd": zstd.compress}


WORDS = ScanRules(ContentRules(page_limit=100))
STARTER = ScanRules(ContentRules(page_limit=100), phrase_lists=list_versions(()))
CASES = yaml.load((Path(__file__).parents[2] / "cases" / "content" / "pages.yaml").read_text("utf-8"), YamlLoader)
EXPLICIT = next(case["text"] for case in CASES if case["name"] == "pornography").encode()
FILES = ScanRules(ContentRules(files=("executables", "archives", "macros")))


@pytest.mark.parametrize("coding", PACKERS)
def test_a_page_that_decodes_to_more_than_any_real_one_is_blocked(coding: str) -> None:
    scan = BodyScan(Head("", "text/html", encoding=coding), WORDS)
    scan.feed(PACKERS[coding](b"<p>good</p>" * (MAX_UNPACKED // 11 + 70_000)))
    while scan.is_busy:
        scan.go_on()
    assert scan.refusal is not None
    assert scan.refusal.what == "too long to be weighed"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"<p>words", "dcb"), (b"<p>words", ", ".join(["gzip"] * 5)), (b"<p>words", "br"), (b"\x1f<p>words", "gzip")],
)
@pytest.mark.parametrize(("limit", "is_open"), [(60, False), (100, False), (160, True), (200, True)])
def test_what_cannot_be_decoded_is_closed_to_young_children(
    body: bytes, encoding: str, limit: int, is_open: bool
) -> None:
    scan = BodyScan(Head("", "text/html", encoding=encoding), ScanRules(ContentRules(page_limit=limit)))
    scan.feed(body)
    assert scan.is_unreadable
    assert scan.is_done
    assert (scan.refusal is None) is is_open
    assert is_open or (scan.refusal is not None and scan.refusal.what == "cannot be decoded")


@pytest.mark.parametrize(
    ("content_type", "markup"),
    [
        ("text/html", Markup.HTML),
        ("application/xhtml+xml", Markup.XML),
        ("text/plain", Markup.TEXT),
        ("application/json", Markup.TEXT),
        ("text/html, application/xhtml+xml", Markup.TEXT),
        ("", Markup.SNIFFED),
    ],
)
def test_all_that_a_browser_shows_by_itself_is_a_page(content_type: str, markup: Markup) -> None:
    head = Head("", content_type, is_document=True)
    assert head.kind.may_be_page
    assert head.kind.markup is markup
    scan = BodyScan(head, STARTER)
    scan.feed(EXPLICIT)
    scan.end()
    assert scan.refusal is not None


def test_a_piece_after_a_pause_is_judged_before_it_passes() -> None:
    scan = BodyScan(Head("", "text/html", is_document=True), STARTER)
    scan.feed(b"<html><p>clean words")
    assert scan.refusal_so_far is None
    scan.release()
    scan.feed(b"<p>" + EXPLICIT)
    assert scan.refusal_so_far is not None


def test_a_bomb_of_a_hundred_bytes_is_scanned_in_portions_and_not_for_long() -> None:
    scan = BodyScan(Head("", "text/html", encoding="br"), WORDS)
    bomb = brotli.compress("\ufdfa".encode() * 5_000_000)
    assert len(bomb) < 150
    scan.feed(bomb)
    turns = [scan.work]
    while scan.is_busy:
        scan.go_on()
        turns.append(scan.work)
    assert scan.refusal is not None
    assert len(turns) > 10
    assert all(after - before <= PORTION + 2 * BLOCK for before, after in itertools.pairwise([0, *turns]))
    assert turns[-1] <= UNPACKED_FREELY + MOST_PER_BYTE * len(bomb) + 2 * BLOCK


@pytest.mark.parametrize(
    ("content_type", "is_page"),
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
def test_every_type_that_browsers_may_show_as_a_page_is_scored(content_type: str, is_page: bool) -> None:
    scan = BodyScan(Head("", content_type), WORDS)
    assert (scan.page is not None, scan.is_done) == (is_page, not is_page)


@pytest.mark.parametrize(
    ("body", "head", "kind"),
    [
        (b"MZ\x90\0" + bytes(100), Head("https://a.example/x", "application/octet-stream"), "executables"),
        (b"PK\x03\x04" + bytes(26) + b"photo.jpg", Head("https://a.example/x", "application/octet-stream"), "archives"),
        (
            b"PK\x03\x04" + bytes(26) + b"word/vbaProject.bin",
            Head("https://a.example/x", "application/msword"),
            "macros",
        ),
        (b"<?xml version='1.0'?><pkg:package><vbaProject.bin/>", Head("https://a.example/x", "text/xml"), "macros"),
        (b"", Head("https://a.example/x.exe", "application/octet-stream"), "executables"),
        (b"<?xml version='1.0'?><svg>vbaProject.bin</svg>", Head("https://a.example/x", "text/xml"), None),
        (b"MZ\x90\0" + bytes(100), Head("https://a.example/x", "text/event-stream"), None),
        (b"MZ\x90\0" + bytes(100), Head("https://a.example/x", "image/png", encoding="dcb"), None),
    ],
)
def test_kinds_of_files_by_head_or_by_content(body: bytes, head: Head, kind: str | None) -> None:
    scan = BodyScan(head, FILES)
    for at in range(0, len(body), 3):
        scan.feed(body[at : at + 3])
    scan.end()
    assert (scan.refusal.what if scan.refusal is not None else None) == kind


@pytest.mark.parametrize(
    ("content_type", "is_document", "is_open"),
    [
        ("application/octet-stream", False, False),
        ("application/pdf", True, False),
        ("", False, False),
        ("text/plain", True, False),  # browsers look whether it is a file to be saved
        ("image/png", False, True),
        ("video/mp4", False, True),
        ("text/css", False, True),
        ("application/json", False, True),
    ],
)
@pytest.mark.parametrize(("body", "encoding"), [(b"MZ\x90", "dcb"), (b"\x1fMZ", "gzip"), (b"MZ" * 40, "br")])
def test_what_may_be_a_blocked_file_and_cannot_be_decoded_is_closed(
    body: bytes, encoding: str, content_type: str, is_document: bool, is_open: bool
) -> None:
    scan = BodyScan(Head("https://a.example/x", content_type, encoding=encoding, is_document=is_document), FILES)
    scan.feed(body)
    assert scan.is_done
    assert (scan.refusal is None) is is_open
    assert is_open or (scan.refusal is not None and scan.refusal.reason is Reason.FILE)


@pytest.mark.parametrize(("start", "is_open"), [(b"%PDF-1.7" + bytes(600), True), (b"PK\3\4" + bytes(26), False)])
def test_a_file_that_breaks_later_is_closed_only_while_it_may_have_macros(start: bytes, is_open: bool) -> None:
    """As the start of a zipped document goes on, programs may follow."""
    packer = zlib.compressobj(wbits=31)
    names = b"[Content_Types].xml" + random.Random(1).randbytes(1000)
    packed = packer.compress(start + names) + packer.flush(zlib.Z_FULL_FLUSH)
    scan = BodyScan(Head("https://a.example/x", "application/octet-stream", encoding="gzip"), FILES)
    scan.feed(packed)
    assert scan.refusal is None
    scan.feed(b"\xff" * 100)
    assert (scan.refusal is None) is is_open


@pytest.mark.parametrize("limit", [0, 100, 160])
def test_an_answer_of_youtube_that_breaks_is_closed(limit: int) -> None:
    rules = ScanRules(ContentRules(page_limit=limit, youtube_only=("UCabcdefghijklmnopqrstuv",)))
    scan = BodyScan(Head("https://www.youtube.com/youtubei/v1/player", "application/json", encoding="gzip"), rules)
    scan.feed(gzip.compress(b"{}")[:10])
    assert not scan.is_done
    scan.feed(b"\xff" * 100)
    assert scan.refusal is not None


def test_a_scan_that_is_given_up_is_freed_at_once() -> None:
    """Without the garbage collector, which rarely looks: a decoder holds megabytes."""
    gc.collect()
    gc.disable()
    try:
        scan = BodyScan(Head("", "text/html", encoding="br"), WORDS)
        scan.feed(brotli.compress(("\ufdfa" * 1_000_000).encode()))
        assert scan.is_busy
        freed = weakref.ref(scan)
        del scan
        assert freed() is None
    finally:
        gc.enable()
