"""The web pages and the API, served by control. The application is loaded when somebody needs it, or after a while."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import socket
from pathlib import Path

from starlette.types import ASGIApp

from hedgerow.app.control.health import health_of_run
from hedgerow.app.control.parts import Parts
from hedgerow.dashboards.deferred_app import DeferredApp
from hedgerow.dashboards.server import listen_locally, web_server
from hedgerow.features import FEATURES
from hedgerow.features.contract import extensions_of
from hedgerow.files import error_text, write_atomically
from hedgerow.sockets import SocketPath, bind_datagrams, wait_until_removed

log = logging.getLogger("hedgerow.control")

LOAD_PAGES_AFTER_S = 20.0


class PagesServer:
    """The server of the web pages. `serving` is set once they answer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._token = make_token(parts.settings.admin_token)
        self._sockets: list[socket.socket] = []
        self._app = DeferredApp(
            self._load_app, health=lambda: health_of_run(parts.workers, parts.publisher, parts.settings.state)
        )
        self.serving = asyncio.Event()

    def listen(self) -> None:
        """Listen at the addresses of the pages. Raises OSError."""
        for endpoint in self._parts.settings.web.every_family():
            bound = self._parts.sockets.take(endpoint, socket.SOCK_STREAM) or endpoint.bind(socket.SOCK_STREAM)
            bound.listen(128)
            self._sockets.append(bound)

    async def run(self) -> None:
        """Serve until cancelled."""
        parts = self._parts
        local, relay = parts.settings.control_socket, parts.settings.pages_socket
        server = web_server(
            self._app,
            tls=parts.tls,
            client_of=parts.web.client_at,
            person_of=parts.accounts.person_of,
            unix_socket=listen_locally(local),
            relay_socket=bind_datagrams(relay),
            on_listening=self.serving.set,
        )
        places = [SocketPath.of(local), SocketPath.of(relay)]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[bound.dup() for bound in self._sockets]))
                tasks.create_task(wait_until_removed(places))
                if parts.settings.footprint.loads_pages_early:
                    tasks.create_task(self._load_later())
        finally:
            server.stop_listening()

    async def _running_part[Kind](self, kind: type[Kind], name: str) -> Kind:
        return await self._parts.features.running_part(kind, name, self._parts.core)

    async def _load_later(self) -> None:
        """Load the application after the filtering processes have started, before anybody has to wait for it."""
        await asyncio.sleep(LOAD_PAGES_AFTER_S)
        await self._app.load()

    def _load_app(self) -> ASGIApp:
        """Import the application, which may not be needed for long, and return it ready for its first request."""
        from hedgerow.dashboards.app import create_app
        from hedgerow.dashboards.pages.context import PageContext

        parts = self._parts
        context = PageContext(
            reader=parts.publisher.reader,
            control=parts.web,
            accounts=parts.accounts,
            editor=parts.follower.editor,
            data_export=parts.data_export,
            metrics=parts.metrics,
            time=parts.time,
            session_control=parts.session_control,
            codes=parts.codes,
            part=parts.core.part,
            notices=parts.notices,
            request_access=lambda asked: parts.remember([asked]),
            sites=parts.sites,
            running_part=self._running_part,
            extensions=extensions_of(FEATURES),
        )
        app = create_app(context, self._token)
        context.renderer.warm()
        gc.freeze()  # it stays
        return app


def make_token(path: Path) -> str:
    """Make the token by which scripts on this machine use the API, in a file that only its owner can read.

    If the disk is full, there is no such file until the next start.
    """
    token = secrets.token_urlsafe(32)
    try:
        write_atomically(path, token.encode())
    except OSError as error:
        log.warning("Can't write %s, so scripts need tokens of their own: %s", path, error_text(error))
    return token
