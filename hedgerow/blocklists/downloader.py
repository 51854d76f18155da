"""Downloads of lists in bounded memory, from servers that others run.

Requests ask for uncompressed answers. If a server compresses anyway, gzip and deflate are unpacked piece by piece and
other encodings are refused: an unbounded decoder turns a brotli answer of two kilobytes into gigabytes. A redirect from
the internet must not lead to an address inside the network, or a publisher could query the household's own machines.
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
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any

import httpx

from hedgerow import __version__
from hedgerow.backoff import pause_after
from hedgerow.blocklists.address_ranges import is_public_address
from hedgerow.blocklists.download_store import (
    FetchOutcome,
    FetchResult,
    StoredCopies,
    StoredCopy,
    clear_failure,
    mark_failure,
    pointer_path,
    read_stored_copies,
    save_stored_copies,
    sync_and_rename,
    temporary_file_beside,
)
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source

USER_AGENT = f"hedgerow/{__version__}"
"""All that a publisher learns of this installation, besides its address."""
PIECE_BYTES = 1 << 16
"""Bytes of an unpacked body that are held at a time."""
MAX_REDIRECTS = 10
MAX_EXPANSION = 100
"""Bytes unpacked per byte received, beyond MIN_CHECKED_BYTES: lists of names reach 10."""
MIN_CHECKED_BYTES = 16 << 20
NO_IDLE_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)
"""For clients of `open_url`: it checks where new connections lead."""

_MAX_CONCURRENT = 4
_REDIRECTS_INSIDE = "the server redirects to an address inside the network"
_LEADS_OUTSIDE = "the server's name led inside the network first and to the internet then"
_MARKUP_SNIFF_BYTES = 512
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|script|\?xml|!--)", re.IGNORECASE)


def new_client() -> httpx.Client:
    """Return a client that keeps no cookies, by which a publisher could recognise an installation."""
    return httpx.Client(
        http2=True, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])), limits=NO_IDLE_CONNECTIONS
    )


class RefusedError(ValueError):
    """The server's answer is not used. Another attempt would not help."""


class _UnreachableError(Exception):
    """The download failed in a way that may pass."""


class _NoConnectionError(_UnreachableError):
    """The server cannot be reached. The caller tries again later: another attempt now would not help."""


