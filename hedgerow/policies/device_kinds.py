"""Kinds of devices, and a guess from a device's name and vendor. Pure.

A kind changes how pages show a device, and no rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum

from hedgerow.blocklists.names import registered_domain


class DeviceKind(StrEnum):
    PHONE = "phone"
    TABLET = "tablet"
    COMPUTER = "computer"
    TELEVISION = "television"
    CONSOLE = "console"
    PRINTER = "printer"
    SPEAKER = "speaker"
    CAMERA = "camera"
    STORAGE = "storage"
    APPLIANCE = "appliance"


# The first that matches decides: a smart television has "tv" in its name and is not a phone, whatever else the name
# says.
_NAMES = (
    (
        DeviceKind.PRINTER,
        r"printer drucker imprimante impresora impressora stampante drukarka yazici officejet laserjet deskjet",
    ),
    # Names that printers have from the factory: HP, Brother, Canon, Kyocera, Lexmark, Ricoh, Samsung and Xerox.
    (
        DeviceKind.PRINTER,
        r"epson pagewide ecotank pixma ^(npi|hp|br[wn]|canon|km|et|rnp|sec|xrx)[0-9a-f]{6} \b(mfc|dcp)-?[jlt]?[0-9]{3}",
    ),
    (
        DeviceKind.CAMERA,
        r"(ip|net|web)cam(era)? \bcam-?[0-9] camera kamera camara (door|video)-?bell reolink hikvision ezviz",
    ),
    (DeviceKind.STORAGE, r"\bnas(-?[0-9a-f]+)?\b diskstation synology qnap my-?cloud truenas"),
    (
        DeviceKind.APPLIANCE,
        r"shelly tasmota sonoff ^esp[-_][0-9a-f]{6} philips-?hue tradfri netatmo roomba roborock thermostat",
    ),
    (DeviceKind.APPLIANCE, r"smart-?plug wallbox staubsauger steckdose dishwasher washing-?machine waschmaschine"),
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
    (DeviceKind.SPEAKER, r"sonos \bbose\b libratone"),
    (DeviceKind.TELEVISION, r"roku vizio hisense tp.vision \btcl\b"),
    (DeviceKind.PRINTER, r"epson brother canon lexmark kyocera xerox ricoh konica"),
    (DeviceKind.CAMERA, r"hikvision dahua reolink axis.comm \barlo\b ^ring.llc ezviz wyze"),
    (DeviceKind.STORAGE, r"synology qnap"),
    (
        DeviceKind.APPLIANCE,
        r"tuya espressif signify philips.lighting nest.labs ecobee irobot roborock meross netatmo ^tado\b",
    ),
    (DeviceKind.COMPUTER, r"\bdell\b lenovo intel.corp asustek micro-star acer framework raspberry"),
    (DeviceKind.PHONE, r"oneplus fairphone xiaomi \boppo\b \bvivo\b motorola.mob hmd.global"),
)
_SITES = {
    **dict.fromkeys(
        ("hpeprint.com", "hpconnected.com", "epsonconnect.com", "epson.net", "c-ij.com"), DeviceKind.PRINTER
    ),
    **dict.fromkeys(("samsungcloudsolution.com", "samsungcloudsolution.net", "samsungacr.com"), DeviceKind.TELEVISION),
    **dict.fromkeys(("samsungotn.net", "internetat.tv", "lgtvsdp.com", "lgtvcommon.com"), DeviceKind.TELEVISION),
    **dict.fromkeys(("lgappstv.com", "lgsmartad.com", "roku.com", "tvinteractive.tv"), DeviceKind.TELEVISION),
    **dict.fromkeys(("hismarttv.com", "nettvservices.com"), DeviceKind.TELEVISION),
    **dict.fromkeys(("sonos.com",), DeviceKind.SPEAKER),
    **dict.fromkeys(("reolink.com", "hik-connect.com", "ezvizlife.com", "wyzecam.com"), DeviceKind.CAMERA),
    **dict.fromkeys(("synology.com", "quickconnect.to", "qnap.com", "myqnapcloud.com"), DeviceKind.STORAGE),
    **dict.fromkeys(("tuyaeu.com", "tuyaus.com", "tuyacn.com", "meethue.com", "shelly.cloud"), DeviceKind.APPLIANCE),
    **dict.fromkeys(("tado.com", "netatmo.net", "roborock.com", "coolkit.cc"), DeviceKind.APPLIANCE),
}
"""Sites of makers, which things ask for by themselves. People's devices ask for many others besides."""


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


def kind_by_hosts(hosts: Iterable[str], is_background: Callable[[str], bool]) -> DeviceKind | None:
    """Guess the kind from the hosts that a device asks for: half of the sites or more belong to makers of one kind.

    Of other sites, background traffic does not count: every device asks for the time.

    >>> kind_by_hosts(["www.hpeprint.com", "pool.ntp.org"], lambda host: "ntp" in host)
    <DeviceKind.PRINTER: 'printer'>
    >>> kind_by_hosts(["www.youtube.com", "www.bbc.co.uk", "www.roku.com"], lambda host: False)
    """
    asked = {(registered_domain(host), host) for host in hosts}
    sites = {site for site, host in asked if site in _SITES or not is_background(host)}
    kinds = Counter(_SITES[site] for site in sites if site in _SITES)
    return next((kind for kind, count in kinds.most_common(1) if 2 * count >= len(sites)), None)
