"""Places to which control writes what happens, for collectors of logs: files, and syslog servers."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

SYSLOG_PORTS = {"syslog+tls": 6514, "syslog+tcp": 601}
"""Default ports by scheme (RFC 5425, section 4.1; RFC 3195, section 9.2, for TCP)."""


@dataclass(frozen=True, slots=True)
class LogTarget:
    """A file, or the host and port of a syslog server that takes lines over TCP, through TLS if `is_encrypted`."""

    file: str = ""
    host: str = ""
    port: int = 0
    is_encrypted: bool = False

    def __str__(self) -> str:
        return self.file or f"{self.host}:{self.port}"


def parse_log_target(text: str) -> LogTarget:
    """Parse a file's absolute path, or `syslog+tls://HOST[:PORT]`. Raises ValueError with the end of a sentence.

    >>> parse_log_target("syslog+tls://logs.example")
    LogTarget(file='', host='logs.example', port=6514, is_encrypted=True)
    """
    if text.startswith("/"):
        if text.endswith("/") or not text.isprintable():
            raise ValueError("is not the path of a file, such as /var/log/hedgerow/events.jsonl")
        return LogTarget(file=text)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    extra = url.path.strip("/") or url.query or url.fragment or url.username or url.password
    if url.scheme not in SYSLOG_PORTS or not url.hostname or extra or not text.isprintable():
        raise ValueError("is neither the absolute path of a file nor an address such as syslog+tls://logs.example:6514")
    return LogTarget(host=url.hostname, port=port or SYSLOG_PORTS[url.scheme], is_encrypted=url.scheme == "syslog+tls")
