"""Downloads in bounded memory, from servers that others run.

Answers are asked for uncompressed. Where a server compresses all the same, gzip and deflate are unpacked piece by piece and other
encodings are refused: a decoder without a bound makes gigabytes of a brotli answer of two kilobytes. A redirect from the internet
must not lead to an address inside, which would let a publisher ask the house's own machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import IO

import httpx

from hedgerow import __version__
from hedgerow.blocklists.download_store import (
    FetchOutcome,
    FetchResult,
    StoredCopies,
    StoredCopy,
    pointer_path,
    read_stored_copies,
    save_stored_copies,
    sync_and_rename,
    temporary_file_beside,
)
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source

USER_AGENT = f"hedgerow/{__version__}"
"""All that a publisher learns of this installation, beside its address."""
PIECE_BYTES = 1 << 16
"""Bytes of a body that are held at a time."""
MAX_REDIRECTS = 10
MAX_EXPANSION = 100
"""Bytes unpacked per byte received: lists of names come to 10."""
MIN_CHECKED_BYTES = 16 << 20
"""Bytes to which anything may unpack."""

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052


class RefusedError(ValueError):
    """What the server sent is not used; trying again would not help."""


@contextlib.contextmanager
def open_url(client: httpx.Client, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[httpx.Response]:
    """The answer to a GET, after redirects, its body unread. Raises RefusedError for a redirect that must not be followed, and what
    httpx raises for all other failures."""
    request = client.build_request("GET", url, headers={"Accept-Encoding": "identity", **headers}, timeout=timeout)
    starts = _are_inside(request.url.host)
    is_of_the_house = bool(starts) and all(starts)
    for _ in range(MAX_REDIRECTS + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
                yield response
                return
        finally:
            response.close()
        target = response.next_request.url
        if request.url.scheme == "https" and target.scheme != "https":
            raise RefusedError("the server redirects to an address without encryption")
        if not is_of_the_house and any(_are_inside(target.host)):
            raise RefusedError("the server redirects to an address inside the network")
        request = response.next_request
    raise RefusedError(f"the download failed: more than {MAX_REDIRECTS} redirects")


def read_body(response: httpx.Response, most: int) -> Iterator[bytes]:
    """The body in pieces as they arrive, decompressed. Raises RefusedError for more than `most` bytes, and for what cannot be unpacked."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    match encoding:
        case "" | "identity":
            pieces = response.iter_raw()
        case "gzip" | "x-gzip" | "deflate":
            pieces = _inflate(response.iter_raw(), is_gzip=encoding != "deflate")
        case _:
            raise RefusedError(f"the server compresses with {encoding[:20]!r} although it was asked not to")
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise RefusedError(f"larger than {most >> 20} MB")
        if size > max(MIN_CHECKED_BYTES, MAX_EXPANSION * response.num_bytes_downloaded):
            raise RefusedError(f"unpacks to more than {MAX_EXPANSION} times its size")
        yield piece


def content_length(response: httpx.Response) -> int | None:
    """The bytes that the server says are to come; None where it says nothing."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 and int(text) else None


def download_small(url: str, most: int, seconds: float) -> bytes:
    """A file that is held in memory, of at most `most` bytes. Raises RefusedError, TimeoutError, and what httpx raises."""
    deadline = time.monotonic() + seconds
    with httpx.Client() as client, open_url(client, url, {"User-Agent": USER_AGENT}, min(10.0, seconds)) as response:
        response.raise_for_status()
        data = bytearray()
        for piece in read_body(response, most):
            data += piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {seconds:g} seconds")
        return bytes(data)


def _inflate(pieces: Iterable[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    inflater = None
    try:
        for given in pieces:
            piece = given
            while piece:
                if inflater is None:
                    # By "deflate" some servers mean zlib's format (RFC 1950), as they should, and some the bare one (RFC 1951).
                    is_bare = not is_gzip and piece[0] & 0x0F != 8
                    inflater = zlib.decompressobj(31 if is_gzip else -15 if is_bare else 15)
                if unpacked := inflater.decompress(piece, PIECE_BYTES):
                    yield unpacked
                piece = inflater.unconsumed_tail
                if inflater.eof:
                    piece, inflater = inflater.unused_data, None
        if inflater is not None:
            raise RefusedError("the download failed: what was compressed is cut off")
    except zlib.error as error:
        raise RefusedError(f"the download failed: what was compressed is damaged: {error}") from error


def _are_inside(host: str) -> list[bool]:
    """For each address of a host, whether it is inside; none for a host without any, which cannot be reached either."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return []
    return [not _is_public(ip_address(str(address).partition("%")[0])) for address in found]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None)
        if hidden is not None:
            return _is_public(hidden)
    return address.is_global and not address.is_multicast


