"""Kinds of files that a policy can block, by name, Content-Type and first bytes. Pure.

The kinds are executables, archives, torrents, and office documents with macros; see `macros` for the search inside
documents.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Self
from urllib.parse import unquote, urlsplit

from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners.scanner import Head, Scanner, ScanRules

SNIFF_BYTES = 512
"""Bytes that suffice to recognise every kind. Most take only a few."""

_PROGRAM_BYTES = 60
_TAR_BYTES = 262
_ZIP, _COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_XML_BEGINS = (b"<?", b"<!", b"<p")

_ENDINGS = {
    "executables": "apk appimage appx bat cmd cpl crx deb dll dmg exe hta ipa jar jnlp msi msix msp pif "
    "pkg ps1 reg rpm run scr vb vbe vbs wsf xpi",
    "archives": "001 7z ace arj bz2 cab gz iso img lha lzh lzma rar tar tbz tgz txz xz zip zipx zst",
    "torrents": "torrent",
    "macros": "docm dotm potm ppam ppsm pptm xlam xlsb xlsm xltm",
}
_BY_ENDING = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}
_BY_TYPE = {
    "application/x-msdownload": "executables",
    "application/x-dosexec": "executables",
    "application/x-msdos-program": "executables",
    "application/vnd.microsoft.portable-executable": "executables",
    "application/x-executable": "executables",
    "application/vnd.android.package-archive": "executables",
    "application/x-apple-diskimage": "executables",
    "application/java-archive": "executables",
    "application/x-ms-installer": "executables",
    "application/x-msi": "executables",
    "application/vnd.debian.binary-package": "executables",
    "application/x-rpm": "executables",
    "application/hta": "executables",
    "application/zip": "archives",
    "application/x-zip-compressed": "archives",
    "application/x-7z-compressed": "archives",
    "application/vnd.rar": "archives",
    "application/x-rar-compressed": "archives",
    "application/gzip": "archives",
    "application/x-tar": "archives",
    "application/x-bzip2": "archives",
    "application/x-xz": "archives",
    "application/x-iso9660-image": "archives",
    "application/vnd.ms-cab-compressed": "archives",
    "application/x-bittorrent": "torrents",
}
_BY_MAGIC = (
    (b"MZ", "executables"),
    (b"\x7fELF", "executables"),
    (b"\xca\xfe\xba\xbe", "executables"),
    (b"\xcf\xfa\xed\xfe", "executables"),
    (b"\xce\xfa\xed\xfe", "executables"),
    (b"\xfe\xed\xfa\xcf", "executables"),
    (b"Cr24", "executables"),
    (b"!<arch>\ndeb", "executables"),
    (b"\xed\xab\xee\xdb", "executables"),
    (b"7z\xbc\xaf\x27\x1c", "archives"),
    (b"Rar!\x1a\x07", "archives"),
    (b"\x1f\x8b\x08", "archives"),
    (b"\xfd7zXZ\x00", "archives"),
    (b"BZh", "archives"),
    (b"\x28\xb5\x2f\xfd", "archives"),
    (b"MSCF", "archives"),
    (b"d8:announce", "torrents"),
    (b"d13:announce-list", "torrents"),
    (b"d7:comment", "torrents"),
    (b"d10:created by", "torrents"),
)
_DOCUMENT_ZIPS = (b"[Content_Types].xml", b"mimetype", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/")
_PROGRAM_ZIPS = (b"AndroidManifest.xml", b"META-INF/", b"classes.dex", b"Payload/", b"AppxManifest.xml")
_FILENAME = re.compile(r"""filename\*?\s*=\s*(?:[\w-]*'[\w-]*')?"?([^";]+)""", re.IGNORECASE)


def kind_of_name(url: str, disposition: str = "") -> str | None:
    """Return the kind by the name under which a browser would save the file.

    >>> (kind_of_name("https://x.example/get?id=1", 'attachment; filename="Setup.EXE"'),
    ...  kind_of_name("https://x.example/a.com/"))
    ('executables', None)
    """
    # of two names, browsers differ in which they use
    names = _FILENAME.findall(disposition) or [urlsplit(url).path.rsplit("/", 1)[-1]]
    return next((kind for name in names if (kind := _kind_of_file_name(unquote(name))) is not None), None)


def _kind_of_file_name(name: str) -> str | None:
    name = name.strip().rstrip(". ").lower()
    return _BY_ENDING.get(name.rpartition(".")[2]) if "." in name else None


def kind_of_type(content_type: str) -> str | None:
    """Return the kind by Content-Type.

    >>> kind_of_type("application/vnd.ms-word.document.macroEnabled.12")
    'macros'
    """
    media = content_type.partition(";")[0].strip().lower()
    return "macros" if ".macroenabled." in media else _BY_TYPE.get(media)


def may_change(start: bytes, *, may_be_tar: bool = True, may_be_xml: bool = True) -> bool:
    """Return whether the bytes after `start` may still reveal another kind.

    `may_be_tar` is false for types that a browser shows and does not save. XML may be an office document in one file.

    >>> may_change(b"{", may_be_tar=False), may_change(b"PK"), may_change(b"MZ" + bytes(60)), may_change(b"data: 1\\n")
    (False, True, False, False)
    """
    if len(start) >= SNIFF_BYTES:
        return False
    if start.startswith(b"MZ"):
        return len(start) < _PROGRAM_BYTES
    if start.startswith((_ZIP, _COMPOUND)) or any(sign.startswith(start) for sign in (_ZIP, _COMPOUND)):
        return True
    if may_be_xml and (
        not (first := start.lstrip(b"\xef\xbb\xbf \t\r\n")[:2]) or first == b"<" or first in _XML_BEGINS
    ):
        return True
    if any(len(start) < len(sign) and sign.startswith(start) for sign, _ in _BY_MAGIC):
        return True
    return may_be_tar and len(start) < _TAR_BYTES and _may_begin_tar(start)


def _may_begin_tar(start: bytes) -> bool:
    """Return whether `start` may be a file name padded with zeros, and octal numbers (POSIX.1-1988, ustar)."""
    name, _, padding = start[:100].partition(b"\0")
    is_name = bool(name) and min(name) >= 0x20 and not padding.strip(b"\0")
    return is_name and not start[100:124].strip(b"01234567 \0")


def kind_of_content(start: bytes) -> str | None:
    """Return the kind by the first bytes. Office documents and e-books are not archives.

    >>> kind_of_content(b"MZ" + bytes(58) + b"\\x40"), kind_of_content(b"PK\\x03\\x04" + bytes(26) + b"photo.jpg")
    ('executables', 'archives')
    """
    if start.startswith(b"PK\x03\x04"):
        names = start[30:]
        if names.startswith(_DOCUMENT_ZIPS):
            return None
        return "executables" if any(name in names for name in _PROGRAM_ZIPS) else "archives"
    if start.startswith(b"MZ"):
        return "executables" if (len(start) >= 60 and not start[:60].isascii()) or b"\0\0" in start[:60] else None
    if start[257:262] == b"ustar":
        return "archives"
    return (
        next((kind for sign, kind in _BY_MAGIC if start.startswith(sign)), None) if start.startswith(_SIGNS) else None
    )


_SIGNS = tuple(sign for sign, _ in _BY_MAGIC)
_DISPLAYED_TYPES = ("text/", "image/", "application/json", "application/javascript")


def declared_file_kind(rules: ContentRules, head: Head) -> str | None:
    """Return the blocked kind that the head declares, by name or type."""
    blocked, look = rules.files or (), _declared if len(head.content_type) <= _USUAL_TYPE else _declared.__wrapped__
    is_displayed, by_type = look(head.content_type)
    if not (is_displayed and not head.disposition) and (by_name := kind_of_name(head.url, head.disposition)) in blocked:
        return by_name
    return by_type if by_type in blocked else None


_USUAL_TYPE = 100  # characters of a Content-Type that is looked through once


@lru_cache(256)
def _declared(content_type: str) -> tuple[bool, str | None]:
    """Return whether a browser displays this type and does not save it, and the kind by this type."""
    media = content_type.lower()
    return media.startswith(_DISPLAYED_TYPES) and not media.startswith("text/event-stream"), kind_of_type(media)


class FileKindScanner(Scanner):
    """Scanner that blocks kinds of files by their head, or by their first bytes.

    `unreadable` is the decision on a body whose first bytes cannot be decoded. What a page loads as a picture, a film
    or a script passes, since it is saved as a file by nobody.
    """

    def __init__(
        self, kinds: tuple[str, ...], *, may_be_tar: bool, may_be_xml: bool, unreadable: Decision | None
    ) -> None:
        self.is_done = False
        self._kinds = kinds
        self._may_be_tar = may_be_tar
        self._may_be_xml = may_be_xml
        self._start = b""
        self.unreadable = unreadable

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | Decision | None:
        if not rules.content.files:
            return None
        if (declared := declared_file_kind(rules.content, head)) is not None:
            return _blocked(declared)
        kind, kinds = head.kind, rules.content.files
        may_be_xml = "macros" in kinds and kind.types != ("text/html",)
        unreadable = UNREADABLE if head.is_document or not kind.is_media else None
        return cls(kinds, may_be_tar=not kind.is_media, may_be_xml=may_be_xml, unreadable=unreadable)

    def feed(self, data: bytes) -> Decision | None:
        self._start += data
        may_still_change = may_change(self._start, may_be_tar=self._may_be_tar, may_be_xml=self._may_be_xml)
        return None if may_still_change else self.end()

    def end(self) -> Decision | None:
        self.is_done = True
        kind = kind_of_content(self._start)
        return _blocked(kind) if kind in self._kinds else None


def _blocked(kind: str | None) -> Decision:
    return Decision(Verdict.BLOCK, Reason.FILE, kind or "")


UNREADABLE = _blocked("cannot be decoded")
"""The decision on a file that cannot be decoded."""
