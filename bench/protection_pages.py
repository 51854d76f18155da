"""Pages judged by their words, for `bench/protection.py`: e2guardian with its phrases, as Debian installs it, beside
Hedgerow.

The pages are those of `tests/cases/content/pages.yaml`. They were written for Hedgerow's own tests, which they all
pass, so they compare what filters stumble over and measure nobody's accuracy.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from hedgerow.policies.reading.profiles import builtin_profiles
from hedgerow.proxy.scanners.words import PageScore, list_versions, load_phrases

PAGES = Path(__file__).resolve().parent.parent / "tests" / "cases" / "content" / "pages.yaml"
E2GUARDIAN = Path("/etc/e2guardian")
AGES = ("child-under-8", "child-8-12", "teen-13-15", "teen-16-17")
_TRIES = 6


@dataclass(frozen=True, slots=True)
class Page:
    """A page, with the profiles for which Hedgerow closes it."""

    name: str
    text: str
    closed_for: tuple[str, ...]


def read_pages() -> list[Page]:
    phrases = load_phrases(list_versions(()))[0]
    limits = {age: builtin_profiles()[age].rules.content.page_limit or 0 for age in AGES}
    found = []
    for case in yaml.safe_load(PAGES.read_text(encoding="utf-8")):
        text = f"<html><head><title>{case['name']}</title></head><body><p>{case['text']}</p></body></html>"
        score = PageScore(phrases)
        score.feed(text, last=True)
        found.append(Page(case["name"], text, tuple(age for age in AGES if score.value > limits[age])))
    return found


def blocked_by_e2guardian(pages: Sequence[Page], folder: Path) -> set[str] | None:
    """Return the names of the pages that e2guardian blocks; None if it is not installed or does not run."""
    if not shutil.which("e2guardian") or not E2GUARDIAN.is_dir():
        return None
    with _origin(pages) as origin:
        for attempt in range(_TRIES):  # a segmentation fault ends it on its first pages now and then
            with (
                contextlib.suppress(OSError, http.client.HTTPException),
                _e2guardian(folder / f"e2guardian-{attempt}") as port,
            ):
                return {
                    page.name for number, page in enumerate(pages) if not _is_served(port, origin, number, page.text)
                }
    return None


def _is_served(proxy: int, origin: int, number: int, text: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=20)
    try:
        connection.request("GET", f"http://127.0.0.1:{origin}/{number}", headers={"Host": f"127.0.0.1:{origin}"})
        return connection.getresponse().read().decode("utf-8", "replace") == text
    finally:
        connection.close()


@contextlib.contextmanager
def _origin(pages: Sequence[Page]) -> Iterator[int]:
    class Origin(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages[int(self.path.rpartition("/")[2])].text.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _e2guardian(folder: Path) -> Iterator[int]:
    """Run e2guardian as it is installed, with another port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    shutil.copytree(E2GUARDIAN, folder / "etc", symlinks=True)
    for path in (folder / "etc").glob("*.conf"):
        path.write_text(path.read_text().replace("/etc/e2guardian", str(folder / "etc")))
    conf = folder / "etc" / "e2guardian.conf"
    lines = conf.read_text().splitlines()
    kept = [
        line
        for line in lines
        if not re.match(r"\s*(filterports|filterip|loglocation|dstatlocation|pidfilename)\b", line)
    ]
    ours = [
        f"filterports = {port}",
        "filterip = 127.0.0.1",
        f"pidfilename = '{folder}/pid'",
        "loglevel = 0",
        "dstatlocation = ''",
    ]
    conf.write_text("\n".join([*kept, *ours]) + "\n")
    for each in (folder.parent, folder):
        each.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    folder.chmod(0o777)
    process = subprocess.Popen(
        ["e2guardian", "-N", "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConnectionError("e2guardian does not run")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)
