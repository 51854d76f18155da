"""Who a client of encrypted DNS says that it is: by the server name it asks for, or by the path; and how clients are called that are not
known by their address. Pure.

An id makes a device known wherever it asks from, so it is as good as a password: whoever has it gets that device's answers.
"""

from __future__ import annotations

import re
from typing import Final

PREFIX: Final = "id:"
MAC: Final = "mac:"
FORWARDER: Final = "forwarder:"
"""A client is looked up under its address, or under its id or the MAC address that a forwarder gives with this before it; a forwarder that
asks for itself is kept under its address with this before it. No address begins so."""

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = "/dns-query"


def id_of_server_name(server_name: str | None, own_name: str | None) -> str | None:
    """The id before our own name in the name of a ClientHello (SNI).

    >>> id_of_server_name("Mia-Phone.dns.home.example", "dns.home.example"), id_of_server_name("dns.home.example", "dns.home.example")
    ('mia-phone', None)
    """
    if server_name is None or own_name is None:
        return None
    label, dot, rest = server_name.lower().rstrip(".").partition(".")
    return label if dot and rest == own_name and _ID.fullmatch(label) else None


def id_of_path(path: str) -> tuple[bool, str | None]:
    """Is this a path for DNS, and whose? An id that is malformed is as good as an unknown path.

    >>> id_of_path("/dns-query"), id_of_path("/dns-query/mia-phone"), id_of_path("/dns-query/a/b"), id_of_path("/")
    ((True, None), (True, 'mia-phone'), (False, None), (False, None))
    """
    if path in (_PATH, f"{_PATH}/"):
        return True, None
    head, slash, text = path.rpartition("/")
    client_id = text.lower()
    return (True, client_id) if slash and head == _PATH and _ID.fullmatch(client_id) else (False, None)
