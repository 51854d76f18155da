"""The preset file of a prepared disk, `hedgerow.txt` on its boot partition. Pure.

Lines of `key = value`, and comments after `#`. It is taken whole or not at all, so that a torn file changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.features.wifi.settings import name_mistake
from hedgerow.policies.text.locales import COUNTRIES

MAX_OCTETS = 16_384
_HOST_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


class PresetError(Exception):
    """The file can't be used. `problems` are sentences, each with its line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetFile:
    """The choices of a preset file. What it leaves out is empty, and stays as it is."""

    country: str = ""
    hostname: str = ""
    wifi: str = ""
    admin_key: str = ""

    def edits(self) -> Iterator[Edit]:
        """Yield the edits of the policy file."""
        if self.country:
            yield put(("network", "country"), self.country)
        if self.wifi:
            yield put(("network", "wifi", "name"), self.wifi)


def parse_preset(data: bytes) -> PresetFile:
    r"""Parse a preset file. Raises `PresetError`.

    >>> parse_preset(b"country = GB\r\nwifi = Children\r\n")
    PresetFile(country='GB', hostname='', wifi='Children', admin_key='')
    """
    if len(data) > MAX_OCTETS:
        raise PresetError((f"the file has more than {MAX_OCTETS} octets",))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PresetError(("the file is no text in UTF-8: save it as plain text",)) from None
    if "\0" in text:
        raise PresetError(("the file is damaged: write it again, and eject the disk before you pull it out",))
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if content and not content.startswith("#"):
            problems += (f"line {number}: {mistake}" for mistake in _read_line(content, values))
    if problems:
        raise PresetError(tuple(problems))
    return PresetFile(**values)


def _read_line(line: str, values: dict[str, str]) -> Iterator[str]:
    """Put the value of a line into `values`, or yield what is wrong with it."""
    key, sign, value = (part.strip() for part in line.partition("="))
    name = key.lower().replace("-", "_")
    if not sign:
        yield f"'{line:.40}' is not KEY = VALUE"
    elif name not in _CHECKS:
        yield f"unknown key '{key:.40}': there are {', '.join(known.replace('_', '-') for known in _CHECKS)}"
    elif name in values:
        yield f"{key} is there twice"
    elif mistake := _CHECKS[name](value):
        yield f"{key}: {mistake}"
    else:
        values[name] = value.upper() if name == "country" else value.lower() if name == "hostname" else value


def _country_mistake(text: str) -> str:
    known = text.upper() in COUNTRIES
    return "" if known else f"'{text:.40}' is not a country's two-letter code, such as PT (ISO 3166)"


def _hostname_mistake(text: str) -> str:
    is_name = _HOST_NAME.fullmatch(text.lower()) is not None and text.lower() != "localhost"
    return "" if is_name else f"'{text:.70}' is not a name of a-z, 0-9 and hyphens that begins with a letter"


def _key_mistake(text: str) -> str:
    """Return what is wrong with a public key of OpenSSH (RFC 4253, section 6.6), such as one that was cut off."""
    kind, _, rest = text.partition(" ")
    if "PRIVATE KEY" in text:
        return "this is a private key: give it to nobody, and write the public one, of the file that ends in .pub"
    if kind not in _KEY_TYPES:
        return f"not a public key of OpenSSH: it begins with {_KEY_TYPES[0]} or {_KEY_TYPES[-1]}"
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    fields = list(_fields(blob))
    return "" if len(fields) > 1 and fields[0] == kind.encode() and fields[-1] else "the key is cut off"


def _fields(blob: bytes) -> Iterator[bytes]:
    """Yield the strings of a key. The last one is empty if the key does not end with it."""
    at = 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4])
        end = at + 4 + size
        if end > len(blob) or len(blob) - at < 4:
            yield b""
            return
        yield blob[at + 4 : end]
        at = end


_CHECKS: dict[str, Callable[[str], str]] = {
    "country": _country_mistake,
    "hostname": _hostname_mistake,
    "wifi": name_mistake,
    "admin_key": _key_mistake,
}
