"""Notices to browsers: what a push service gets, what only the browser can read, and buttons that answer a request."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import http_ece
import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Page, expect
from small_internet.authority import Authority, server_context
from small_internet.browser import CHROMIUM, browser_for_pages
from web_server import NOW, Web

from hedgerow.app.control.notices.sender import GONE, REFUSED, send
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.push import PushKey, Subscription, parse_subscription, push_body
from hedgerow.dashboards.words.languages import language
from hedgerow.journal.outbox import NoticeRow
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import AccessRequest, DeviceId


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class PushService:
    """A push service (RFC 8030) that keeps what it is asked to deliver, and the browser behind it with its keys."""

    context: ssl.SSLContext
    status: int = 201
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = b"s" * 16

    def __post_init__(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.headers.append({name.lower(): value for name, value in self.headers.items()})
                service.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(service.status)
                self.send_header("location", "https://localhost/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.server.server_address[1]}"

    @property
    def subscription(self) -> Subscription:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return parse_subscription(
            f"{self.origin}/wpush/v2/abc", encoded(point), encoded(self.secret), "ana@mail.example"
        )

    def read(self, body: bytes) -> object:
        """What the browser makes of it."""
        return json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.secret, version="aes128gcm"))


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PushService]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.root))
    service = PushService(server_context(authority.leaf("localhost")))
    yield service
    service.server.shutdown()
    service.server.server_close()


def row(topic: str = "request") -> NoticeRow:
    return NoticeRow(
        1, NOW, "ana", topic, "tablet a.example", "mia asks for a.example.", 1, "waiting", 0, NOW, None, ""
    )


def asked(number: int, chore: str = "") -> RequestRow:
    return RequestRow(
        number, NOW, NOW, 1, DeviceId("tablet"), "mia", "" if chore else "a.example", "", "", "", "open", chore
    )


def test_a_notice_is_signed_for_the_service_and_readable_for_the_browser_only(
    service: PushService, tmp_path: Path
) -> None:
    key = PushKey(tmp_path / "notices" / "push.pem")
    body = push_body("Hedgerow: mia asks for a.example.", "mia asks for a.example.", (row(),), asked(7), language("de"))
    assert send(service.subscription.address, "unused", body, None, key.private_pem()) == 0
    (headers,), (sent,) = service.headers, service.bodies
    assert (headers["content-encoding"], headers["urgency"], int(headers["ttl"]) >= 3600) == ("aes128gcm", "high", True)
    assert b"a.example" not in sent
    told = service.read(sent)
    assert isinstance(told, dict)
    assert (told["request"], told["body"]) == (7, "mia asks for a.example.")
    assert [each["action"] for each in told["buttons"]] == ["hour", "deny", "today"]
    # RFC 8292: a signed statement for this service's origin, by the key that the browser subscribed to.
    fields = dict(part.strip().split("=", 1) for part in headers["authorization"].removeprefix("vapid ").split(","))
    assert fields["k"].rstrip("=") == key.public()
    head, claims, signature = fields["t"].split(".")
    said = json.loads(decoded(claims))
    assert (said["aud"], said["sub"]) == (service.origin, "mailto:ana@mail.example")
    raw = decoded(signature)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(fields["k"]))
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(("status", "outcome"), [(410, GONE), (404, GONE), (500, REFUSED), (307, REFUSED)])
def test_a_service_that_refuses_is_told_from_a_browser_that_left(
    service: PushService, tmp_path: Path, status: int, outcome: int
) -> None:
    service.status = status
    assert send(service.subscription.address, "", "{}", None, PushKey(tmp_path / "push.pem").private_pem()) == outcome
    assert len(service.bodies) == 1


def test_the_key_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "notices" / "push.pem"
    public = PushKey(path).public()
    assert PushKey(path).public() == public
    assert len(decoded(public)) == 65
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("endpoint", "p256dh", "auth"),
    [
        ("https://web.push.apple.com/x", encoded(b"x" * 65), encoded(b"x" * 16)),
        ("http://push.example/x", encoded(b"x" * 65), encoded(b"x" * 16)),
        ("https://push.example/x", encoded(b"x" * 64), encoded(b"x" * 16)),
        ("https://push.example/x", encoded(b"x" * 65), "###"),
        ("https://user:pw@push.example/x", encoded(b"x" * 65), encoded(b"x" * 16)),
        ("https://push.example/" + "x" * 1000, encoded(b"x" * 65), encoded(b"x" * 16)),
        ("https://[::1", encoded(b"x" * 65), encoded(b"x" * 16)),
    ],
)
def test_other_subscriptions_are_refused(endpoint: str, p256dh: str, auth: str) -> None:
    with pytest.raises(InvalidInput):
        parse_subscription(endpoint, p256dh, auth)


def test_the_longest_subscription_fits_the_address_book() -> None:
    endpoint = "https://push.example/".ljust(1000, "x")
    mailbox = "@mail.example".rjust(200, "x")
    assert len(parse_subscription(endpoint, encoded(b"x" * 65), encoded(b"x" * 16), mailbox).address) <= 2000
    with pytest.raises(InvalidInput):
        parse_subscription(endpoint, encoded(b"x" * 65), encoded(b"x" * 16), f"x{mailbox}")


def test_a_subscription_from_before_contacts_is_served(service: PushService, tmp_path: Path) -> None:
    old = {name: value for name, value in asdict(service.subscription).items() if name != "contact"}
    address = f"webpush://{encoded(json.dumps(old).encode())}"
    assert send(address, "", "{}", None, PushKey(tmp_path / "push.pem").private_pem()) == 0


def test_a_long_notice_fits_a_message_of_a_push_service() -> None:
    assert len(push_body("t" * 60, "ü" * 5000, (row(),), asked(1), language("ar")).encode()) < 3900


def test_a_chore_is_answered_with_yes_or_not_yet() -> None:
    told = json.loads(push_body("t", "b", (row(),), asked(7, "Read"), language("en")))
    assert [(button["action"], button["title"]) for button in told["buttons"]] == [
        ("today", "Yes"),
        ("deny", "Not yet"),
    ]


def test_several_notices_and_those_of_other_topics_have_no_buttons() -> None:
    for rows in ((row(), row()), (row("bypass"),)):
        assert "buttons" not in json.loads(push_body("t", "b", rows, asked(7), language("en")))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium itself: its headless shell shows no notices."""
    with browser_for_pages(program=CHROMIUM) as browser:
        yield browser


