"""Debian's Chromium, and how it is told to trust a server or an authority of the test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Error, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_HEADLESS_SHELL = Path("/usr/bin/chromium-headless-shell")
FOR_PAGES = _HEADLESS_SHELL if _HEADLESS_SHELL.exists() else CHROMIUM
"""Chromium for tests that look at pages.

The headless shell is the same engine without windows of its own: a page takes a third of the CPU time. Tests about the
resolver, the proxy configuration, the notices or the upgrades to HTTPS of a browser take `CHROMIUM`.
"""


@contextlib.contextmanager
def browser_for_pages(*, program: Path = FOR_PAGES, args: Sequence[str] = (), **options: Any) -> Iterator[Browser]:
    """Start a browser for tests that look at pages; `options` are those of Playwright's `launch`.

    An event loop runs in this thread meanwhile: `asyncio.run` needs another thread.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", *args], **options
        )
        yield browser
        browser.close()


def wait_for_script(page: Page, expression: str, seconds: float = 60) -> None:
    """Wait until a JavaScript expression, or what a function returns, is true on a page.

    Playwright's own `wait_for_function` evaluates the text each time, which the policy of Hedgerow's pages refuses from
    the second time on.
    """
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Error):  # between two pages
            if page.evaluate(expression):
                return
        assert time.monotonic() < ends, f"not within {seconds} s: {expression}"
        page.wait_for_timeout(50)


def look_through(page: Page, options: Mapping[str, object] | None = None) -> AxeResults:
    """Look through a page with axe-core, which each page loads once."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    return AxeResults(
        page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"], **(options or {})})
    )


def pin_of(address: tuple[str, int]) -> str:
    """The hash of a server's public key, as Chromium's command line takes it."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


EVERY_KIND = """async () => {
  const events = await new Promise(done => { const found = [], source = new EventSource('/sse/3');
    source.onmessage = each => { found.push(each.data); if (found.length === 3) { source.close(); done(found); } }; });
  const echoed = await new Promise((done, fail) => { const socket = new WebSocket('wss://' + location.host + '/websocket');
    socket.binaryType = 'arraybuffer'; socket.onerror = fail; const found = [];
    socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array([1, 2, 3])); };
    socket.onmessage = each => { found.push(typeof each.data === 'string' ? each.data : [...new Uint8Array(each.data)].join());
      if (found.length === 2) { socket.close(); done(found); } }; });
  const part = await fetch('/bytes/1000000', {headers: {Range: 'bytes=500000-500099'}});
  const hash = async data => [...new Uint8Array(await crypto.subtle.digest('SHA-256', data))]
    .map(each => each.toString(16).padStart(2, '0')).join('');
  const whole = await hash(await (await fetch('/bytes/20000000')).arrayBuffer());
  const sent = new Uint8Array(5000000).fill(7);
  const upload = await (await fetch('/upload', {method: 'POST', body: sent})).json();
  const blocked = await fetch('/secret/x');
  return {events, echoed, part: [part.status, part.headers.get('content-range'), await hash(await part.arrayBuffer())], whole,
    upload: [upload.length, upload.sha256 === await hash(sent)], blocked: [blocked.status, await blocked.text()],
    protocol: performance.getEntriesByType('navigation')[0].nextHopProtocol};
}"""  # noqa: E501
"""Every kind of exchange in one page, as a site would do it: events, a WebSocket, a part, a download, an upload, and
what is blocked.
"""

CAN_TRUST = CHROMIUM.exists() and shutil.which("certutil") is not None


def trusting(home: Path, *authorities: Path) -> dict[str, str]:
    """The environment of a browser whose user, at home in `home`, has installed these authorities; for where
    `CAN_TRUST`.
    """
    keys = home / ".pki" / "nssdb"
    keys.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{keys}", "-N", "--empty-password"], check=True)
    for number, authority in enumerate(authorities):
        subprocess.run(
            ["certutil", "-d", f"sql:{keys}", "-A", "-t", "C,,", "-n", f"authority {number}", "-i", str(authority)],
            check=True,
        )
    return {**os.environ, "HOME": str(home)}
