"""Macros in office documents, by what is in the documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office_documents import VBA, compound, presentation, zipped

from hedgerow.proxy.scanners.macros import MAX_SCANNED, MOST_HEADS, MacroSearch

WORD_XML = (
    '<?xml version="1.0"?><?mso-application progid="Word.Document"?><w:wordDocument w:macrosPresent="{}" xmlns:w="x">'
    + "a" * 2000
)

DOCUMENTS = {
    "a new text": (zipped("_rels/.rels", "word/document.xml"), False),
    "a new text with macros": (zipped("word/document.xml", "word/vbaProject.bin"), True),
    "whose part has other letters": (zipped("word/document.xml", "word/VBAPROJECT.BIN"), True),
    "whose part has another name": (zipped("word/document.xml", "word/data.bin", more=VBA, padding=528), True),
    "whose types come last": (zipped("word/document.xml", "word/data.bin", more=VBA, last=True), True),
    "whose types are not packed": (zipped("word/document.xml", "word/data.bin", more=VBA, packed=False), True),
    "whose types come after others": (zipped() + zipped("word/document.xml", "word/data.bin", more=VBA), True),
    "whose types come after what is none": (zipped()[:60] + b"\xff" * 40 + zipped("word/data.bin", more=VBA), True),
    "whose types come after a name": (zipped("a/[Content_Types].xml", "word/data.bin", more=VBA, last=True), True),
    "whose types are long": (zipped("word/data.bin", more="y" * 500_000 + VBA), True),
    "a new table with macros of the old kind": (zipped("xl/workbook.xml", "xl/macrosheets/sheet1.xml"), True),
    "a LibreOffice text": (zipped("mimetype", "content.xml", "Basic/Standard/script-lb.xml"), False),
    "a text with Basic": (
        zipped("mimetype", "content.xml", "Basic/Standard/Module1.xml", "Basic/Standard/script-lb.xml"),
        True,
    ),
    "a LibreOffice text with Python": (zipped("mimetype", "content.xml", "Scripts/python/a.py"), True),
    "an old text": (compound("WordDocument", "1Table"), False),
    "an old text with macros": (compound("WordDocument", "Macros", "VBA", "_VBA_PROJECT", "dir"), True),
    "an old table with macros": (compound("Workbook", "_VBA_PROJECT_CUR"), True),
    "an old text about macros": (
        compound("WordDocument", stream="the stream _VBA_PROJECT holds".encode("utf-16-le")),
        False,
    ),
    "an old presentation": (presentation(0), False),
    "an old presentation with macros": (presentation(1), True),
    "a flat text": (WORD_XML.format("no").encode(), False),
    "a flat text with macros": (WORD_XML.format("yes").encode(), True),
}


def finds(document: bytes, size: int) -> bool:
    search = MacroSearch.begin(document[:512])
    assert search is not None
    return any(search.feed(document[at : at + size]) for at in range(0, len(document), size))


@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_macros_are_found_however_a_document_is_cut(name: str) -> None:
    document, has_macros = DOCUMENTS[name]
    assert {finds(document, size) for size in (1, 7, 40, 512, len(document))} == {has_macros}


def test_what_is_no_document_is_not_searched() -> None:
    for start in (b"", b"%PDF-1.7 vbaProject.bin", b"<?xml version='1.0'?><svg>", b"vbaProject.bin", b"MZ"):
        assert MacroSearch.begin(start) is None


def test_the_search_has_an_end() -> None:
    search = MacroSearch.begin(b"PK\x03\x04")
    assert search is not None
    for _ in range(MAX_SCANNED // 2**20):
        assert not search.is_over
        assert not search.feed(bytes(2**20))
    assert search.is_over


def test_a_bomb_among_the_types_does_not_go_off() -> None:
    """It is refused: nobody wrote it."""
    bomb = zipped(more="y" * 100_000_000)
    search = MacroSearch.begin(bomb)
    assert search is not None
    assert search.feed(bomb)


def test_no_more_lists_of_types_are_looked_at_than_a_document_has() -> None:
    """It is refused, at the first that is too many."""
    head = b"PK\x03\x04" + bytes(4) + b"\x08\0" + bytes(20) + b"[Content_Types].xml"
    assert not finds(head * MOST_HEADS, 4096)
    assert {finds(head * (MOST_HEADS + 1), size) for size in (1, 7, 4096)} == {True}
    assert not finds(head * MOST_HEADS + b"x" * 5000, 1), "each counts once, however it is cut"


@given(
    st.sampled_from([zipped()[:4], compound()[:8], b"<pkg:package"]), st.binary(max_size=400), st.binary(max_size=400)
)
def test_nothing_upsets_it(start: bytes, first: bytes, second: bytes) -> None:
    search = MacroSearch.begin(start)
    assert search is not None
    for piece in (start, first, b"PK\x03\x04" + bytes(4) + b"\x08\0" + bytes(20) + b"[Content_Types].xml", second):
        search.feed(piece)
