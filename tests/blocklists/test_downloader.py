"""Downloads from servers with every kind of fault, and the last good copy."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hedgerow import __version__
from hedgerow.blocklists.download_store import FetchOutcome, FetchResult, accept_held_copy, copy_status, failing_since
from hedgerow.blocklists.downloader import DownloadLimits, fetch_all
from hedgerow.blocklists.sources import Source

GOOD = b"good.example\n" * 100
QUICK = DownloadLimits(bytes=1 << 20, seconds=0.5, attempts=2, pause=0.01)

Handler = http.server.BaseHTTPRequestHandler


def answer(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with contextlib.suppress(ConnectionError):  # who is refused midway hangs up
        handler.wfile.write(body)


def trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.02)


class ListServer:
    """A server that answers every path with the function `serve`, and records the requests' paths and conditions."""

    def __init__(self) -> None:
        self.serve: Callable[[Handler], None] = lambda handler: answer(handler, 200, GOOD)
        self.conditions: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Bound(Handler):
            def do_GET(self) -> None:
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.asked.append((self.path, self.headers["accept-encoding"]))
                outer.conditions.append(self.headers["if-none-match"] or self.headers["if-modified-since"])
                outer.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/list.txt"


@pytest.fixture
def server() -> Iterator[ListServer]:
    served = ListServer()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def fetch(server: ListServer, store: Path, limits: DownloadLimits = QUICK) -> FetchResult:
    (fetched,) = fetch_all([Source("list", "adult", url=server.url)], store, limits=limits)
    return fetched


def content(fetched: FetchResult) -> bytes:
    assert fetched.source.path is not None
    return fetched.source.path.read_bytes()


def test_a_new_list_and_then_an_unchanged_one(server: ListServer, tmp_path: Path) -> None:
    def serve(handler: Handler) -> None:
        is_known = handler.headers["if-none-match"] == '"1"'
        answer(handler, 304 if is_known else 200, b"" if is_known else GOOD, etag='"1"')

    server.serve = serve
    first, second = fetch(server, tmp_path), fetch(server, tmp_path)
    assert (first.outcome, second.outcome) == (FetchOutcome.NEW, FetchOutcome.UNCHANGED)
    assert content(first) == content(second) == GOOD
    assert server.conditions == [None, '"1"']


def test_last_modified_is_sent_back(server: ListServer, tmp_path: Path) -> None:
    date = "Tue, 01 Sep 2026 10:00:00 GMT"
    server.serve = lambda handler: answer(handler, 200, GOOD, last_modified=date)
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert server.conditions == [None, date]


