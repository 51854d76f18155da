"""Downloading lists: conditional, limited, and never at the price of the last good copy.

For each URL the store holds the last good copy in a file of its own and a small `<name>.json` that points to it, with its
checksum. A download becomes a new file; it is judged, and then the pointer is replaced, which is one rename. Whatever goes
wrong, and whenever the power fails, the copy that was there is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

import httpx

from hedgerow.blocklists.rules import Problem
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


class Outcome(StrEnum):
    LOCAL = "local"  # a file of the user: nothing to download
    NEW = "new"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # the download failed; the last good copy is used
    MISSING = "missing"  # the download failed and there is no copy


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source after the attempt to download it: with a path, unless the outcome is MISSING."""

    source: Source
    outcome: Outcome
    problem: Problem | None = None


class _RefusedError(Exception):
    """What the server sent is not used; trying again would not help."""


class _UnreachableError(Exception):
    """The download failed in a way that may pass."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known about a copy: for the next conditional request, and to notice that the copy was damaged."""

    file: str
    sha256: str
    etag: str = ""
    last_modified: str = ""


def fetch_all(
    sources: Sequence[Source],
    store: Path,
    client: httpx.Client | None = None,
    limits: Limits = Limits(),
    progress: Callable[[Fetched], None] | None = None,
) -> list[Fetched]:
    """Downloads those of `sources` that have a URL into `store`. Returns all of them, in order, with paths filled in.

    Never raises for what a server does; raises OSError where the store cannot be written. `client` is for tests and proxies.
    """
    store.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(httpx.Client(http2=True))
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
        results = []
        for fetched in pool.map(lambda source: _fetch(source, store, client, limits), sources):
            results.append(fetched)
            if progress is not None:
                progress(fetched)
        return results


def kept_copies(sources: Sequence[Source], store: Path) -> tuple[Source, ...]:
    """The same sources, each URL with the path of its last good copy where there is one. Asks nobody."""
    return tuple(_with_kept_copy(source, store) for source in sources)


def _with_kept_copy(source: Source, store: Path) -> Source:
    if source.url is None or source.path is not None:
        return source
    known = _read_known(_pointer(source.url, store))
    return replace(source, path=store / known.file) if known else source


def _pointer(url: str, store: Path) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", url.partition("://")[2].lower()).strip("-")[:60]
    return store / f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.json"


def _fetch(source: Source, store: Path, client: httpx.Client, limits: Limits) -> Fetched:
    if source.url is None or source.path is not None:
        return Fetched(source, Outcome.LOCAL)
    pointer = _pointer(source.url, store)
    known = _read_known(pointer)
    try:
        newer = _download_patiently(source.url, pointer, known, client, limits)
    except (_RefusedError, _UnreachableError) as error:
        if known is None:
            return Fetched(source, Outcome.MISSING, Problem(source.name, None, None, f"{error}; there is no copy yet", source.url))
        problem = Problem(source.name, None, None, f"{error}; the last good copy is used", source.url)
        return Fetched(replace(source, path=store / known.file), Outcome.KEPT, problem)
    if newer is None:
        return Fetched(replace(source, path=store / known.file if known else None), Outcome.UNCHANGED)
    return Fetched(replace(source, path=store / newer.file), Outcome.NEW)


def _read_known(pointer: Path) -> _Known | None:
    """None if there is no copy, or if it is not what was downloaded."""
    try:
        known = _Known(**json.loads(pointer.read_text(encoding="utf-8")))
        with (pointer.parent / known.file).open("rb") as file:
            is_whole = hashlib.file_digest(file, "sha256").hexdigest() == known.sha256
    except (OSError, ValueError, TypeError):
        return None
    return known if is_whole else None


def _download_patiently(url: str, pointer: Path, known: _Known | None, client: httpx.Client, limits: Limits) -> _Known | None:
    """The new copy; None if the server says that the old one still holds."""
    for attempt in range(limits.attempts):
        try:
            return _download(url, pointer, known, client, limits)
        except _UnreachableError:
            if attempt + 1 == limits.attempts:
                raise
            # Jitter, so that a town of Hedgerows does not come back in the same second.
            time.sleep(limits.pause * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    raise _UnreachableError("not tried")


def _download(url: str, pointer: Path, known: _Known | None, client: httpx.Client, limits: Limits) -> _Known | None:
    headers = {"User-Agent": "hedgerow"}
    if known is not None:
        headers |= {"If-None-Match": known.etag} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
    deadline = time.monotonic() + limits.seconds
    try:
        with client.stream("GET", url, headers=headers, follow_redirects=True, timeout=min(30.0, limits.seconds)) as response:
            if response.status_code == 304 and known is not None:
                return None
            _judge_head(url, response, limits)
            with _beside(pointer) as file:
                digest = _receive(response, file, limits, deadline)
                etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
                newer = _Known(f"{pointer.stem}-{digest[:10]}.list", digest, etag, modified)
                _put(file, pointer, newer)
    except httpx.TimeoutException as error:
        raise _UnreachableError("the server was too slow") from error
    except httpx.RemoteProtocolError as error:
        raise _UnreachableError("the download was cut off") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.DecodingError) as error:
        raise _RefusedError(f"the download failed: {error}") from error
    except httpx.HTTPError as error:
        raise _UnreachableError(f"the download failed: {error}") from error
    if known is not None and known.file != newer.file:
        (pointer.parent / known.file).unlink(missing_ok=True)
    return newer


def _judge_head(url: str, response: httpx.Response, limits: Limits) -> None:
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise _UnreachableError(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise _RefusedError(f"the server answered {response.status_code}")
    if url.startswith("https:") and response.url.scheme != "https":
        raise _RefusedError("the server redirects to an address without encryption")
    if int(response.headers.get("content-length") or 0) > limits.bytes:
        raise _RefusedError(f"larger than {limits.bytes >> 20} MB")


def _receive(response: httpx.Response, file: IO[bytes], limits: Limits, deadline: float) -> str:
    """Writes the body. Returns its SHA-256."""
    digest, size, head = hashlib.sha256(), 0, b""
    # Blocks as they arrive: waiting for full ones would let a server that trickles outlive the deadline.
    for block in response.iter_bytes():
        size += len(block)
        if len(head) < _HEAD:
            head += block[:_HEAD]
            if _MARKUP.match(head):
                raise _RefusedError("a web page came instead of a list")
        if size > limits.bytes:
            raise _RefusedError(f"larger than {limits.bytes >> 20} MB")
        if time.monotonic() > deadline:
            raise _UnreachableError(f"not finished after {limits.seconds:g} seconds")
        digest.update(block)
        file.write(block)
    if size == 0:
        raise _RefusedError("an empty file came instead of a list")
    return digest.hexdigest()


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`, which is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(prefix=f".{path.stem}.", dir=path.parent, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _put(file: IO[bytes], pointer: Path, known: _Known) -> None:
    """Names the downloaded file and points to it."""
    _rename(file, pointer.parent / known.file)
    with _beside(pointer) as text:
        text.write(json.dumps(asdict(known)).encode())
        _rename(text, pointer)


def _rename(file: IO[bytes], path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
