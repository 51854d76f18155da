"""One question by RDAP: on which day was a site registered?

Sources: RFC 7480 (HTTP), RFC 9082 (queries), RFC 9083 (answers), RFC 9224 (IANA's list of the registries' servers).

    python -m hedgerow.features.registration_age.rdap

Standard input is a `Question` as JSON, and standard output the `Registration`. The server learns the site, the address
of this network and Hedgerow's version. It is asked by HTTPS, at a public address unless the policy itself names
another, and nothing it says takes more than `MAX_ANSWER_BYTES` or `MAX_REDIRECTS`; control ends the process when it
takes too long.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hedgerow.app.control.jobs import SMALL_MEMORY, limit_resources, run_job
from hedgerow.app.privileges import confine_job
from hedgerow.blocklists.outgoing import UntrustedError, download_small, open_url, read_body
from hedgerow.blocklists.outgoing_guard import OutgoingGuard, Reach
from hedgerow.codec import decode, encode
from hedgerow.features.registration_age.settings import REGISTRIES
from hedgerow.files import error_text, write_atomically

BOOTSTRAP_URL = "https://data.iana.org/rdap/dns.json"
BOOTSTRAP_NAME = "dns.json"
REFRESH_S, RETRY_S = 7 * 86400.0, 3600.0
"""Seconds after which IANA's list is fetched again, and tried again after a failure."""
MAX_BOOTSTRAP_BYTES = 2 << 20
MAX_ANSWER_BYTES = 64 << 10
MAX_REDIRECTS = 3

_SECONDS = 15.0
_DAY_S = 86400
_FIRST_DAY = 5479  # 1985-01-01; there are no older registrations
_LONGEST_WAIT_S = 86400.0
_REGISTERED = frozenset({"registration", "reregistration"})
_BUSY = frozenset({403, 408, 425, 429})


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a registered domain. `whom` is `REGISTRIES` or a server's URL that ends with a slash; `folder`
    keeps IANA's list.
    """

    site: str
    whom: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Registration:
    """An answer: the day of registration, counted from the epoch in UTC; None if it is not known.

    `problem` says in one clause why, unless there is no server to ask or it just does not know the site. `wait_s` is
    the least number of seconds before the question may be repeated, None if that would not help.
    """

    day: int | None = None
    problem: str = ""
    wait_s: float | None = None


class _UnusableError(ValueError):
    """An answer that is not used. The message is one clause."""


class _UnreachableError(Exception):
    """No answer for now. The message is one clause."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class _Event(msgspec.Struct, rename="camel"):
    event_action: str | None = None
    event_date: str | None = None


class _Domain(msgspec.Struct, rename="camel"):
    object_class_name: str
    ldh_name: str | None = None
    events: list[_Event] | None = None


class _Bootstrap(msgspec.Struct):
    services: list[tuple[list[str], list[str]]]


