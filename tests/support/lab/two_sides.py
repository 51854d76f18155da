"""A machine at home, and everything else in a second network namespace: servers at addresses of the internet, and one
more machine at home. Code under test and servers run in threads of the test's own process.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

from lab.spaces import Space, connect, spaces

HERE, NEIGHBOUR, PUBLIC, OTHER_PUBLIC = "192.168.1.2", "192.168.1.9", "8.8.8.8", "9.9.9.9"
METADATA = "169.254.169.254"
SILENT, OUTSIDE_6 = "192.168.1.3", "2600::5"
"""An address at home that answers nothing, and one of the internet that cannot be reached."""


class _Server(ThreadingTCPServer):
    """A server that looks up no names of its own, as that of `http.server` does."""

    daemon_threads = True
    site: Site

    def handle_error(self, *_: object) -> None:
        """Print nothing: a connection that fails is what a test is about."""


type Respond = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """A web server. `respond` answers each request, and `asked` has the address, method and path of each."""

    server: _Server
    scheme: str
    respond: Respond
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, host: str, path: str = "/") -> str:
        return f"{self.scheme}://{host}:{self.server.server_address[1]}{path}"


class TwoSides:
    """The machine at home (`HERE`), and the machine with all other addresses."""

    def __init__(self, home: Space, away: Space, hosts: Path) -> None:
        self._hosts = hosts
        self._stack = contextlib.ExitStack()
        self.name()
        self._threads = {True: self._thread(home), False: self._thread(away)}

    def _thread(self, space: Space) -> ThreadPoolExecutor:
        """Return a thread of a machine, which has the test's names."""

        def enter() -> None:
            with Path(space.network).open() as namespace:
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
            os.unshare(os.CLONE_NEWNS)
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "--bind", str(self._hosts), "/etc/hosts"], check=True)

        return self._stack.enter_context(ThreadPoolExecutor(1, initializer=enter))

    def name(self, **names: str) -> None:
        """Give names their addresses, with spaces between several: `two_sides.name(publisher_example=PUBLIC)`."""
        lines = ["127.0.0.1 localhost"]
        for name, addresses in names.items():
            lines += [f"{address} {name.replace('_', '.')}" for address in addresses.split()]
        self._hosts.write_text("".join(f"{line}\n" for line in lines))

    def run[T](self, work: Callable[[], T], *, at_home: bool = True) -> T:
        """Run a function as a program of the machine at home, or of the other one."""
        return self._threads[at_home].submit(work).result()

    @contextlib.contextmanager
    def program(self, words: Sequence[str]) -> Iterator[None]:
        """Run a program on the other machine, which prints a line once it is ready."""
        process = self.run(lambda: subprocess.Popen(words, stdout=subprocess.PIPE), at_home=False)
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.communicate()

    def serve(self, respond: Respond, context: ssl.SSLContext | None = None, *, at_home: bool = False) -> Site:
        """Serve at all addresses of the other machine, or of the one at home."""
        server = self.run(lambda: _Server(("0.0.0.0", 0), _Handler), at_home=at_home)
        site = Site(server, "https" if context else "http", respond)
        server.site = site
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self._stack.callback(server.server_close)
        self._stack.callback(thread.join)
        self._stack.callback(server.shutdown)
        return site

    def close(self) -> None:
        self._stack.close()


class _Handler(BaseHTTPRequestHandler):
    timeout = 5

    def _answer(self) -> None:
        assert isinstance(self.server, _Server)
        site = self.server.site
        self.rfile.read(int(self.headers.get("content-length") or 0))
        site.asked.append((self.connection.getsockname()[0], self.command, self.path))
        site.respond(self)

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass


def answer(status: int = 200, body: bytes = b"fine.example\n", **headers: str) -> Respond:
    """Return what answers every request so."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(body)

    return respond


@contextlib.contextmanager
def two_sides(folder: Path) -> Iterator[TwoSides]:
    """Make both machines, with a cable between them."""
    with spaces("home", "away") as (home, away):
        connect(home, "cable", away, "cable")
        home.ip("address", "add", f"{HERE}/24", "dev", "cable")
        home.ip("route", "add", "default", "dev", "cable")
        home.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:03", "dev", "cable")
        for address in (f"{NEIGHBOUR}/24", PUBLIC, OTHER_PUBLIC, METADATA):
            away.ip("address", "add", address, "dev", "cable")
        sides = TwoSides(home, away, folder / "hosts")
        try:
            yield sides
        finally:
            sides.close()
