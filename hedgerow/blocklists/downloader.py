"""Downloads of lists, checked and stored: the last good copy stays until a better one is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hedgerow.backoff import pause_after
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
from hedgerow.blocklists.outgoing import (
    content_length,
    open_url,
    read_body,
)
from hedgerow.blocklists.outgoing_guard import NoConnectionError, OutgoingGuard, RefusedError, UnreachableError
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source

if TYPE_CHECKING:
    import httpx

_MAX_CONCURRENT = 4
_MARKUP_SNIFF_BYTES = 512
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|script|\?xml|!--)", re.IGNORECASE)


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


def ignore_progress(_source: Source, _bytes: int, _of: int | None) -> None:
    """A `ReportProgress` that does nothing."""


@dataclass(frozen=True, slots=True)
class _DownloadContext:
    """The arguments of one `fetch_all`."""

    store: Path
    local: Collection[str]
    trust: ssl.SSLContext
    limits: DownloadLimits
    check: CheckCopy
    received: ReportProgress
    lock: StoreLock


def fetch_all(
    sources: Sequence[Source],
    store: Path,
    limits: DownloadLimits = DownloadLimits(),
    local: Collection[str] = (),
    progress: Callable[[FetchResult], None] | None = None,
    check: CheckCopy = lambda _new, _good: "",
    received: ReportProgress = ignore_progress,
    lock: StoreLock = contextlib.nullcontext,
) -> list[FetchResult]:
    """Download those of `sources` that have a URL into `store`. Return all of them, in order, with paths filled in.

    `check` is called for each new copy before it is used; `received` is called from several threads. Never raises for
    anything a server does; raises OSError if the store cannot be written. `local` are the policy's own names and
    networks. One process at a time downloads; another may put a copy into use (`accept_held_copy`) while it holds
    `lock`.
    """
    store.mkdir(parents=True, exist_ok=True)
    context = _DownloadContext(store, local, ssl.create_default_context(), limits, check, received, lock)
    results = []
    with ThreadPoolExecutor(_MAX_CONCURRENT) as pool:
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
    except (RefusedError, UnreachableError, TimeoutError) as error:
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
        except NoConnectionError:
            raise
        except (UnreachableError, TimeoutError):
            if attempt + 1 == limits.attempts:
                raise
            # Jitter, so that many installations do not come back in the same second.
            time.sleep(pause_after(attempt + 1, first=limits.pause, longest=60.0) * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
    raise UnreachableError("not tried")


def _download(source: Source, pointer: Path, known: StoredCopy | None, context: _DownloadContext) -> StoredCopy | None:
    validators = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known is not None else {}
    headers = {name: value for name, value in validators.items() if value}
    with contextlib.ExitStack() as stack:
        with open_url(
            source.url or "",
            context.limits.seconds,
            OutgoingGuard(local=context.local),
            headers=headers,
            trust=context.trust,
        ) as response:
            if response.status_code == 304 and known is not None:
                return None
            _check_response_head(response, context.limits)
            file = stack.enter_context(temporary_file_beside(pointer))
            digest = _write_body(response, file, source, context)
        newer = StoredCopy(
            f"{pointer.stem}-{digest[:10]}.list",
            digest,
            response.headers.get("etag", ""),
            response.headers.get("last-modified", ""),
        )
        sync_and_rename(file, pointer.parent / newer.file)
    return newer


def _check_response_head(response: httpx.Response, limits: DownloadLimits) -> None:
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise UnreachableError(f"the server answered {response.status_code}")
    if response.status_code != 200:
        raise RefusedError(f"the server answered {response.status_code}")
    if (content_length(response) or 0) > limits.bytes:
        raise RefusedError(f"larger than {limits.bytes >> 20} MB")


def _write_body(response: httpx.Response, file: IO[bytes], source: Source, context: _DownloadContext) -> str:
    """Write the body. Return its SHA-256."""
    digest, size, head = hashlib.sha256(), 0, b""
    for piece in read_body(response, context.limits.bytes):
        size += len(piece)
        if len(head) < _MARKUP_SNIFF_BYTES:
            head += piece[:_MARKUP_SNIFF_BYTES]
            if _MARKUP.match(head):
                raise RefusedError("a web page came instead of a list")
        digest.update(piece)
        file.write(piece)
        context.received(source, response.num_bytes_downloaded, content_length(response))
    if size == 0:
        raise RefusedError("an empty file came instead of a list")
    return digest.hexdigest()