_MAX_CONCURRENT = 4
_MARKUP_SNIFF_BYTES = 512
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|script|\?xml|!--)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DownloadLimits:
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


CheckCopy = Callable[[Source, Source | None], str]
"""(the source with the new copy, the same with the last good one) → why the new copy must not be used, or empty."""

ReportProgress = Callable[[Source, int, int | None], None]
"""Told while a source is downloaded: the bytes so far, and how many there will be where the server says so."""


StoreLock = Callable[[], contextlib.AbstractContextManager[object]]
"""Held while a copy is judged and put into its place: nobody else must change the store meanwhile."""


def _accept_any_copy(_new: Source, _good: Source | None) -> str:
    return ""


def ignore_progress(_source: Source, _bytes: int, _of: int | None) -> None:
    """A `ReportProgress` that nobody hears."""


@dataclass(frozen=True, slots=True)
class _DownloadContext:
    """What all downloads of one `fetch_all` share."""

    store: Path
    client: httpx.Client
    limits: DownloadLimits
    judge: CheckCopy
    received: ReportProgress
    alone: StoreLock


def fetch_all(
    sources: Sequence[Source],
    store: Path,
    client: httpx.Client | None = None,
    limits: DownloadLimits = DownloadLimits(),
    progress: Callable[[FetchResult], None] | None = None,
    judge: CheckCopy = _accept_any_copy,
    received: ReportProgress = ignore_progress,
    alone: StoreLock = contextlib.nullcontext,
) -> list[FetchResult]:
    """Downloads those of `sources` that have a URL into `store`. Returns all of them, in order, with paths filled in.

    `judge` is asked about each new copy before it is used; `received` is called from several threads. Never raises for what a
    server does; raises OSError where the store cannot be written. `client` is for tests and proxies. One process at a time downloads;
    another may take a copy into use (`accept_held_copy`) if it holds what `alone` does.
    """
    store.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(httpx.Client(http2=True))
        context = _DownloadContext(store, client, limits, judge, received, alone)
        pool = stack.enter_context(ThreadPoolExecutor(_MAX_CONCURRENT))
        results = []
        for fetched in pool.map(lambda source: _fetch(source, context), sources):
            results.append(fetched)
            if progress is not None:
                progress(fetched)
        return results


def _is_remote(source: Source) -> bool:
    return source.url is not None and source.path is None


