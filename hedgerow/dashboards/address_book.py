"""Where receivers of notices are reached: one private file each, so that an address with its password stands nowhere else.

Neither the policy file nor snapshots, the journal, logs, pages or the API ever hold one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hedgerow.dashboards.api.control import Unfit
from hedgerow.policies.reading.notices import NAME

ADDRESS_LIMIT = 2000


class AddressBook:
    """The files of one folder, named after the receivers. Reading one is a matter of microseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """Whether a receiver has an address."""
        return self._path(name).exists()

    def address(self, name: str) -> str:
        """The address, empty where there is none or it can't be read."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._path(name).read_text(encoding="utf-8").strip()
        return ""

    def service(self, name: str) -> str:
        """What may be shown of an address: `mailto://…`, empty where there is none."""
        scheme, separator, _ = self.address(name).partition("://")
        return f"{scheme}://…" if separator else ""

    def put(self, name: str, address: str) -> None:
        """Keeps an address; an empty one takes it away. Raises `Unfit`."""
        address = address.strip()
        if not address:
            self._path(name).unlink(missing_ok=True)
            return
        scheme, separator, rest = address.partition("://")
        if not (separator and scheme.replace("+", "").isalnum() and rest) or len(address) > ADDRESS_LIMIT or not address.isprintable():
            raise Unfit("An address starts with the type of service and ://, such as mailto:// or ntfy://.")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f".{name}"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(address + "\n")
            fresh.replace(self._path(name))
        except OSError as error:
            raise Unfit("The address can't be saved: %(why)s.", why=error.strerror) from None

    def _path(self, name: str) -> Path:
        if NAME.fullmatch(name) is None:
            raise Unfit("'%(name)s': the name of a recipient may contain lower-case letters, digits and hyphens.", name=name)
        return self._folder / name