@contextlib.contextmanager
def open_url(client: httpx.Client, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[httpx.Response]:
    """Open the answer to a GET, after redirects, its body unread.

    Raises RefusedError for a redirect that must not be followed, and httpx's errors for all other failures.
    """
    request = client.build_request("GET", url, headers={"Accept-Encoding": "identity", **headers}, timeout=timeout)
    addresses = _are_inside(request.url.host)
    is_inside = bool(addresses) and all(addresses)
    if is_inside:  # then it may redirect to others inside
        request.extensions = {**request.extensions, "trace": _check_connection(request.url, is_inside=True)}
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
        addresses = _are_inside(target.host)
        if not is_inside and any(addresses):
            raise RefusedError(_REDIRECTS_INSIDE)
        is_inside = is_inside and bool(addresses) and all(addresses)
        request = response.next_request
        request.extensions = {**request.extensions, "trace": _check_connection(target, is_inside=is_inside)}
    raise RefusedError(f"the download failed: more than {MAX_REDIRECTS} redirects")


def _check_connection(url: httpx.URL, *, is_inside: bool) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a `trace` (httpx's extension) that gives up a connection that leads elsewhere, before anything is sent.

    A name may lead elsewhere than it did when it was looked up, a moment before. A proxy looks up names by itself.
    """
    host, connects_to = url.raw_host.decode("ascii"), ""

    def trace(event: str, details: Mapping[str, Any]) -> None:
        nonlocal connects_to
        if event == "connection.connect_tcp.started":
            connects_to = details["host"]
        elif event == "connection.connect_tcp.complete" and connects_to == host:
            connection = details["return_value"]
            if is_public_address(connection.get_extra_info("server_addr")[0]) == is_inside:
                connection.close()
                raise RefusedError(_LEADS_OUTSIDE if is_inside else _REDIRECTS_INSIDE)

    return trace


def read_body(response: httpx.Response, limit: int) -> Iterator[bytes]:
    """Yield the body in pieces as they arrive, unpacked.

    Raises RefusedError beyond `limit` bytes, or if it cannot be unpacked.
    """
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
        if size > limit:
            raise RefusedError(f"larger than {limit >> 20} MB")
        if size > max(MIN_CHECKED_BYTES, MAX_EXPANSION * response.num_bytes_downloaded):
            raise RefusedError(f"unpacks to more than {MAX_EXPANSION} times its size")
        yield piece


def content_length(response: httpx.Response) -> int | None:
    """Return the announced number of bytes, or None."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 and int(text) else None


def download_pieces(client: httpx.Client, url: str, limit: int, seconds: float) -> Iterator[bytes]:
    """Yield a file of at most `limit` bytes as it arrives. Raises RefusedError, TimeoutError, and httpx's errors."""
    deadline = time.monotonic() + seconds
    with open_url(client, url, {"User-Agent": USER_AGENT}, min(10.0, seconds)) as response:
        response.raise_for_status()
        for piece in read_body(response, limit):
            yield piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {seconds:g} seconds")


def download_small(url: str, limit: int, seconds: float) -> bytes:
    """Download a file of at most `limit` bytes into memory. Raises RefusedError, TimeoutError, and httpx's errors."""
    with httpx.Client(limits=NO_IDLE_CONNECTIONS) as client:
        return b"".join(download_pieces(client, url, limit, seconds))


def _inflate(pieces: Iterable[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    inflater = None
    try:
        for received in pieces:
            packed = received
            while packed:
                if inflater is None:
                    # As "deflate" some servers send zlib's format (RFC 1950), as they should, and some the raw one (RFC
                    # 1951).
                    is_raw = not is_gzip and packed[0] & 0x0F != 8
                    inflater = zlib.decompressobj(31 if is_gzip else -15 if is_raw else 15)
                if unpacked := inflater.decompress(packed, PIECE_BYTES):
                    yield unpacked
                packed = inflater.unconsumed_tail
                if inflater.eof:
                    packed, inflater = inflater.unused_data, None
        if inflater is not None:
            raise RefusedError("the download failed: the compressed body is cut off")
    except zlib.error as error:
        raise RefusedError(f"the download failed: the compressed body is damaged: {error}") from error


def _are_inside(host: str) -> list[bool]:
    """Return for each address of a host whether it is inside the network; nothing for a host without addresses."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return []
    return [not is_public_address(address) for address in addresses]


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Limits of one list:

    `bytes` when unpacked, `seconds` per attempt, `pause` seconds before the second attempt, twice as many before each
    further one.
    """

    bytes: int = 400 << 20
    seconds: float = 300.0
    attempts: int = 3
    pause: float = 2.0


CheckCopy = Callable[[Source, Source | None], str]
"""(the source with the new copy, the source with the last good one) → why the new copy must not be used, or empty."""

ReportProgress = Callable[[Source, int, int | None], None]
"""Called while a source is downloaded, with the bytes so far, and the bytes in all if the server announces them."""

StoreLock = Callable[[], contextlib.AbstractContextManager[object]]
"""Held while a copy is checked and stored: nobody else must change the store meanwhile."""


def _accept_any_copy(_new: Source, _good: Source | None) -> str:
    return ""


def ignore_progress(_source: Source, _bytes: int, _of: int | None) -> None:
    """A `ReportProgress` that does nothing."""


@dataclass(frozen=True, slots=True)
class _DownloadContext:
    """The arguments of one `fetch_all`."""

    store: Path
    client: httpx.Client
    limits: DownloadLimits
    check: CheckCopy
    received: ReportProgress
    lock: StoreLock


def fetch_all(
    sources: Sequence[Source],
    store: Path,
    client: httpx.Client | None = None,
    limits: DownloadLimits = DownloadLimits(),
    progress: Callable[[FetchResult], None] | None = None,
    check: CheckCopy = _accept_any_copy,
    received: ReportProgress = ignore_progress,
    lock: StoreLock = contextlib.nullcontext,
) -> list[FetchResult]:
    """Download those of `sources` that have a URL into `store`. Return all of them, in order, with paths filled in.

    `check` is called for each new copy before it is used; `received` is called from several threads. Never raises for
    anything a server does; raises OSError if the store cannot be written. `client` is for tests and proxies. One
    process at a time downloads; another may put a copy into use (`accept_held_copy`) while it holds `lock`.
    """
    store.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(new_client())
        context = _DownloadContext(store, client, limits, check, received, lock)
        pool = stack.enter_context(ThreadPoolExecutor(_MAX_CONCURRENT))
        results = []
        for fetched in pool.map(lambda source: _fetch(source, context), sources):
            results.append(fetched)
            if progress is not None:
                progress(fetched)
        return results


def _fetch(source: Source, context: _DownloadContext) -> FetchResult:
    if source.url is None or source.path is not None:
        return FetchResult(source, FetchOutcome.LOCAL)
    pointer = pointer_path(source, context.store)
    for leftover in pointer.parent.glob(f".{pointer.stem}.*"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    try:
        newer = _download_with_retries(source, pointer, read_stored_copies(pointer).newest, context)
    except (RefusedError, _UnreachableError) as error:
        mark_failure(pointer)
        good = _good_copy(source, read_stored_copies(pointer), context.store)
        fate = "the last good copy is used" if good else "there is no copy yet"
        problem = Problem(source.name, None, None, f"{error}; {fate}", source.place)
        return FetchResult(good or source, FetchOutcome.KEPT if good else FetchOutcome.MISSING, problem)
    clear_failure(pointer)
    with context.lock():
        return _store_copy(source, pointer, newer, context)


def _good_copy(source: Source, copies: StoredCopies, store: Path) -> Source | None:
    return replace(source, path=store / copies.good.file) if copies.good else None


def _store_copy(source: Source, pointer: Path, newer: StoredCopy | None, context: _DownloadContext) -> FetchResult:
    """Check and store a new copy; None means that the server has none.

    Reads the store again, since a copy may have been accepted.
    """
    copies = read_stored_copies(pointer)
    good = _good_copy(source, copies, context.store)
    reason = copies.reason
    if newer is None:
        os.utime(pointer)
        if not copies.held:
            return FetchResult(good or source, FetchOutcome.UNCHANGED)
    else:
        new_source = replace(source, path=context.store / newer.file)
        reason = context.check(new_source, good)
        if not reason:
            save_stored_copies(pointer, StoredCopies(newer))
            return FetchResult(new_source, FetchOutcome.NEW)
        save_stored_copies(pointer, StoredCopies(copies.good, newer, reason))
    return FetchResult(
        good or source, FetchOutcome.HELD, Problem(source.name, None, None, f"held back: {reason}", source.place)
    )


def _download_with_retries(
    source: Source, pointer: Path, known: StoredCopy | None, context: _DownloadContext
) -> StoredCopy | None:
    """Return the new copy; None if the server says that the known one is current."""
    limits = context.limits
    for attempt in range(limits.attempts):
        try:
            return _download(source, pointer, known, context)
        except _NoConnectionError:
            raise
        except _UnreachableError:
            if attempt + 1 == limits.attempts:
                raise
            # Jitter, so that many installations do not come back in the same second.
            time.sleep(pause_after(attempt + 1, first=limits.pause, longest=60.0) * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    raise _UnreachableError("not tried")


def _download(source: Source, pointer: Path, known: StoredCopy | None, context: _DownloadContext) -> StoredCopy | None:
    limits, headers = context.limits, {"User-Agent": USER_AGENT}
    if known is not None:
        headers |= {"If-None-Match": known.etag} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
    deadline = time.monotonic() + limits.seconds
    with (
        _translated_errors(),
        open_url(context.client, source.url or "", headers, min(30.0, limits.seconds)) as response,
    ):
        if response.status_code == 304 and known is not None:
            return None
        _check_response_head(response, limits)
        with temporary_file_beside(pointer) as file:
            digest = _write_body(response, file, source, context, deadline)
            etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
            newer = StoredCopy(f"{pointer.stem}-{digest[:10]}.list", digest, etag, modified)
            sync_and_rename(file, pointer.parent / newer.file)
    return newer


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn httpx's errors into ours, which say whether another attempt may help."""
    try:
        yield
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


def _check_response_head(response: httpx.Response, limits: DownloadLimits) -> None:
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise _UnreachableError(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise RefusedError(f"the server answered {response.status_code}")
    if (content_length(response) or 0) > limits.bytes:
        raise RefusedError(f"larger than {limits.bytes >> 20} MB")


def _write_body(
    response: httpx.Response, file: IO[bytes], source: Source, context: _DownloadContext, deadline: float
) -> str:
    """Write the body. Return its SHA-256."""
    limits, digest, size, head = context.limits, hashlib.sha256(), 0, b""
    expected = content_length(response)
    # Pieces as they arrive: waiting for full blocks would let a server that trickles outlive the deadline.
    for piece in read_body(response, limits.bytes):
        size += len(piece)
        if len(head) < _MARKUP_SNIFF_BYTES:
            head += piece[:_MARKUP_SNIFF_BYTES]
            if _MARKUP.match(head):
                raise RefusedError("a web page came instead of a list")
        if time.monotonic() > deadline:
            raise _UnreachableError(f"not finished after {limits.seconds:g} seconds")
        digest.update(piece)
        file.write(piece)
        context.received(source, response.num_bytes_downloaded, expected)
    if size == 0:
        raise RefusedError("an empty file came instead of a list")
    return digest.hexdigest()
