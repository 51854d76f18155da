"""A mailbox as apprise is told of it, from what somebody knows about their mail. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from hedgerow.dashboards.api.control import Unfit

_MAILBOX = re.compile(r"[^@\s\"<>,;:/?&#%]+@([a-z0-9-]+(?:\.[a-z0-9-]+)+)", re.IGNORECASE)
_SERVER = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::([0-9]{1,5}))?", re.IGNORECASE)
_TLS_AT_ONCE = "465"


def mail_address(mailbox: str, password: str, server: str = "", to: str = "") -> str:
    """The address of who gets mail at `to` (else at the mailbox itself), sent through `mailbox`, always over TLS.

    `server` is HOST or HOST:PORT of its outgoing mail; where it is empty apprise knows it of large providers, and takes the mailbox's
    domain for others. Raises `Unfit`.

    >>> mail_address("ana@mail.example", "a b", "smtp.mail.example:465")
    'mailtos://mail.example:465/?user=ana%40mail.example&pass=a%20b&from=ana%40mail.example&to=ana%40mail.example&smtp=smtp.mail.example&mode=ssl'
    """
    mailbox, server, to = mailbox.strip(), server.strip(), to.strip() or mailbox.strip()
    found = _MAILBOX.fullmatch(mailbox)
    if found is None or _MAILBOX.fullmatch(to) is None:
        raise Unfit("Enter a mail address such as ana@mail.example.")
    if not password:
        raise Unfit("Enter the mailbox's password; most providers offer an app password for this.")
    host = _SERVER.fullmatch(server) if server else None
    if server and host is None:
        raise Unfit("Enter a mail server such as smtp.mail.example, or with its port smtp.mail.example:465.")
    fields = {"user": mailbox, "pass": password, "from": mailbox, "to": to}
    port = ""
    if host is not None:
        fields["smtp"], port = host[1], host[2] or ""
    if port == _TLS_AT_ONCE:
        fields["mode"] = "ssl"
    return f"mailtos://{found[1].lower()}{f':{port}' if port else ''}/?{urlencode(fields, quote_via=quote)}"