def _fetch(source: Source, context: _DownloadContext) -> FetchResult:
    if not _is_remote(source):
        return FetchResult(source, FetchOutcome.LOCAL)
    pointer = pointer_path(source, context.store)
    for left in pointer.parent.glob(f".{pointer.stem}.*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    try:
        newer = _download_with_retries(source, pointer, read_stored_copies(pointer).newest, context)
    except (RefusedError, _UnreachableError) as error:
        good = _good_copy(source, read_stored_copies(pointer), context.store)
        if good is None:
            return FetchResult(
                source, FetchOutcome.MISSING, Problem(source.name, None, None, f"{error}; there is no copy yet", source.url or "")
            )
        problem = Problem(source.name, None, None, f"{error}; the last good copy is used", source.url or "")
        return FetchResult(good, FetchOutcome.KEPT, problem)
    with context.alone():
        return _store_copy(source, pointer, newer, context)


def _good_copy(source: Source, shelf: StoredCopies, store: Path) -> Source | None:
    return replace(source, path=store / shelf.good.file) if shelf.good else None


def _store_copy(source: Source, pointer: Path, newer: StoredCopy | None, context: _DownloadContext) -> FetchResult:
    """Judges what came, None if nothing did. The shelf may be another than before the download: somebody may have accepted a copy."""
    shelf = read_stored_copies(pointer)
    good = _good_copy(source, shelf, context.store)
    if newer is None:
        os.utime(pointer)
        return _held_result(source, good, shelf.reason) if shelf.held else FetchResult(good or source, FetchOutcome.UNCHANGED)
    reason = context.judge(replace(source, path=context.store / newer.file), good)
    if reason:
        save_stored_copies(pointer, StoredCopies(shelf.good, newer, reason))
        return _held_result(source, good, reason)
    save_stored_copies(pointer, StoredCopies(newer))
    return FetchResult(replace(source, path=context.store / newer.file), FetchOutcome.NEW)


def _held_result(source: Source, good: Source | None, reason: str) -> FetchResult:
    return FetchResult(good or source, FetchOutcome.HELD, Problem(source.name, None, None, f"held back: {reason}", source.url or ""))


def _download_with_retries(source: Source, pointer: Path, known: StoredCopy | None, context: _DownloadContext) -> StoredCopy | None:
    """The new copy; None if the server says that the old one still holds."""
    limits = context.limits
    for attempt in range(limits.attempts):
        try:
            return _download(source, pointer, known, context)
        except _NoConnectionError:
            raise
        except _UnreachableError:
            if attempt + 1 == limits.attempts:
                raise
            # Jitter, so that a town of Hedgerows does not come back in the same second.
            time.sleep(limits.pause * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    raise _UnreachableError("not tried")


def _download(source: Source, pointer: Path, known: StoredCopy | None, context: _DownloadContext) -> StoredCopy | None:
    limits = context.limits
    headers = {"User-Agent": USER_AGENT}
    if known is not None:
        headers |= {"If-None-Match": known.etag} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
    deadline = time.monotonic() + limits.seconds
    try:
        with open_url(context.client, source.url or "", headers, min(30.0, limits.seconds)) as response:
            if response.status_code == 304 and known is not None:
                return None
            _check_response_head(response, limits)
            with temporary_file_beside(pointer) as file:
                digest = _write_body(response, file, source, context, deadline)
                etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
                newer = StoredCopy(f"{pointer.stem}-{digest[:10]}.list", digest, etag, modified)
                sync_and_rename(file, pointer.parent / newer.file)
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


def _check_response_head(response: httpx.Response, limits: DownloadLimits) -> None:
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise _UnreachableError(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise RefusedError(f"the server answered {response.status_code}")
    if (content_length(response) or 0) > limits.bytes:
        raise RefusedError(f"larger than {limits.bytes >> 20} MB")


def _write_body(response: httpx.Response, file: IO[bytes], source: Source, context: _DownloadContext, deadline: float) -> str:
    """Writes the body. Returns its SHA-256."""
    limits, digest, size, head = context.limits, hashlib.sha256(), 0, b""
    expected = content_length(response)
    # Blocks as they arrive: waiting for full ones would let a server that trickles outlive the deadline.
    for block in read_body(response, limits.bytes):
        size += len(block)
        if len(head) < _MARKUP_SNIFF_BYTES:
            head += block[:_MARKUP_SNIFF_BYTES]
            if _MARKUP.match(head):
                raise RefusedError("a web page came instead of a list")
        if time.monotonic() > deadline:
            raise _UnreachableError(f"not finished after {limits.seconds:g} seconds")
        digest.update(block)
        file.write(block)
        context.received(source, response.num_bytes_downloaded, expected)
    if size == 0:
        raise RefusedError("an empty file came instead of a list")
    return digest.hexdigest()
