"""The report of the Wi-Fi's process, which pages, doctor and metrics read, and the Wi-Fi's password."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hedgerow.codec import decode, encode
from hedgerow.features.contract import Core
from hedgerow.files import make_private_folder, write_atomically

RUNTIME = Path("/run/hedgerow-wifi")
"""Directory in memory of the Wi-Fi's process, which systemd makes for Hedgerow's user."""
FOLDER, PASSWORD_NAME = "wifi", "password"
_REPORT_NAME = "report.json"
STALE_S = 30.0
"""Seconds after which a report says nothing about now: the process writes one every few seconds."""
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 4


class WifiState(StrEnum):
    """The state of the Wi-Fi. In all but `OPEN` and `OFFLINE`, nothing passes."""

    OFF = "off"  # the policy has none
    STARTING = "starting"
    OPEN = "open"
    OFFLINE = "offline"  # open, but nothing leads to the internet
    NO_COUNTRY = "no country"
    NO_RADIO = "no radio"
    NO_ACCESS_POINT = "no access point"  # the radio can't be one
    NO_NETWORK = "no network"  # all networks for devices are in use by others
    UNFILTERED = "unfiltered"  # the gateway is not in place
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        return self in {WifiState.OPEN, WifiState.OFFLINE}


@dataclass(frozen=True, slots=True)
class WifiReport:
    """The state at a moment, in seconds since the epoch.

    `radios` are the interfaces that can open a Wi-Fi. `reason` is what hostapd or the system said of a failure.
    """

    state: WifiState
    at: float
    radios: tuple[str, ...] = ()
    interface: str = ""
    network: str = ""
    devices: int = 0
    reason: str = ""

    def save(self, folder: Path = RUNTIME) -> None:
        """Write the report. Raises OSError."""
        write_atomically(folder / _REPORT_NAME, encode(self))

    @staticmethod
    def load(now: float, folder: Path = RUNTIME) -> WifiReport | None:
        """Return the last report, or None if no process has written one lately."""
        try:
            report = decode(WifiReport, (folder / _REPORT_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        return report if abs(now - report.at) < STALE_S else None


class WifiHome:
    """The Wi-Fi of this machine as control knows it: the last report of its process, and its password."""

    def __init__(self, state: Path, runtime: Path = RUNTIME) -> None:
        self._state, self._runtime = state, runtime

    def report(self, now: float) -> WifiReport | None:
        """Return the last report, or None if no process has written one lately."""
        return WifiReport.load(now, self._runtime)

    def password(self) -> str:
        """Return the password. Raises OSError."""
        return read_password(self._state)

    def renew_password(self) -> None:
        """Make another password, with which the process opens the Wi-Fi anew. Raises OSError."""
        replace_password(self._state)


def wifi_of(core: Core) -> WifiHome:
    """Make the part of control that knows the Wi-Fi."""
    return WifiHome(core.settings.state)


def new_password() -> str:
    """Return a password of 80 bits, in letters that nobody confuses.

    >>> len(new_password())
    19
    """
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))


def read_password(state: Path) -> str:
    """Return the Wi-Fi's password, which is made when there is none that a Wi-Fi can have. Raises OSError."""
    file = state / FOLDER / PASSWORD_NAME
    try:
        text = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeError):
        text = ""
    return text if is_password(text) else replace_password(state)


def replace_password(state: Path) -> str:
    """Make another password. Raises OSError."""
    made = new_password()
    make_private_folder(state / FOLDER)
    write_atomically(state / FOLDER / PASSWORD_NAME, f"{made}\n".encode())
    return made


def is_password(text: str) -> bool:
    """Return True for a passphrase of WPA2: 8 to 63 printable characters of ASCII."""
    return 8 <= len(text) <= 63 and set(text) <= {*string.ascii_letters, *string.digits, *string.punctuation, " "}


def join_code(name: str, password: str) -> str:
    r"""Return the text of a QR code with which a phone joins a Wi-Fi, as cameras of Android and iOS read it.

    >>> join_code("Mia; Leo", "abcd-efgh")
    'WIFI:T:WPA;S:Mia\\; Leo;P:abcd-efgh;;'
    """
    plain = [text.translate({ord(mark): f"\\{mark}" for mark in '\\;,":'}) for text in (name, password)]
    return f"WIFI:T:WPA;S:{plain[0]};P:{plain[1]};;"
