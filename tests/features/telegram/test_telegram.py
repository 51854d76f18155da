"""Telegram, set up on the pages, with a server on this machine that speaks the Bot API, and notices as it gets them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise
import httpx
import pytest
from apprise.plugins.telegram import NotifyTelegram
from playwright.sync_api import expect
from small_internet.browser import browser_for_pages
from web_server import Web, running_web

from hedgerow.app.control.notices.event_notices import send_in_subprocess
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.telegram.bot_api import PUBLIC_SERVER, Bot, Chat, chat_in, parse_bot, username_of

TOKEN = "123456789:AAExampleExampleExampleExampleExamp"
PAGE = "/settings/notices/telegram"


def update(number: int, text: str, *, kind: str = "private", is_bot: bool = False, chat: int = 42) -> dict[str, Any]:
    """An Update with a Message (https://core.telegram.org/bots/api#update)."""
    sender = {"id": chat, "is_bot": is_bot, "first_name": "Ana", "last_name": "<b>Díaz</b>\n"}
    message = {"message_id": number, "from": sender, "chat": {"id": chat, "type": kind}, "date": 1, "text": text}
    return {"update_id": number, "message": message}


@dataclass
class BotServer:
    """A bot's messages that wait, those that it has sent, and what every method answers instead if there is one."""

    port: int = 0
    waiting: list[dict[str, Any]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None

    def answer(self, path: str, order: dict[str, Any]) -> tuple[int, object]:
        if self.refusal is not None:
            return self.refusal
        if not path.startswith(f"/bot{TOKEN}/"):
            return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
        match path.rpartition("/")[2]:
            case "getMe":
                result: object = {"id": 1, "is_bot": True, "first_name": "Home", "username": "our_home_bot"}
            case "getUpdates":
                assert order["timeout"] > 0, "long polling"
                assert order["allowed_updates"] == ["message"]
                result = [each for each in self.waiting if each["update_id"] >= order["offset"]]
            case "sendMessage":
                self.sent.append(order)
                result = {"message_id": 1}
            case _:
                return 404, {"ok": False, "error_code": 404, "description": "Not Found"}
        return 200, {"ok": True, "result": result}


@pytest.fixture
def bots() -> Iterator[BotServer]:
    bots = BotServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = bots.answer(self.path, order)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        bots.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield bots
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as web:
        yield web


@pytest.fixture
def parent(web: Web) -> Iterator[httpx.Client]:
    headers = {"origin": web.url, "accept-language": "en", "referer": f"{web.url}/settings/notices"}
    with httpx.Client(base_url=web.url, trust_env=False, timeout=30, headers=headers, verify=False) as browser:
        yield browser


def test_a_scan_leads_to_notices_in_telegram(
    web: Web, parent: httpx.Client, bots: BotServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    form = {"token": f" {TOKEN}\n", "server": f"http://127.0.0.1:{bots.port}"}
    shown = [unescape(parent.post(PAGE, data=form).text)]
    ((link, code),) = re.findall(r'href="(https://t\.me/our_home_bot\?start=([A-Za-z0-9_-]+))"', shown[0])
    assert len(link) - len("https://t.me/our_home_bot?start=") <= 64, "the limit of Telegram's links"
    bots.waiting += [update(7, "/start"), update(8, "/start another-code", chat=66)]
    waiting = parent.post(f"{PAGE}/chat", data={"code": code})
    assert waiting.status_code == 202, "nobody has started the bot with the code"
    assert code in waiting.text
    bots.waiting += [update(9, f"/start {code}", chat=42)]
    for _ in range(2):  # the page asks by itself while a person taps
        done = parent.post(f"{PAGE}/chat", data={"code": code})
        assert "Ana &lt;b&gt;Díaz&lt;/b&gt;" in done.text
    (test,) = web.post.sent
    assert asyncio.run(send_in_subprocess(test)) == ""
    assert (bots.sent[0]["chat_id"], bots.sent[0]["text"].splitlines()[0]) == (
        "42",
        "This is a test: notices reach you here.",
    )
    paths = ("/settings/notices", "/settings", "/changes", "/api/v1/notices", "/api/v1/policy")
    shown += [waiting.text, done.text, *(parent.get(path).text for path in paths)]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("hedgerow")]
    shown += [web.policy_path.read_text(), *logged]
    assert "telegram" in web.policy_path.read_text()
    assert not [text for text in shown if TOKEN in text or TOKEN.partition(":")[2] in text]
    assert stat.S_IMODE((web.policy_path.parent / "notices" / "telegram").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((401, {"ok": False, "error_code": 401}), "Telegram does not know this token"),
        ((409, {"ok": False, "error_code": 409}), "Another program uses this bot"),
        ((429, {"ok": False, "error_code": 429, "parameters": {"retry_after": 9}}), "Telegram asks to wait"),
        ((502, {}), "Telegram did not accept this"),
        ((302, {}), "Telegram did not accept this"),
        ((200, {"ok": True, "result": {"username": "a b"}}), "not one of Telegram"),
        ((200, {"ok": True, "result": "x" * (2 << 20)}), "not one of Telegram"),
    ],
)
def test_what_the_server_refuses_is_said_in_a_sentence(bots: BotServer, refusal: Any, sentence: str) -> None:
    bots.refusal = refusal
    with pytest.raises(InvalidInput, match=sentence) as refused:
        username_of(Bot(f"http://127.0.0.1:{bots.port}", TOKEN))
    assert TOKEN not in str(refused.value)


def test_refused_forms_change_nothing_and_do_not_show_the_token(web: Web, parent: httpx.Client) -> None:
    for form, field_name in (
        ({"token": TOKEN, "server": "ftp://a"}, "server"),
        ({"token": "abc"}, "token"),
        ({"token": TOKEN, "server": "http://127.0.0.1:9"}, ""),
    ):
        refused = parent.post(PAGE, data=form)
        assert refused.status_code == 422
        assert TOKEN not in refused.text
        assert not field_name or re.search(rf'<input name="{field_name}"[^>]*aria-invalid="true"', refused.text)
    assert "no longer valid" in parent.post(f"{PAGE}/chat", data={"code": "x"}).text
    assert not web.control.policy().notices


def test_only_a_person_in_a_private_chat_with_the_code_counts() -> None:
    good = update(5, "/start code")
    strange: list[Any] = [1, {}, {"update_id": "x"}, {"update_id": 4, "message": 5}, {"update_id": 6, "message": {}}]
    strange += [
        update(2, "/start code", kind="group"),
        update(3, "/start code", is_bot=True),
        update(4, "/start codes"),
    ]
    late = update(5, "/start code", chat=43)
    assert chat_in([*strange, good, late], "code", 0) == (Chat(42, "Ana <b>Díaz</b>"), 6)
    assert chat_in(strange, "code", 9) == (None, 9)
    assert chat_in({"no": "list"}, "code", 1) == (None, 1)


def test_the_public_server_is_reached_by_the_address_of_apprise() -> None:
    service = apprise.Apprise.instantiate(parse_bot(TOKEN).address_of(-42))
    assert isinstance(service, NotifyTelegram)
    assert service.bot_token == TOKEN
    assert [str(target[0]) for target in service.targets] == ["-42"]
    assert PUBLIC_SERVER == "https://api.telegram.org"


@pytest.mark.parametrize("token", ["", "123456", "123:short", "123456:" + "a" * 35 + "/../x", f"{TOKEN}\n{TOKEN}"])
def test_other_texts_are_no_tokens(token: str) -> None:
    with pytest.raises(InvalidInput):
        parse_bot(token)


@pytest.mark.browser
def test_the_page_with_the_code_goes_on_by_itself(web: Web, bots: BotServer) -> None:
    with browser_for_pages() as browser:
        page = browser.new_page(locale="en")
        page.goto(f"{web.url}/settings/notices")
        card = page.locator("section", has=page.get_by_role("heading", name="With Telegram"))
        card.get_by_label("The bot's token").fill(TOKEN)
        card.locator("summary").click()
        card.get_by_label("Server").fill(f"http://127.0.0.1:{bots.port}")
        card.get_by_role("button", name="Set up Telegram").click()
        code = page.locator("input[name=code]").get_attribute("value")
        bots.waiting += [update(9, f"/start {code}")]
        expect(page.locator("main")).to_contain_text("Notices go to Ana", timeout=30_000)
