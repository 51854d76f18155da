"""Message catalogues: one GNU gettext `.po` file per language, read without compiling and without Babel, which workers do not load.

The files stand beside the pages, which hold most of the messages. A language is available as soon as its file is there.
"""

from __future__ import annotations

import gettext
import io
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

CATALOGUES_DIR = Path(__file__).parents[2] / "dashboards" / "words"
SOURCE_LANGUAGE, SOURCE_NAME = "en", "English"
NAME_CONTEXT = "language"
"""Context of the message `English`, whose translation is the language's own name for itself."""

_NATIVE_NAME = re.compile(f'^msgctxt "{NAME_CONTEXT}"\nmsgid "{SOURCE_NAME}"\nmsgstr "([^"\n]+)"$'.encode(), re.MULTILINE)
_STRING = re.compile(r'^(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?)?[ \t]*"(.*)"[ \t\r]*$', re.MULTILINE)
_FUZZY = re.compile(r"^#,.*\bfuzzy\b", re.MULTILINE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_MO_MAGIC = 0x950412DE


def catalogue_path(code: str) -> Path:
    """Return the path of a catalogue, named after the locale: `pt_BR.po` for `pt-BR`."""
    return CATALOGUES_DIR / f"{code.replace('-', '_')}.po"


def native_names() -> dict[str, str]:
    """Return the languages by BCP 47 tag with their own names, English first, then in the order of their names."""
    named = {(code := path.stem.replace("_", "-")): _native_name(path) or code for path in CATALOGUES_DIR.glob("*.po")}
    return {SOURCE_LANGUAGE: SOURCE_NAME} | dict(sorted(named.items(), key=lambda item: item[1].casefold()))


def _native_name(path: Path) -> str:
    match = _NATIVE_NAME.search(path.read_bytes())
    return match[1].decode() if match else ""


@cache
def read_translations(code: str) -> gettext.NullTranslations:
    """Return the translations of a language; its missing messages stay English. Raises `OSError`."""
    if code == SOURCE_LANGUAGE:
        return gettext.NullTranslations()
    return gettext.GNUTranslations(io.BytesIO(_compiled(parse_po(catalogue_path(code).read_text(encoding="utf-8")))))


def parse_po(text: str) -> dict[str, str]:
    r"""Return the translated messages of a catalogue, with keys and values as in a `.mo` file. Fuzzy and incomplete ones are left out.

    >>> parse_po('msgctxt "page"\nmsgid "Yes"\nmsgstr ""\n"J"\n"a"\n\nmsgid "No"\nmsgstr ""\n')
    {'page\x04Yes': 'Ja'}
    """
    return dict(pair for block in re.split(r"\n[ \t\r]*\n", text) if not _FUZZY.search(block) for pair in _entry(block))


def _entry(block: str) -> Iterator[tuple[str, str]]:
    fields: dict[str, str] = {}
    keyword = ""
    for named, value in _STRING.findall(block):
        keyword = named or keyword
        fields[keyword] = fields.get(keyword, "") + _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value)
    strings = [value for name, value in fields.items() if name.startswith("msgstr")]
    if "msgid" in fields and strings and all(strings):
        context = f"{fields['msgctxt']}\x04" if "msgctxt" in fields else ""
        plural = f"\0{fields['msgid_plural']}" if "msgid_plural" in fields else ""
        yield f"{context}{fields['msgid']}{plural}", "\0".join(strings)


def _compiled(messages: Mapping[str, str]) -> bytes:
    """Return the messages in the format of `.mo` files (GNU gettext manual, section 10.3), without a hash table."""
    keys, values = ([text.encode() for text in texts] for texts in (messages.keys(), messages.values()))
    tables_size, place = 2 * 8 * len(keys), 28 + 2 * 8 * len(keys)
    index, strings = bytearray(), bytearray()
    for text in (*keys, *values):
        index += struct.pack("<2I", len(text), place + len(strings))
        strings += text + b"\0"
    head = struct.pack("<7I", _MO_MAGIC, 0, len(keys), 28, 28 + tables_size // 2, 0, 0)
    return head + bytes(index) + bytes(strings)
