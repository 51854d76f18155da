"""Kinds of devices, and a guess from a device's name and vendor. Pure.

A kind changes how pages show a device, and no rule.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum


class DeviceKind(StrEnum):
    PHONE = "phone"
    TABLET = "tablet"
    COMPUTER = "computer"
    TELEVISION = "television"
    CONSOLE = "console"
    PRINTER = "printer"
    SPEAKER = "speaker"


# The first that matches decides: a smart television has "tv" in its name and is no phone, whatever else the name says.
_NAMES = (
    (
        DeviceKind.PRINTER,
        r"printer drucker imprimante impresora impressora officejet laserjet epson ^brw[0-9a-f]{6} ^npi[0-9a-f]{6}",
    ),
    (DeviceKind.SPEAKER, r"homepod sonos echo alexa speaker lautsprecher google-?home nest-?mini nest-?audio"),
    (DeviceKind.CONSOLE, r"playstation \bps[345]\b x-?box nintendo \bswitch\b steam-?deck console konsole consola"),
    (
        DeviceKind.TELEVISION,
        r"(^|[^a-z])(smart)?tv([^a-z]|$) television televisor televisao fernseher telly bravia viera roku chromecast",
    ),
    (DeviceKind.TELEVISION, r"fire-?tv apple-?tv webos"),
    (DeviceKind.TABLET, r"i-?pad tablet tableta kindle galaxy-?tab \btab-?[as]?[0-9]"),
    (
        DeviceKind.PHONE,
        r"i-?phone phone handy telefon telephone telemovel celular movil pixel galaxy redmi oneplus xperia \bsm-[agsn]",
    ),
    (DeviceKind.PHONE, r"moto-?[ge] android"),
    (
        DeviceKind.COMPUTER,
        r"mac-?book i-?mac mac-?mini laptop notebook desktop computer rechner ordinateur ordenador portatil thinkpad",
    ),
    (DeviceKind.COMPUTER, r"chromebook surface (^|[^a-z])pc([^a-z]|$) windows ubuntu debian fedora raspberry"),
)
_VENDORS = (
    (DeviceKind.CONSOLE, r"nintendo sony.interactive valve"),
    (DeviceKind.SPEAKER, r"sonos bose libratone"),
    (DeviceKind.TELEVISION, r"roku vizio hisense tp.vision \btcl\b"),
    (DeviceKind.PRINTER, r"epson brother canon lexmark kyocera"),
    (DeviceKind.COMPUTER, r"\bdell\b lenovo intel.corp asustek micro-star acer framework raspberry"),
    (DeviceKind.PHONE, r"oneplus fairphone xiaomi \boppo\b \bvivo\b motorola.mob hmd.global"),
)


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


def guess_kind(*names: str, vendor: str = "") -> DeviceKind | None:
    """Guess the kind from names, of which the first that says something counts, then from the vendor.

    >>> (guess_kind("mia-tablet"), guess_kind("living room", "LG-webOSTV"),
    ...  guess_kind("games", vendor="Nintendo Co.,Ltd"))
    (<DeviceKind.TABLET: 'tablet'>, <DeviceKind.TELEVISION: 'television'>, <DeviceKind.CONSOLE: 'console'>)
    >>> guess_kind("activity-tracker", vendor="Apple, Inc."), guess_kind("Telemóvel da Ana")
    (None, <DeviceKind.PHONE: 'phone'>)
    """
    for patterns, texts in ((_NAMES, names), (_VENDORS, (vendor,))):
        for text in map(_without_accents, texts):
            for kind, pattern in patterns:
                if text and re.search(pattern.replace(" ", "|"), text, re.IGNORECASE):
                    return kind
    return None
