"""Kinds of files: by name, by type, by content."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.policies.content import FILE_KINDS, ContentRules
from hedgerow.proxy.scanners.file_kinds import declared_file_kind, kind_of_content, kind_of_name, kind_of_type
from hedgerow.proxy.scanners.scanner import Head


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 20)
    return file.getvalue()[:512]


@pytest.mark.parametrize(
    ("url", "disposition", "expected"),
    [
        ("https://x.example/setup.exe", "", "executables"),
        ("https://x.example/setup.exe?v=2#top", "", "executables"),
        ("https://x.example/get", 'attachment; filename="a b.MSI"', "executables"),
        ("https://x.example/get", "attachment; filename*=UTF-8''spiel%2Eapk", "executables"),
        ("https://x.example/get", "attachment; filename=a.txt; filename*=UTF-8''spiel.apk", "executables"),
        ("https://x.example/get", "attachment; filename*=UTF-8''a.txt; filename=spiel.apk", "executables"),
        ("https://x.example/film.torrent", "", "torrents"),
        ("https://x.example/photos.zip", "", "archives"),
        ("https://x.example/report.docm", "", "macros"),
        ("https://x.example/setup%2Eexe", "", "executables"),
        ("https://x.example/setup.exe.", "", "executables"),
        ("https://x.example/notes.docx", "", None),
        ("https://x.example/about/google.com", "", None),
        ("https://exe/", "", None),
    ],
)
def test_names(url: str, disposition: str, expected: str | None) -> None:
    assert kind_of_name(url, disposition) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"MZ\x90\x00\x03\x00\x00\x00" + bytes(100), "executables"),
        (b"MZ is how this sentence begins, and it goes on for quite some time after that.", None),
        (b"\x7fELF\x02\x01\x01", "executables"),
        (zipped("AndroidManifest.xml"), "executables"),
        (zipped("META-INF/MANIFEST.MF"), "executables"),
        (zipped("holiday.jpg"), "archives"),
        (zipped("[Content_Types].xml", "word/document.xml"), None),
        (zipped("mimetype", "META-INF/container.xml"), None),
        (b"d8:announce35:http://tracker.example/announce", "torrents"),
        (b"7z\xbc\xaf\x27\x1c", "archives"),
        (b"holiday.jpg".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "archives"),
        (b"<!doctype html>", None),
        (b"%PDF-1.7", None),
        (b"\x89PNG\r\n", None),
        (b"", None),
    ],
)
def test_contents(start: bytes, expected: str | None) -> None:
    assert kind_of_content(start) == expected


def test_types() -> None:
    assert kind_of_type("Application/X-Bittorrent; charset=x") == "torrents"
    assert kind_of_type("text/html") is None


def test_a_page_about_a_program_is_no_program() -> None:
    rules = ContentRules(files=FILE_KINDS)
    assert declared_file_kind(rules, Head("https://wiki.example/Setup.exe", "text/html; charset=utf-8", "")) is None
    assert (
        declared_file_kind(rules, Head("https://x.example/Setup.exe", "application/octet-stream", "")) == "executables"
    )
    assert (
        declared_file_kind(rules, Head("https://x.example/Setup.exe", "text/plain", "attachment; filename=Setup.exe"))
        == "executables"
    )
    assert declared_file_kind(rules, Head("https://x.example/Setup.exe", "text/event-stream", "")) == "executables", (
        "browsers save it"
    )
    assert declared_file_kind(ContentRules(files=("torrents",)), Head("https://x.example/Setup.exe")) is None


@given(st.binary(max_size=600), st.text(max_size=50), st.text(max_size=50))
def test_nothing_upsets_it(start: bytes, path: str, disposition: str) -> None:
    kind_of_content(start)
    kind_of_name(f"https://x.example/{path}", disposition)
