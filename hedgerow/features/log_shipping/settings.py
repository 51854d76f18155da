"""The key `network.log_to`: places that get a copy of what is recorded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import Texts, reserved

SYSLOG_PORTS = {"syslog+tls": 6514, "syslog+tcp": 601}
"""Default ports by scheme (RFC 5425, section 4.1; RFC 3195, section 9.2, for TCP)."""


@dataclass(frozen=True, slots=True)
class LogTarget:
    """The name of a file in the directory of logs, or the host and port of a syslog server over TCP, through TLS if
    `is_encrypted`.

    With `path`, the server is one that takes them by POST over HTTPS. A path may hold a secret.
    """

    file: str = ""
    host: str = ""
    port: int = 0
    is_encrypted: bool = False
    path: str = ""

    def __str__(self) -> str:
        return self.file or f"{self.host}:{self.port}"


def is_log_name(text: str) -> bool:
    """Return True for the name of a file in the directory of logs. It leads nowhere else, and hides nothing.

    >>> [is_log_name(text) for text in ("events.jsonl", ".bashrc", "..", "a/b", "/etc/passwd")]
    [True, False, False, False, False]
    """
    return text.isprintable() and "/" not in text and not text.startswith(".") and 0 < len(os.fsencode(text)) < 256


def parse_log_target(text: str) -> LogTarget:
    """Parse a file's name, `syslog+tls://HOST[:PORT]`, or an HTTPS URL. Raises ValueError with the end of a sentence.

    >>> parse_log_target("syslog+tls://logs.example")
    LogTarget(file='', host='logs.example', port=6514, is_encrypted=True, path='')
    """
    if "://" not in text:
        if not is_log_name(text):
            raise ValueError(
                "is not the name of a file, such as events.jsonl: such files are in the directory that "
                "`hedgerow up --logs` names, by default `logs` in the state directory, and with the Debian package "
                "/var/log/hedgerow"
            )
        return LogTarget(file=text)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if (
        url.scheme == "https"
        and url.hostname
        and not (url.fragment or url.username or url.password)
        and re.fullmatch(r"[!-~]+", text)
    ):
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return LogTarget(host=url.hostname, port=port or 443, is_encrypted=True, path=path)
    extra = url.path.strip("/") or url.query or url.fragment or url.username or url.password
    if url.scheme not in SYSLOG_PORTS or not url.hostname or extra or not text.isprintable():
        raise ValueError(
            "is neither the name of a file nor an address such as syslog+tls://logs.example:6514 or "
            "https://logs.example/hedgerow"
        )
    return LogTarget(host=url.hostname, port=port or SYSLOG_PORTS[url.scheme], is_encrypted=url.scheme == "syslog+tls")


@dataclass(frozen=True, slots=True)
class LogShipping:
    """The places that get JSON lines of what is recorded."""

    KEY: ClassVar[str] = "network.log_to"

    targets: tuple[LogTarget, ...]


def _read(raw: list[str], reader: KeyReader) -> LogShipping | None:
    targets = []
    for index, text in enumerate(raw):
        try:
            targets.append(parse_log_target(text))
        except ValueError as error:
            reader.add_problem(index, text=f"'{text}' {error}")
    return LogShipping(tuple(targets)) if targets else None


LOG_TO = FeatureKey(
    settings=LogShipping,
    kind=Texts,
    declaration=reserved(
        [],
        description="Files of the directory of logs, syslog servers and HTTPS URLs that get what is recorded, as JSON.",
    ),
    read=_read,
    may_be_wrong=True,
)