def parse_registration(body: bytes, site: str, today: int) -> int | None:
    """Return the day of the last registration in an answer about a site (RFC 9083, sections 4.5 and 5.3); None if it
    has none.

    Raises ValueError for an answer that is not about the site, or whose date can't be right.
    """
    try:
        domain = msgspec.json.decode(body, type=_Domain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _UnusableError("the answer is not that of an RDAP server") from None
    if domain.object_class_name != "domain" or (domain.ldh_name or site).lower().removesuffix(".") != site:
        raise _UnusableError("the answer is about something else")
    days = [
        _day_of(each.event_date or "")
        for each in domain.events or ()
        if (each.event_action or "").lower() in _REGISTERED
    ]
    day = max(days, default=None)
    if day is not None and not _FIRST_DAY <= day <= today + 1:
        raise _UnusableError("the date of registration can't be right")
    return day


def _day_of(text: str) -> int:
    try:
        when = datetime.fromisoformat(text.upper())
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() // _DAY_S)
    except (ValueError, OverflowError):
        raise _UnusableError("the date of registration is none") from None


type _Servers = dict[str, list[str]]


def parse_bootstrap(data: bytes) -> _Servers:
    """Return the URLs of servers by suffix, from IANA's list (RFC 9224, section 3). Raises ValueError for anything
    else.
    """
    try:
        services = msgspec.json.decode(data, type=_Bootstrap).services
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        services = []
    if not services:
        raise _UnusableError("it is not IANA's list of servers")
    return {suffix.lower(): urls for suffixes, urls in services for suffix in suffixes}


def find_server(servers: _Servers, site: str) -> str:
    """Return the URL of the server to be asked about a site, that of its longest suffix (RFC 9224, section 4); empty if
    there is none.

    >>> find_server({"com": ["http://rdap.example/com", "https://rdap.example/com"]}, "example.com")
    'https://rdap.example/com/'
    """
    labels = site.split(".")
    urls = next((found for n in range(1, len(labels)) if (found := servers.get(".".join(labels[n:])))), [])
    return next((f"{url.rstrip('/')}/" for url in urls if url.startswith("https://")), "")


def load_bootstrap(folder: Path, url: str = BOOTSTRAP_URL) -> _Servers:
    """Return IANA's list, from the disk while that copy is recent. If a newer one can't be had, the last one stays."""
    place = folder / BOOTSTRAP_NAME
    kept, age = None, REFRESH_S
    with contextlib.suppress(OSError, ValueError):
        kept, age = parse_bootstrap(place.read_bytes()), time.time() - place.stat().st_mtime
    if kept is not None and 0 <= age < REFRESH_S:
        return kept
    try:
        data = download_small(url, MAX_BOOTSTRAP_BYTES, _SECONDS, OutgoingGuard())
        servers = parse_bootstrap(data)
        write_atomically(place, data)
    except (ValueError, OSError) as error:
        if kept is None:
            raise _UnreachableError(f"IANA's list of servers can't be had: {error}") from None
        with contextlib.suppress(OSError):
            os.utime(place, times=(time.time(), time.time() - REFRESH_S + RETRY_S))
        return kept
    return servers


def _ask(url: str, innermost: Reach) -> bytes | None:
    """Return the body of an answer, after redirects to public addresses; None if the server does not know the site."""
    guard = OutgoingGuard(innermost=innermost, elsewhere=Reach.INTERNET)
    headers = {"Accept": "application/rdap+json"}
    with open_url(url, _SECONDS, guard, headers=headers, redirects=MAX_REDIRECTS) as response:
        match response.status_code:
            case 200:
                return b"".join(read_body(response, MAX_ANSWER_BYTES))
            case 404:
                return None
            case status if status in _BUSY or status >= 500:
                wait_s = _seconds(response.headers.get("retry-after", ""))
                raise _UnreachableError(f"the server answers {status}", wait_s)
            case status:
                raise _UnusableError(f"the server answers {status}")


def _seconds(text: str) -> float:
    """Return the seconds of a Retry-After field (RFC 9110, section 10.2.3), 0 without any. A date counts as none."""
    return min(float(text), _LONGEST_WAIT_S) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0


def look_up(question: Question) -> Registration:
    """Ask, and return the answer. Never raises for anything that a server does."""
    site, named = question.site, "" if question.whom == REGISTRIES else question.whom
    try:
        server = named or find_server(load_bootstrap(question.folder), site)
        innermost = Reach.MACHINE if named else Reach.INTERNET
        body = _ask(f"{server}domain/{site}", innermost) if server else None
        return Registration(None if body is None else parse_registration(body, site, int(time.time() // _DAY_S)))
    except _UnreachableError as error:
        return Registration(problem=str(error), wait_s=error.wait_s)
    except (UntrustedError, OSError) as error:
        return Registration(problem=str(error), wait_s=0.0)
    except ValueError as error:
        return Registration(problem=str(error))


async def look_up_in_subprocess(question: Question) -> Registration:
    """Ask in a process of its own. Raises JobError, OSError and ValueError; the process is killed when the waiting task
    is cancelled.
    """
    return decode(Registration, await run_job("hedgerow.features.registration_age.rdap", stdin=encode(question)))


def main() -> None:
    question = decode(Question, sys.stdin.buffer.read())
    limit_resources(SMALL_MEMORY)
    try:
        question.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        confine_job(write=[question.folder], state=question.folder)
        sys.stdout.buffer.write(encode(look_up(question)))
    except OSError as error:
        sys.exit(error_text(error))
    except MemoryError:
        sys.exit("it takes too much memory")


if __name__ == "__main__":
    main()
