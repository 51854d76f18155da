"""Downloading lists: conditional, limited, and never at the price of the last good copy.

A download becomes a new file on the shelf; it is judged, and then the pointer is replaced, which is one rename. Whatever goes
wrong, and whenever the power fails, the copy that was there is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import httpx

from hedgerow.blocklists.download import USER_AGENT, RefusedError, length_of, open_url, read_body
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.shelf import Fetched, Known, Outcome, Shelf, beside, pointer_of, read_shelf, rename, save
from hedgerow.blocklists.sources import Source

_AT_ONCE = 4
_HEAD = 512
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|script|\?xml|!--)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """`bytes` after decompression; `seconds` for one attempt in all; `pause` seconds before the second attempt, and
    twice as many before each further one."""

    bytes: int = 400 << 20
    seconds: float = 300.0
    attempts: int = 3
    pause: float = 2.0


class _UnreachableError(Exception):
    """The download failed in a way that may pass."""


class _NoConnectionError(_UnreachableError):
    """There is no way to the server now. The caller asks again later: trying at once would not help."""


Judge = Callable[[Source, Source | None], str]
"""(the source with the new copy, the same with the last good one) → why the new copy must not be used, or empty."""

Received = Callable[[Source, int, int | None], None]
"""Told while a source is downloaded: the bytes so far, and how many there will be where the server says so."""


Alone = Callable[[], contextlib.AbstractContextManager[object]]
"""Held while a copy is judged and put into its place: nobody else must change the store meanwhile."""


def _trust(_new: Source, _good: Source | None) -> str:
    return ""


def ignore_bytes(_source: Source, _bytes: int, _of: int | None) -> None:
    """A `Received` that nobody hears."""


@dataclass(frozen=True, slots=True)
class _Errand:
    """What all downloads of one `fetch_all` share."""

    store: Path
    client: httpx.Client
    limits: Limits
    judge: Judge
    received: Received
    alone: Alone


def fetch_all(
    sources: Sequence[Source],
    store: Path,
    client: httpx.Client | None = None,
    limits: Limits = Limits(),
    progress: Callable[[Fetched], None] | None = None,
    judge: Judge = _trust,
    received: Received = ignore_bytes,
    alone: Alone = contextlib.nullcontext,
) -> list[Fetched]:
    """Downloads those of `sources` that have a URL into `store`. Returns all of them, in order, with paths filled in.

    `judge` is asked about each new copy before it is used; `received` is called from several threads. Never raises for what a
    server does; raises OSError where the store cannot be written. `client` is for tests and proxies. One process at a time downloads;
    another may take a copy into use (`accept_held`) if it holds what `alone` does.
    """
    store.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(httpx.Client(http2=True))
        errand = _Errand(store, client, limits, judge, received, alone)
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
        results = []
        for fetched in pool.map(lambda source: _fetch(source, errand), sources):
            results.append(fetched)
            if progress is not None:
                progress(fetched)
        return results


def _is_remote(source: Source) -> bool:
    return source.url is not None and source.path is None


def _fetch(source: Source, errand: _Errand) -> Fetched:
    if not _is_remote(source):
        return Fetched(source, Outcome.LOCAL)
    pointer = pointer_of(source, errand.store)
    for left in pointer.parent.glob(f".{pointer.stem}.*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    try:
        newer = _download_patiently(source, pointer, read_shelf(pointer).newest, errand)
    except (RefusedError, _UnreachableError) as error:
        good = _good_copy(source, read_shelf(pointer), errand.store)
        if good is None:
            return Fetched(source, Outcome.MISSING, Problem(source.name, None, None, f"{error}; there is no copy yet", source.url or ""))
        problem = Problem(source.name, None, None, f"{error}; the last good copy is used", source.url or "")
        return Fetched(good, Outcome.KEPT, problem)
    with errand.alone():
        return _put_away(source, pointer, newer, errand)


def _good_copy(source: Source, shelf: Shelf, store: Path) -> Source | None:
    return replace(source, path=store / shelf.good.file) if shelf.good else None


def _put_away(source: Source, pointer: Path, newer: Known | None, errand: _Errand) -> Fetched:
    """Judges what came, None if nothing did. The shelf may be another than before the download: somebody may have accepted a copy."""
    shelf = read_shelf(pointer)
    good = _good_copy(source, shelf, errand.store)
    if newer is None:
        os.utime(pointer)
        return _held(source, good, shelf.reason) if shelf.held else Fetched(good or source, Outcome.UNCHANGED)
    reason = errand.judge(replace(source, path=errand.store / newer.file), good)
    if reason:
        save(pointer, Shelf(shelf.good, newer, reason))
        return _held(source, good, reason)
    save(pointer, Shelf(newer))
    return Fetched(replace(source, path=errand.store / newer.file), Outcome.NEW)


def _held(source: Source, good: Source | None, reason: str) -> Fetched:
    return Fetched(good or source, Outcome.HELD, Problem(source.name, None, None, f"held back: {reason}", source.url or ""))


def _download_patiently(source: Source, pointer: Path, known: Known | None, errand: _Errand) -> Known | None:
    """The new copy; None if the server says that the old one still holds."""
    limits = errand.limits
    for attempt in range(limits.attempts):
        try:
            return _download(source, pointer, known, errand)
        except _NoConnectionError:
            raise
        except _UnreachableError:
            if attempt + 1 == limits.attempts:
                raise
            # Jitter, so that a town of Hedgerows does not come back in the same second.
            time.sleep(limits.pause * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    raise _UnreachableError("not tried")


def _download(source: Source, pointer: Path, known: Known | None, errand: _Errand) -> Known | None:
    limits = errand.limits
    headers = {"User-Agent": USER_AGENT}
    if known is not None:
        headers |= {"If-None-Match": known.etag} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
    deadline = time.monotonic() + limits.seconds
    try:
        with open_url(errand.client, source.url or "", headers, min(30.0, limits.seconds)) as response:
            if response.status_code == 304 and known is not None:
                return None
            _judge_head(response, limits)
            with beside(pointer) as file:
                digest = _receive(response, file, source, errand, deadline)
                etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
                newer = Known(f"{pointer.stem}-{digest[:10]}.list", digest, etag, modified)
                rename(file, pointer.parent / newer.file)
    except httpx.ConnectTimeout as error:
        raise _NoConnectionError("the server does not answer") from error
    except httpx.TimeoutException as error:
        raise _UnreachableError("the server was too slow") from error
    except httpx.RemoteProtocolError as error:
        raise _UnreachableError("the download was cut off") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise RefusedError(f"the download failed: {error}") from error
    except httpx.HTTPError as error:
        if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RefusedError(f"the server's certificate is not trusted: {error}") from error
        unreachable = _NoConnectionError if isinstance(error, httpx.ConnectError) else _UnreachableError
        raise unreachable(f"the download failed: {error}") from error
    return newer


def _judge_head(response: httpx.Response, limits: Limits) -> None:
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise _UnreachableError(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise RefusedError(f"the server answered {response.status_code}")
    if (length_of(response) or 0) > limits.bytes:
        raise RefusedError(f"larger than {limits.bytes >> 20} MB")


def _receive(response: httpx.Response, file: IO[bytes], source: Source, errand: _Errand, deadline: float) -> str:
    """Writes the body. Returns its SHA-256."""
    limits, digest, size, head = errand.limits, hashlib.sha256(), 0, b""
    expected = length_of(response)
    # Blocks as they arrive: waiting for full ones would let a server that trickles outlive the deadline.
    for block in read_body(response, limits.bytes):
        size += len(block)
        if len(head) < _HEAD:
            head += block[:_HEAD]
            if _MARKUP.match(head):
                raise RefusedError("a web page came instead of a list")
        if time.monotonic() > deadline:
            raise _UnreachableError(f"not finished after {limits.seconds:g} seconds")
        digest.update(block)
        file.write(block)
        errand.received(source, response.num_bytes_downloaded, expected)
    if size == 0:
        raise RefusedError("an empty file came instead of a list")
    return digest.hexdigest()