def test_a_newer_list_replaces_the_older_file(server: ListServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    server.serve = lambda handler: answer(handler, 200, b"newer.example\n")
    assert content(fetch(server, tmp_path)) == b"newer.example\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_compressed_answers_are_unpacked(server: ListServer, tmp_path: Path) -> None:
    server.serve = lambda handler: answer(handler, 200, gzip.compress(GOOD), content_encoding="gzip")
    assert content(fetch(server, tmp_path)) == GOOD


def test_redirects_are_followed(server: ListServer, tmp_path: Path) -> None:
    def serve(handler: Handler) -> None:
        answer(handler, 200, GOOD) if handler.path == "/there" else answer(handler, 302, location="/there")

    server.serve = serve
    assert content(fetch(server, tmp_path)) == GOOD


BROKEN: dict[str, tuple[Callable[[Handler], None], str]] = {
    "web page": (lambda h: answer(h, 200, b" \n<!DOCTYPE html><html>captive portal</html>"), "a web page came"),
    "truncated": (lambda h: answer(h, 200, GOOD, content_length=str(2 * len(GOOD))), "cut off"),
    "oversized": (lambda h: answer(h, 200, b"a.example\n" * 200_000), "larger than 1 MB"),
    "oversized, declared": (lambda h: answer(h, 200, content_length=str(1 << 40)), "larger than 1 MB"),
    "no number of bytes": (lambda h: answer(h, 200, GOOD, content_length="many"), "cut off"),
    "gzip bomb": (
        lambda h: answer(h, 200, gzip.compress(b"a" * (4 << 20)), content_encoding="gzip"),
        "larger than 1 MB",
    ),
    "broken gzip": (lambda h: answer(h, 200, b"no gzip at all", content_encoding="gzip"), "failed"),
    "empty": (lambda h: answer(h, 200), "an empty file"),
    "not found": (lambda h: answer(h, 404, b"gone"), "answered 404"),
    "server error": (lambda h: answer(h, 503), "answered 503"),
    "trickling": (trickle, "not finished after 0.5 seconds"),
    "silent": (lambda _h: time.sleep(1.2), "not finished"),
    "redirects for ever": (lambda h: answer(h, 302, location=h.path), "failed"),
    "redirect to a file": (lambda h: answer(h, 302, location="file:///etc/passwd"), "failed"),
    "not modified, unasked": (lambda h: answer(h, 304), "answered 304"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_downloads_keep_the_good_copy(what: str, server: ListServer, tmp_path: Path) -> None:
    serve, message = BROKEN[what]
    server.serve = serve
    missing = fetch(server, tmp_path)
    assert (missing.outcome, missing.source.path) == (FetchOutcome.MISSING, None)
    assert missing.problem
    assert message in missing.problem.message
    assert [path.suffix for path in tmp_path.iterdir()] == [".failing"]
    first = failing_since(missing.source, tmp_path)
    assert first is not None
    fetch(server, tmp_path)
    assert failing_since(missing.source, tmp_path) == first, "the first failure in a row counts"

    server.serve = lambda handler: answer(handler, 200, GOOD)
    fetch(server, tmp_path)
    assert failing_since(missing.source, tmp_path) is None
    if what == "not modified, unasked":
        return  # without a condition in the request it is wrong, with one it is the usual answer
    server.serve = serve
    kept = fetch(server, tmp_path)
    assert kept.outcome == FetchOutcome.KEPT
    assert content(kept) == GOOD
    assert kept.problem
    assert message in kept.problem.message
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".failing", ".json", ".list"]


def test_a_copy_accepted_during_a_download_stays_accepted(server: ListServer, tmp_path: Path) -> None:
    source = Source("list", "adult", url=server.url)
    texts = iter((GOOD, b"held.example\n", b"third.example\n"))
    judged: list[tuple[bytes, bytes]] = []

    def judge(new: Source, good: Source | None) -> str:
        assert new.path is not None
        before = good.path.read_bytes() if good and good.path else b""
        judged.append((before, new.path.read_bytes()))
        return "not trusted" if before else ""

    def serve(handler: Handler) -> None:
        text = next(texts)
        if text.startswith(b"third"):
            assert accept_held_copy(source, tmp_path)
        answer(handler, 200, text)

    server.serve = serve
    outcomes = [fetch_all([source], tmp_path, limits=QUICK, check=judge)[0].outcome for _ in range(3)]
    assert outcomes == [FetchOutcome.NEW, FetchOutcome.HELD, FetchOutcome.HELD]
    assert judged[2] == (b"held.example\n", b"third.example\n")
    copy = copy_status(source, tmp_path)
    assert copy.path is not None
    assert (copy.path.read_bytes(), copy.held) == (b"held.example\n", "not trusted")
    assert len(list(tmp_path.glob("*.list"))) == 2


def test_temporary_failures_are_retried(server: ListServer, tmp_path: Path) -> None:
    server.serve = lambda handler: answer(handler, 503) if len(server.conditions) == 1 else answer(handler, 200, GOOD)
    assert fetch(server, tmp_path).outcome == FetchOutcome.NEW
    assert len(server.conditions) == 2


def test_damaged_copies_are_downloaded_again(server: ListServer, tmp_path: Path) -> None:
    server.serve = lambda handler: answer(handler, 200, GOOD, etag='"1"')
    first = fetch(server, tmp_path)
    assert first.source.path
    first.source.path.write_bytes(b"damaged")
    assert content(fetch(server, tmp_path)) == GOOD
    assert server.conditions == [None, None]


def test_connection_refused(server: ListServer, tmp_path: Path) -> None:
    source = Source("list", "adult", url="http://127.0.0.1:1/list.txt")
    (fetched,) = fetch_all([source], tmp_path, limits=QUICK)
    assert fetched.outcome == FetchOutcome.MISSING


def test_results_are_in_order(server: ListServer, tmp_path: Path) -> None:
    local = Source("mine", "adult", tmp_path / "mine.txt")
    remote = [Source(f"r{n}", "adult", url=f"{server.url}?{n}") for n in range(6)]
    heard: list[str] = []
    results = fetch_all(
        [local, *remote], tmp_path / "store", limits=QUICK, progress=lambda fetched: heard.append(fetched.source.name)
    )
    assert [fetched.source.name for fetched in results] == heard == ["mine", *(f"r{n}" for n in range(6))]
    assert [fetched.outcome for fetched in results] == [FetchOutcome.LOCAL, *[FetchOutcome.NEW] * 6]
    assert len({fetched.source.path for fetched in results}) == 7


def test_copy_status_needs_no_network(server: ListServer, tmp_path: Path) -> None:
    known, unknown = Source("list", "adult", url=server.url), Source("other", "adult", url=server.url + "?2")
    fetched = fetch(server, tmp_path)
    assert copy_status(known, tmp_path).path == fetched.source.path
    assert copy_status(unknown, tmp_path).path is None
    assert len(server.conditions) == 1


def test_requests_reveal_only_the_version(server: ListServer, tmp_path: Path) -> None:
    (fetched,) = fetch_all([Source("list", "adult", url=server.url)], tmp_path, limits=QUICK)
    assert fetched.outcome == FetchOutcome.NEW
    (headers,) = server.headers
    assert headers.pop("user-agent") == f"hedgerow/{__version__}"
    assert headers.keys() == {"host", "accept", "accept-encoding", "connection"}
    assert headers["host"] in server.url


def test_no_cookie_is_sent_back(server: ListServer, tmp_path: Path) -> None:
    """A publisher could recognise an installation by it, also at the next list and behind a redirect."""
    server.serve = lambda handler: answer(handler, 200, GOOD, set_cookie="id=1; Path=/")
    fetch_all(
        [Source(name, "adult", url=f"{server.url}/{name}") for name in ("a", "b", "c", "d", "e", "f")],
        tmp_path,
        limits=QUICK,
    )
    assert len(server.headers) == 6
    assert [headers for headers in server.headers if "cookie" in headers] == []


def test_unreachable_servers_are_tried_once(tmp_path: Path) -> None:
    patient = DownloadLimits(seconds=5, attempts=2, pause=1e6)  # a second attempt would not come before the test's end
    source = Source("list", "adult", url="http://127.0.0.1:1/list.txt")
    (fetched,) = fetch_all([source], tmp_path, patient)
    assert fetched.outcome is FetchOutcome.MISSING


def test_requests_ask_for_no_compression(server: ListServer, tmp_path: Path) -> None:
    assert fetch(server, tmp_path).outcome is FetchOutcome.NEW
    assert server.asked == [("/list.txt", "identity")]


def test_unbounded_encodings_are_refused(server: ListServer, tmp_path: Path) -> None:
    """Two kilobytes of brotli can be three gigabytes of a list."""
    brotli = pytest.importorskip("brotli")
    server.serve = lambda handler: answer(handler, 200, brotli.compress(GOOD), content_encoding="br")
    fetched = fetch(server, tmp_path)
    assert fetched.outcome is FetchOutcome.MISSING
    assert fetched.problem
    assert "compresses with 'br'" in fetched.problem.message


def test_bombs_are_unpacked_in_pieces(server: ListServer, tmp_path: Path) -> None:
    size = 48 << 20
    packed = gzip.compress(b"bomb.example\n" * (size // 13))
    server.serve = lambda handler: answer(handler, 200, packed, content_encoding="gzip")
    tracemalloc.start()
    try:
        fetched = fetch(server, tmp_path, DownloadLimits(seconds=60, attempts=1))
        assert tracemalloc.get_traced_memory()[1] < size // 8
    finally:
        tracemalloc.stop()
    assert fetched.problem
    assert "100 times its size" in fetched.problem.message


@pytest.mark.parametrize("form", ["zlib", "bare", "two members"])
def test_forms_of_gzip_and_deflate(server: ListServer, tmp_path: Path, form: str) -> None:
    bare = zlib.compressobj(wbits=-15)
    body = {
        "zlib": zlib.compress(GOOD),
        "bare": bare.compress(GOOD) + bare.flush(),
        "two members": gzip.compress(GOOD[:500]) + gzip.compress(GOOD[500:]),
    }[form]
    server.serve = lambda handler: answer(
        handler, 200, body, content_encoding="gzip" if form == "two members" else "deflate"
    )
    assert content(fetch(server, tmp_path)) == GOOD
