"""The page that answers in place of all others while control can't start:

`python -m hedgerow.app.trouble_page STATE DESCRIPTORS`.

It says what is wrong, what filters meanwhile and what to do, and needs neither journal nor disk. The supervisor starts
it on control's listening sockets, and ends it once control serves. A browser that shows it finds the real pages by
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import socket
import sys
import time
from pathlib import Path

from hedgerow.app.ipc import InheritedSockets, WorkersFile, parse_descriptors
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.dashboards.words.languages import message, with_code
from hedgerow.policies.text.locales import read_translations, text_direction
from hedgerow.proxy.http_head import HeadError, HeadReader
from hedgerow.proxy.pages.translations import choose_language

MAX_CONNECTIONS = 64
REQUEST_TIMEOUT_S = 10.0
_REFRESH_S = 5
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0"
    " 1rem;color:#1d2a20;background:#f6f8f4}"
    "code{overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#e4ece4;background:#141a15}}"
)
_TITLE = message("The pages can't open at the moment")
_BOTH = message("The filter works: DNS and proxy go on with the rules from %(time)s.")
_NONE = message("Neither DNS nor the proxy works at the moment.")
_PART = {"dns": message("DNS works, the proxy does not."), "gate": message("The proxy works, DNS does not.")}
_CAUSE = message("The reason:")
_REMEDY = message("Run `hedgerow doctor` on the machine on which Hedgerow runs: it says what to fix.")
_RETURN = message("This page looks again every few seconds, and the usual pages come back by themselves.")


class TroublePage:
    """The server of the page. It answers each request with 503."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self.answer(head))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that speaks TLS, sends too much or leaves
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def answer(self, data: bytes) -> bytes:
        """Return the whole response to a request head."""
        try:
            head = HeadReader().feed(data)
        except HeadError:
            head = None
        path, accept = (head.target.partition("?")[0], head.get("accept-language")) if head is not None else ("", "")
        if path in ("/healthz", "/readyz"):
            return _response("text/plain; charset=utf-8", "not ready\n")
        if path.startswith("/api/"):
            problem = {"title": "Service Unavailable", "status": 503, "detail": self._cause()}
            return _response("application/problem+json", json.dumps(problem))
        return _response("text/html; charset=utf-8", self.page(choose_language(accept)))

    def page(self, language: str) -> str:
        """Return the page in a language."""
        translate = read_translations(language).gettext
        serving = self._serving()
        if {"dns", "gate"} <= serving:
            state = translate(_BOTH) % {"time": self._rules_from()}
        else:
            state = translate(next((text for role, text in _PART.items() if role in serving), _NONE))
        cause = html.escape(self._cause())
        sentences = [html.escape(state)]
        sentences += [f'{html.escape(translate(_CAUSE))} <code lang="en">{cause}</code>'] if cause else []
        sentences += [with_code(translate(_REMEDY)), html.escape(translate(_RETURN))]
        title = html.escape(translate(_TITLE))
        return (
            f'<!doctype html><html lang="{language}" dir="{text_direction(language)}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{_REFRESH_S}">'
            f"<title>{title} – Hedgerow</title><style>{_STYLE}</style></head>"
            f"<body><main><h1>{title}</h1>{''.join(f'<p>{each}</p>' for each in sentences)}</main></body></html>\n"
        )

    def _serving(self) -> set[str]:
        try:
            return {row.role for row in WorkersFile.load(self._settings.workers_files).workers if row.ready}
        except (OSError, ValueError):
            return set()

    def _cause(self) -> str:
        try:
            rows = WorkersFile.load(self._settings.workers_files).workers
        except (OSError, ValueError) as error:
            return str(error)
        return next((row.problem for row in rows if row.role == "control"), "") or self._settings.problem

    def _rules_from(self) -> str:
        try:
            published = Snapshot.in_force(self._settings.state).published
        except (OSError, ValueError):
            published = self._settings_time()
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(published))

    def _settings_time(self) -> float:
        """The start of this run, at which the rules of last resort were made."""
        try:
            return (self._settings.run / "settings.json").stat().st_mtime
        except OSError:
            return time.time()


def _response(media_type: str, body: str) -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {media_type}\r\nContent-Length:"
        f" {len(content)}\r\nRetry-After: {_REFRESH_S}\r\nCache-Control: no-store\r\nX-Content-Type-Options:"
        " nosniff\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors"
        " 'none'\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


async def run(settings: Settings, sockets: InheritedSockets) -> None:
    """Serve until standard input closes, at the supervisor's end, or this process is ended."""
    page = TroublePage(settings)
    listeners = [
        found for each in settings.web.every_family() if (found := sockets.take(each, socket.SOCK_STREAM)) is not None
    ]
    for listener in listeners:
        await asyncio.start_server(page.serve, sock=listener, limit=16384)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


def main() -> None:
    asyncio.run(run(Settings.load(Path(sys.argv[1])), InheritedSockets(parse_descriptors(sys.argv[2]))))


if __name__ == "__main__":
    main()
