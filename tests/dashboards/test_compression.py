"""Compressed pages and files, and responses that stay as they are: those that another site may ask for, and streams."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Response
from starlette.responses import StreamingResponse
from web_server import TOKEN, Web
from web_server.household import fill

from hedgerow.dashboards.compression import CompressedResponses, preferred_coding, zstd
from hedgerow.dashboards.credentials import SESSION_COOKIE

OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def home(web: Web) -> Web:
    fill(web)
    return web


def get(web: Web, path: str, coding: str = "gzip", **headers: str) -> httpx.Response:
    headers = {"accept-encoding": coding, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.get(web.url + path, headers=headers, trust_env=False, timeout=60, verify=False)


def text_of(answer: httpx.Response) -> str:
    """Return the text of a response. httpx decodes gzip alone."""
    if answer.headers.get("content-encoding") == "zstd":
        return str(zstd.decompress(answer.content).decode())
    return answer.text


def curl(web: Web, *more: str) -> str:
    page = f"{web.url}/people/mia/services"
    command = ["curl", "-s", "--noproxy", "*", "-H", "Sec-Fetch-Site: same-origin", *more, page]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_curl_gets_the_same_page_in_a_quarter_of_the_bytes(home: Web) -> None:
    sizes = ("-o", "/dev/null", "-w", "%{json}")
    plain, packed = (json.loads(curl(home, *sizes, *more))["size_download"] for more in ((), ("--compressed",)))
    assert packed * 4 < plain
    assert curl(home, "--compressed") == curl(home)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_pages_scripts_and_api_are_compressed_and_say_so(home: Web, coding: str) -> None:
    style = get(home, "/").text.partition('stylesheet" href="')[2].partition('"')[0]
    for path in ("/", "/people/mia", "/log", style, "/service-worker.js", "/api/v1/openapi.json"):
        plain, packed = (get(home, path, each, **OURS) for each in ("identity", coding))
        assert packed.headers["content-encoding"] == coding, path
        assert "Accept-Encoding" in packed.headers["vary"]
        assert "content-encoding" not in plain.headers
        assert path in ("/", "/log") or text_of(packed) == plain.text, path  # others may show the time
    assert "content-encoding" not in get(home, "/static/icon-512.png", coding, **OURS).headers, (
        "it is compressed already"
    )
    assert "content-encoding" not in get(home, "/healthz", coding, **OURS).headers, "it is too short"


@pytest.mark.parametrize(
    ("headers", "is_compressed"),
    [
        ({}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site", "cookie": f"{SESSION_COOKIE}=a"}, False),
        ({"referer": "http://evil.example/"}, False),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"cookie": f"{SESSION_COOKIE}=a"}, True),
        ({"authorization": f"Bearer {TOKEN}"}, True),
    ],
    ids=str,
)
def test_what_another_site_can_ask_for_is_not_compressed(
    home: Web, headers: dict[str, str], is_compressed: bool
) -> None:
    """Its length would tell how much of a text of that site is like a secret of the page (BREACH)."""
    signed_in = "cookie" not in headers
    for path in ("/device", "/log?host=guess", "/api/v1/openapi.json")[: 3 if signed_in else 1]:
        assert ("content-encoding" in get(home, path, **headers).headers) is is_compressed, path
    own_page = get(home, "/device", referer=f"{home.url}/device")
    assert own_page.headers["content-encoding"] == "gzip"


@pytest.mark.browser
def test_a_browser_gets_compressed_pages_and_other_sites_do_not(chromium: Browser, home: Web) -> None:
    page = chromium.new_page()
    answers: dict[str, Response] = {}

    def keep(answer: Response) -> None:
        answers[answer.url.removeprefix(home.url)] = answer

    page.on("response", keep)
    page.goto(f"{home.url}/people/mia", wait_until="load")
    texts = [answer for path, answer in answers.items() if not path.endswith(".png") and "hedgerow.svg" not in path]
    assert texts
    assert {answer.header_value("content-encoding") for answer in texts} <= {"gzip", "zstd"}
    page.route(
        "http://evil.example/",
        lambda route: route.fulfill(content_type="text/html", body=f"<a href='{home.url}/device?guess'>win</a>"),
    )
    page.goto("http://evil.example/")
    with page.expect_response(f"{home.url}/device?guess") as asked:
        page.get_by_role("link").click()
    assert asked.value.header_value("content-encoding") is None
    page.close()


def test_an_event_stream_is_neither_compressed_nor_held_back(home: Web) -> None:
    headers = {"accept-encoding": "gzip, zstd", **OURS}
    with httpx.stream(
        "GET", f"{home.url}/events", headers=headers, trust_env=False, timeout=30, verify=False
    ) as answer:
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_lines()) == "event: listening"


def test_a_download_in_pieces_is_compressed_piece_by_piece(home: Web) -> None:
    plain, packed = (get(home, "/people/mia/kept", each, **OURS) for each in ("identity", "gzip"))
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text


def test_a_refused_form_is_shown_again_to_a_browser_that_accepts_compression(home: Web) -> None:
    headers = {"accept-encoding": "gzip", "origin": home.url, "referer": f"{home.url}/people", **OURS}
    answer = httpx.post(
        f"{home.url}/people",
        data={"name": "Leo", "age": "x"},
        headers=headers,
        trust_env=False,
        verify=False,
        timeout=60,
    )
    assert (answer.status_code, answer.headers["content-encoding"]) == (422, "gzip")
    assert 'value="Leo"' in answer.text


def test_a_response_without_a_body_stays_without_one(home: Web) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "accept-encoding": "gzip"}
    with httpx.Client(base_url=home.url, headers=headers, trust_env=False, timeout=60, verify=False) as script:
        ended = script.post("/api/v1/resume", json={"person": "tom"})
        assert (ended.status_code, ended.content) == (204, b"")
        assert script.head("/people/mia").content == b""


def codings() -> Iterator[tuple[str, str | None]]:
    yield from (("", None), ("identity", None), ("br", None), ("*", None), ("GZIP", "gzip"), ("gzip;q=0.5", "gzip"))
    yield from (("gzip; q=0", None), ("gzip;q=0.000, zstd", "zstd"), (" gzip ,br", "gzip"), ("x-gzip", None))


@pytest.mark.parametrize(("accepted", "chosen"), list(codings()))
def test_the_coding_is_one_that_the_client_accepts(accepted: str, chosen: str | None) -> None:
    assert preferred_coding(accepted) == chosen


@given(st.lists(st.text(max_size=300), max_size=5), st.sampled_from(["gzip", "zstd", "identity"]))
def test_any_stream_arrives_as_it_was(pieces: list[str], coding: str) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        async def body() -> AsyncIterator[str]:
            for piece in pieces:
                yield piece

        await StreamingResponse(body(), media_type="text/plain")(scope, receive, send)  # type: ignore[arg-type]

    async def ask() -> str:
        transport = httpx.ASGITransport(CompressedResponses(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://pages", timeout=60) as client:
            return text_of(await client.get("/", headers={"accept-encoding": coding, **OURS}))

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, ask()).result() == "".join(pieces)
