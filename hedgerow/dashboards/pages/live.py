"""Live pages: a stream that names the parts of a page that changed, for a small script that fetches only these.

The state is looked at once per second for all viewers together, and not at all while nobody watches. Deliberately
absent: the content of the parts, which the pages render themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from itertools import islice

from fastapi import Request
from sqlalchemy.exc import DatabaseError
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of
from hedgerow.dashboards.routes import DEVICES, OPERATE, READ, get
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger("hedgerow.pages")

MAX_STREAMS, MAX_STREAMS_PER_SESSION = 32, 4
LOOK_INTERVAL_S = 1.0
_PEOPLE = 100
"""People whose times are looked at. In larger networks *Today* does not show everybody."""

_LOOKS_PER_ACTIVITY = 10
"""Looks between two reports of new decisions, which arrive all the time."""

type Parts = Mapping[str, object]


class ChangeFeed:
    """Feed of changes: it looks at the parts of the pages once per interval, and tells each listener which of them
    changed.

    `look` returns a value for each part. It is called only while there are listeners. All on one event loop.
    """

    def __init__(self, look: Callable[[], Awaitable[Parts]], interval: float = LOOK_INTERVAL_S) -> None:
        self._look, self._interval = look, interval
        self._listeners: dict[asyncio.Event, set[str]] = {}
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_watching(self) -> bool:
        """Return whether the state is looked at now."""
        return self._watcher is not None

    async def changes(self) -> AsyncGenerator[frozenset[str]]:
        """Yield the names of the parts that changed since the last time, after each look; mostly none."""
        looked, changed = asyncio.Event(), set[str]()
        self._listeners[looked] = changed
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        try:
            while True:
                await looked.wait()
                looked.clear()
                names = frozenset(changed)
                changed.clear()
                yield names
        finally:
            del self._listeners[looked]
            if not self._listeners and self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None

    async def _watch(self) -> None:
        before: Parts | None = None
        while True:
            try:
                now = await self._look()
            except (DatabaseError, OSError, InvalidInput) as error:
                log.warning("The state of the pages can't be looked at: %s", error)
                now = before or {}
            except Exception:
                note_unexpected("The state of the pages can't be looked at")
                now = before or {}
            names = {name for name, value in now.items() if before is not None and before.get(name) != value}
            before = now
            for looked, changed in self._listeners.items():
                changed |= names
                looked.set()
            await asyncio.sleep(self._interval)


class LivePages(PageGroup):
    """`/events`, and what is shown instead of pages that nobody sends."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._feed = ChangeFeed(self._look)
        self._streams: Counter[str] = Counter()
        self._looks = 0
        self._newest = 0

    @get("/out-of-reach", DEVICES)
    async def out_of_reach(self, request: Request) -> Response:
        """Return the page that the service worker shows in place of all others while nothing answers."""
        return self._context.renderer.refusal(request, "out_of_reach.html", 200)

    @get("/events", OPERATE, READ)
    async def events(self, request: Request) -> Response:
        """Stream the names of changed parts as server-sent events, until the session ends."""
        principal = principal_of(request)
        viewer = principal.session or principal.name
        if self._streams[viewer] >= MAX_STREAMS_PER_SESSION or self._streams.total() >= MAX_STREAMS:
            return PlainTextResponse("Too many pages are listening already.\n", 503)
        cookie = request.cookies.get(SESSION_COOKIE, "")
        stream = self._stream(viewer, cookie if principal.session else None)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _stream(self, viewer: str, cookie: str | None) -> AsyncIterator[bytes]:
        self._streams[viewer] += 1
        try:
            async with contextlib.aclosing(self._feed.changes()) as changes:
                await anext(changes)  # from this look on, no change is missed: only now may the page fetch its parts
                yield b"event: listening\ndata:\n\n"
                async for names in changes:
                    if cookie is not None and self._context.accounts.principal_of_session(cookie) is None:
                        yield b"event: signed-out\ndata:\n\n"
                        return
                    # Something is said after each look: a page that hears nothing knows that it is cut off.
                    event = f"changed\ndata: {' '.join(sorted(names))}" if names else "alive\ndata:"
                    yield f"event: {event}\n\n".encode()
        finally:
            self._streams[viewer] -= 1
            self._streams += Counter()  # forgets viewers without a stream

    async def _look(self) -> Parts:
        context = self._context
        is_due, self._looks = self._looks % _LOOKS_PER_ACTIVITY == 0, self._looks + 1
        requests, grants, pauses, newest, added = await run_in_threadpool(self._read, context.clock(), is_due)
        self._newest = newest if newest is not None else self._newest
        now, budgets = context.clock(), context.budgets()
        people = context.control.person_times(islice(context.policy().people, _PEOPLE)).items()
        times = [(name, each.closed, each.bedtime if (each.bedtime or 0) > now else 0) for name, each in people]
        status = context.control.status()
        lists = (status.lists, status.starter_only)
        problems = (status.journal_problem, status.publish_problem, status.lists_problem)
        sessions = context.time.sessions()
        parts = {
            "troubles": (lists, status.policy_problems, status.is_disk_full, problems, status.stopped_workers(now)),
            "lists": lists,
            "everybody": pauses,
            "children": (pauses, grants, times, budgets, self._newest),
            "requests": (requests, grants),
            "pauses": pauses,
            "grants": grants,
            "links": (self._newest, grants, pauses),
            "day": self._newest,
            "devices": self._newest,
            "new": (self._newest, pauses),
            "blocked": self._newest,
            "seats": (sessions, int(now // 60)),
        }
        return parts | {name: (parts.get(name), value) for name, value in added.items()}

    def _read(self, now: float, with_newest: bool) -> tuple[object, object, object, int | None, Parts]:
        reader = self._context.reader
        newest = next((row.id for row in reader.decisions(limit=1).rows), 0) if with_newest else None
        added = {name: value(self._context) for name, value in self._context.extensions.live.items()}
        return reader.requests(), reader.grants(now), reader.pauses(now), newest, added
