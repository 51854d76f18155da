"""Scans of whole bodies: portions, limits, types, and scanners added to the tuple."""

from __future__ import annotations

import gc
import gzip
import itertools
import sys
import weakref

import brotli
import pytest

from hedgerow.policies.content import ContentRules
from hedgerow.proxy.scanners.body import PORTION, BodyScan
from hedgerow.proxy.scanners.decoding import BLOCK, MOST_PER_BYTE, UNPACKED_FREELY
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.words import MAX_UNPACKED

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=4), "zstd": zstd.compress}


WORDS = ScanRules(ContentRules(page_limit=100))
FILES = ScanRules(ContentRules(files=("executables", "archives", "macros")))


@pytest.mark.parametrize("coding", PACKERS)
def test_a_page_that_decodes_to_more_than_any_real_one_is_blocked(coding: str) -> None:
    scan = BodyScan(Head("", "text/html", encoding=coding), WORDS)
    scan.feed(PACKERS[coding](b"<p>good</p>" * (MAX_UNPACKED // 11 + 70_000)))
    while scan.is_busy:
        scan.go_on()
    assert scan.refusal is not None
    assert scan.refusal.what == "too long to be weighed"


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
        (b"MZ\x90\0" + bytes(100), Head("https://a.example/x", "image/png", encoding="compress"), None),
    ],
)
def test_kinds_of_files_by_head_or_by_content(body: bytes, head: Head, kind: str | None) -> None:
    scan = BodyScan(head, FILES)
    for at in range(0, len(body), 3):
        scan.feed(body[at : at + 3])
    scan.end()
    assert (scan.refusal.what if scan.refusal is not None else None) == kind


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
