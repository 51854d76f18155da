"""Which kind of file an answer is: by its name, by its Content-Type and by its first bytes. Pure.

The kinds are those that a policy can block: executables, archives, torrents, and office documents with macros.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

SNIFF_BYTES = 512
"""Bytes from which the kind of a file can be told, whatever it is; most are told by the first few."""

_NEEDED_OF_PROGRAM = 60
_NEEDED_OF_TAR = 262
_ZIP, _COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_XML_BEGINS = (b"<?", b"<!", b"<p")

_ENDINGS = {
    "executables": "apk appimage appx bat cmd cpl crx deb dll dmg exe hta ipa jar jnlp msi msix msp pif "
    "pkg ps1 reg rpm run scr vb vbe vbs wsf xpi",
    "archives": "001 7z ace arj bz2 cab gz iso img lha lzh lzma rar tar tbz tgz txz xz zip zipx zst",
    "torrents": "torrent",
    "macros": "docm dotm potm ppam ppsm pptm xlam xlsb xlsm xltm",
}  # fmt: skip
_BY_ENDING = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}
_BY_TYPE = {
    "application/x-msdownload": "executables", "application/x-dosexec": "executables", "application/x-msdos-program": "executables",
    "application/vnd.microsoft.portable-executable": "executables", "application/x-executable": "executables",
    "application/vnd.android.package-archive": "executables", "application/x-apple-diskimage": "executables",
    "application/java-archive": "executables", "application/x-ms-installer": "executables", "application/x-msi": "executables",
    "application/vnd.debian.binary-package": "executables", "application/x-rpm": "executables", "application/hta": "executables",
    "application/zip": "archives", "application/x-zip-compressed": "archives", "application/x-7z-compressed": "archives",
    "application/vnd.rar": "archives", "application/x-rar-compressed": "archives", "application/gzip": "archives",
    "application/x-tar": "archives", "application/x-bzip2": "archives", "application/x-xz": "archives",
    "application/x-iso9660-image": "archives", "application/vnd.ms-cab-compressed": "archives",
    "application/x-bittorrent": "torrents",
}  # fmt: skip
_BY_MAGIC = (
    (b"MZ", "executables"), (b"\x7fELF", "executables"), (b"\xca\xfe\xba\xbe", "executables"), (b"\xcf\xfa\xed\xfe", "executables"),
    (b"\xce\xfa\xed\xfe", "executables"), (b"\xfe\xed\xfa\xcf", "executables"), (b"Cr24", "executables"), (b"!<arch>\ndeb", "executables"),
    (b"\xed\xab\xee\xdb", "executables"), (b"7z\xbc\xaf\x27\x1c", "archives"), (b"Rar!\x1a\x07", "archives"), (b"\x1f\x8b\x08", "archives"),
    (b"\xfd7zXZ\x00", "archives"), (b"BZh", "archives"), (b"\x28\xb5\x2f\xfd", "archives"), (b"MSCF", "archives"),
    (b"d8:announce", "torrents"), (b"d13:announce-list", "torrents"), (b"d7:comment", "torrents"), (b"d10:created by", "torrents"),
)  # fmt: skip
_DOCUMENT_ZIPS = (b"[Content_Types].xml", b"mimetype", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/")
_PROGRAM_ZIPS = (b"AndroidManifest.xml", b"META-INF/", b"classes.dex", b"Payload/", b"AppxManifest.xml")
_FILENAME = re.compile(r"""filename\*?\s*=\s*(?:[\w-]*'[\w-]*')?"?([^";]+)""", re.IGNORECASE)


def kind_of_name(url: str, disposition: str = "") -> str | None:
    """The kind by the name that a browser would save the file under.

    >>> kind_of_name("https://x.example/get?id=1", 'attachment; filename="Setup.EXE"'), kind_of_name("https://x.example/a.com/")
    ('executables', None)
    """
    names = _FILENAME.findall(disposition) or [urlsplit(url).path.rsplit("/", 1)[-1]]  # of two, browsers differ in which they take
    return next((kind for name in names if (kind := _kind_of_file_name(unquote(name))) is not None), None)


def _kind_of_file_name(name: str) -> str | None:
    name = name.strip().rstrip(". ").lower()
    return _BY_ENDING.get(name.rpartition(".")[2]) if "." in name else None


def kind_of_type(content_type: str) -> str | None:
    """The kind by Content-Type.

    >>> kind_of_type("application/vnd.ms-word.document.macroEnabled.12")
    'macros'
    """
    media = content_type.partition(";")[0].strip().lower()
    return "macros" if ".macroenabled." in media else _BY_TYPE.get(media)


def may_change(start: bytes, *, may_be_tar: bool = True, may_be_xml: bool = True) -> bool:
    """Whether what follows these first bytes may still tell of another kind of file than they do.

    A type that is shown (`may_be_tar` is false) is not saved as a tar; XML may be an office document in one file.

    >>> may_change(b"{", may_be_tar=False), may_change(b"PK"), may_change(b"MZ" + bytes(60)), may_change(b"data: 1\\n")
    (False, True, False, False)
    """
    if len(start) >= SNIFF_BYTES:
        return False
    if start.startswith(b"MZ"):
        return len(start) < _NEEDED_OF_PROGRAM
    if start.startswith((_ZIP, _COMPOUND)) or any(sign.startswith(start) for sign in (_ZIP, _COMPOUND)):
        return True
    if may_be_xml and (not (begun := start.lstrip(b"\xef\xbb\xbf \t\r\n")[:2]) or begun == b"<" or begun in _XML_BEGINS):
        return True
    if any(len(start) < len(sign) and sign.startswith(start) for sign, _ in _BY_MAGIC):
        return True
    return may_be_tar and len(start) < _NEEDED_OF_TAR and _may_begin_tar(start)


def _may_begin_tar(start: bytes) -> bool:
    """Whether this may be the name of a file, padded with zeros, and numbers in octal digits (POSIX.1-1988, ustar)."""
    name, _, padding = start[:100].partition(b"\0")
    is_name = bool(name) and min(name) >= 0x20 and not padding.strip(b"\0")
    return is_name and not start[100:124].strip(b"01234567 \0")


def kind_of_content(start: bytes) -> str | None:
    """The kind by the first bytes, as many of them as are there; office documents and books are no archives. See `macros` for these.

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
    return next((kind for sign, kind in _BY_MAGIC if start.startswith(sign)), None)
