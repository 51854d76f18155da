"""Addresses of notice recipients, in one private file each.

Addresses contain passwords. Neither the policy file nor snapshots, the journal, logs, pages or the API hold one.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from urllib.parse import quote, urlencode

from hedgerow.dashboards.control import InvalidInput
from hedgerow.files import make_private_folder, write_atomically
from hedgerow.policies.notices import RECEIVER_NAME

MAX_ADDRESS_LENGTH = 2000


class AddressBook:
    """A folder with a file per recipient, named after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Return whether a recipient has an address."""
        return self._path(name).exists()

    def address(self, name: str) -> str:
        """Return the address, empty if there is none or it cannot be read."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._path(name).read_text(encoding="utf-8").strip()
        return ""

    def service(self, name: str) -> str:
        """Return the part of an address that may be shown, such as `mailto://…`, or an empty text."""
        scheme, separator, _ = self.address(name).partition("://")
        return f"{scheme}://…" if separator else ""

    def put(self, name: str, address: str) -> None:
        """Store an address; an empty one removes it. Raises `InvalidInput`."""
        address = address.strip()
        if not address:
            self._path(name).unlink(missing_ok=True)
            return
        scheme, separator, rest = address.partition("://")
        if (
            not (separator and scheme.replace("+", "").isalnum() and rest)
            or len(address) > MAX_ADDRESS_LENGTH
            or not address.isprintable()
        ):
            raise InvalidInput("An address starts with the type of service and ://, such as mailto:// or ntfy://.")
        try:
            make_private_folder(self.folder)
            write_atomically(self._path(name), f"{address}\n".encode())
        except OSError as error:
            raise InvalidInput("The address can't be saved: %(why)s.", why=error.strerror) from None

    def _path(self, name: str) -> Path:
        check_receiver_name(name)
        return self.folder / name


def check_receiver_name(name: str) -> None:
    """Raise `InvalidInput` for a name that a notice recipient cannot have.

    It is the name of the file with the address.
    """
    if RECEIVER_NAME.fullmatch(name) is None:
        raise InvalidInput(
            "'%(name)s': the name of a recipient may contain lower-case letters, digits and hyphens.", name=name
        )


MAILBOX = re.compile(r"[^@\s\"<>,;:/?&#%]+@([a-z0-9-]+(?:\.[a-z0-9-]+)+)", re.IGNORECASE)
_SERVER = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::([0-9]{1,5}))?", re.IGNORECASE)
_IMPLICIT_TLS_PORT = "465"


def mailbox_url(mailbox: str, password: str, server: str = "", to: str = "") -> str:
    """Return the apprise URL for mail to `to` (by default the mailbox itself), sent from `mailbox` over TLS.

    Raises `InvalidInput`.

    `server` is HOST or HOST:PORT of the outgoing mail server. By default apprise uses its table of providers, else the
    mailbox's domain.

    >>> mailbox_url("ana@mail.example", "a b", "smtp.mail.example:465")
    'mailtos://mail.example:465/?user=ana%40mail.example&pass=a%20b&from=ana%40mail.example&to=ana%40mail.example&smtp=smtp.mail.example&mode=ssl'
    """
    mailbox, server, to = mailbox.strip(), server.strip(), to.strip() or mailbox.strip()
    sender = MAILBOX.fullmatch(mailbox)
    if sender is None or MAILBOX.fullmatch(to) is None:
        raise InvalidInput("Enter a mail address such as ana@mail.example.").at(
            "to" if sender is not None else "mailbox"
        )
    if not password:
        raise InvalidInput("Enter the mailbox's password; most providers offer an app password for this.").at(
            "password"
        )
    host = _SERVER.fullmatch(server) if server else None
    if server and host is None:
        raise InvalidInput("Enter a mail server such as smtp.mail.example, or with its port smtp.mail.example:465.").at(
            "server"
        )
    fields = {"user": mailbox, "pass": password, "from": mailbox, "to": to}
    port = ""
    if host is not None:
        fields["smtp"], port = host[1], host[2] or ""
    if port == _IMPLICIT_TLS_PORT:
        fields["mode"] = "ssl"
    return f"mailtos://{sender[1].lower()}{f':{port}' if port else ''}/?{urlencode(fields, quote_via=quote)}"