def until(page: Page, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


@pytest.mark.browser
def test_a_browser_subscribes_shows_a_request_and_answers_it_by_a_button(chromium: Browser, web: Web) -> None:
    web.recorder.add([AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "scratch.example")])
    web.recorder.flush()
    point = (
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    granted = {
        "endpoint": "https://web.push.apple.com/abc",
        "keys": {"p256dh": encoded(point), "auth": encoded(b"x" * 16)},
    }
    context = chromium.new_context(permissions=["notifications"])
    # There is no push service here to subscribe to: only that step is replaced.
    context.add_init_script(
        f"PushManager.prototype.subscribe = async () => ({{toJSON: () => ({json.dumps(granted)})}})"
    )
    page = context.new_page()
    page.goto(f"{web.url}/settings/notices")
    mailbox = page.get_by_label("Your mail address")
    assert mailbox.is_hidden()
    page.get_by_role("button", name="Switch on here").click()
    mailbox.fill("ana@home")  # a browser takes it for an address; Apple's service would not
    page.get_by_role("button", name="Switch on here").click()
    page.get_by_text("such as ana@mail.example").wait_for()
    mailbox.fill("ana@mail.example")
    page.get_by_role("button", name="Switch on here").click()
    page.get_by_text("in a browser", exact=True).wait_for()
    assert json.loads(web.post.sent[-1].body)["title"] == "Hedgerow: A test"
    assert "push.apple.com" not in page.content()
    page.get_by_role("button", name="Switch on here").click()
    mailbox.fill("ana@mail.example")
    page.get_by_role("button", name="Switch on here").click()
    until(page, lambda: len(web.post.sent) == 2)
    expect(page.get_by_text("in a browser", exact=True), "one browser is one recipient").to_have_count(1)

    devtools = context.new_cdp_session(page)
    registrations: list[str] = []
    devtools.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(each["registrationId"] for each in event["registrations"]),
    )
    devtools.send("ServiceWorker.enable")
    until(page, lambda: bool(registrations))
    active = "navigator.serviceWorker.ready.then((all) => all.active.state)"
    until(page, lambda: page.evaluate(active) == "activated")  # a message before that is lost
    told = push_body("Hedgerow: mia asks", "mia asks for scratch.example.", (row(),), asked(1), language("en"))
    devtools.send(
        "ServiceWorker.deliverPushMessage", {"origin": web.url, "registrationId": registrations[0], "data": told}
    )
    shown = "navigator.serviceWorker.ready.then(async (all) => (await all.getNotifications()).map((each) => each.title).join())"  # noqa: E501
    until(page, lambda: page.evaluate(shown) == "Hedgerow: mia asks")

    worker = context.service_workers[0]
    worker.evaluate(
        """async () => {
          const [notification] = await self.registration.getNotifications();
          self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action: "hour" }));
        }"""
    )
    until(page, lambda: page.evaluate(shown) == "Answered.")
    grants = web.control.reader.grants(NOW)
    assert [(grant.subject, grant.person) for grant in grants] == [("scratch.example", "mia")]
    body = "navigator.serviceWorker.ready.then(async (all) => (await all.getNotifications()).map((each) => each.body).join())"  # noqa: E501
    assert page.evaluate(body).startswith("scratch.example open for mia until ")

    page.goto(web.url)
    until(page, lambda: page.evaluate("caches.open('today').then((kept) => kept.match('/')).then(Boolean)"))
    assert page.locator("#offline").is_hidden()
    styles = "document.querySelector('link[rel=stylesheet]').href"
    until(page, lambda: page.evaluate(f"caches.open('shell').then((kept) => kept.match({styles})).then(Boolean)"))
    context.set_offline(True)
    page.goto(web.url)
    expect(page.locator("#offline")).to_be_visible()
    assert "Hedgerow does not answer" in page.locator("#offline").inner_text()
    # the style sheet was kept
    assert page.evaluate("getComputedStyle(document.querySelector('#offline')).borderTopWidth") != "0px"
    context.close()


def test_the_app_can_be_installed(web: Web) -> None:
    manifest = httpx.get(f"{web.url}/manifest.json", trust_env=False, verify=False, timeout=60)
    assert manifest.headers["content-type"].startswith("application/manifest+json")
    for icon in manifest.json()["icons"]:
        file = httpx.get(web.url + icon["src"], trust_env=False, verify=False, timeout=60)
        assert (file.status_code, file.headers["content-type"]) == (200, icon["type"])
        if icon["type"] == "image/png":
            assert file.content[16:20] == int(icon["sizes"].split("x")[0]).to_bytes(4)
    worker = httpx.get(f"{web.url}/service-worker.js", trust_env=False, verify=False, timeout=60)
    assert worker.headers["content-type"].startswith("text/javascript")
