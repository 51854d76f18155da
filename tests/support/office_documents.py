"""Office documents as far as a filter looks at them, put together as Office and LibreOffice write them."""

from __future__ import annotations

import io
import struct
import zipfile

TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>{more}</Types>'
)
VBA = '<Override PartName="/word/data.bin" ContentType="application/vnd.ms-office.vbaProject"/>'


def zipped(*names: str, more: str = "", padding: int = 0, last: bool = False, packed: bool = True) -> bytes:
    """A zipped document; `padding` is what Office leaves free in the first head, `last`: the types come at the end."""
    file, types = io.BytesIO(), zipfile.ZipInfo("[Content_Types].xml")
    members: tuple[str | zipfile.ZipInfo, ...] = (*names, types) if last else (types, *names)
    types.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    types.extra = struct.pack("<HH", 0xA220, padding) + bytes(padding) if padding else b""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in members:
            archive.writestr(each, TYPES.format(more=more) if each is types else "x" * 900)
    return file.getvalue()


def compound(*names: str, stream: bytes = b"") -> bytes:
    """A compound file ([MS-CFB]) as far as it is looked at: head, a stream, a directory with these names."""
    entries = b""
    for name in ("Root Entry", *names):
        text = name.encode("utf-16-le")
        entries += text.ljust(64, b"\0") + struct.pack("<H", len(text) + 2) + bytes(62)
    return (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")
        + stream.ljust(-(-len(stream) // 512) * 512, b"\0")
        + entries
    )


def presentation(has_macros: int) -> bytes:
    """A compound file of PowerPoint, whose record says whether it has macros."""
    info = struct.pack("<HHIHHIIII", 0x1F, 0x3FF, 20, 2, 0x400, 12, 7, has_macros, 2)
    return compound("PowerPoint Document", stream=b"text" * 100 + info + b"more" * 100)
