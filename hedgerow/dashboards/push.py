"""Web push: subscriptions of browsers as addresses of notices, and the key by which push services know this
installation.

A notice is encrypted for the browser (RFC 8291), so that the push service (Google's, Mozilla's, Apple's …) learns that
there was one and nothing else. It is sent by `app.control.notices.sender`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from hedgerow.dashboards.address_book import MAILBOX
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.files import make_private_folder, write_atomically
from hedgerow.journal.outbox import NoticeRow
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import GrantDuration
from hedgerow.policies.notices import NoticeTopic

PUSH_SCHEME = "webpush"
# octets of an uncompressed point of P-256, and of the authentication secret (RFC 8291, section 3.2)
_POINT, _SECRET = 65, 16
_MAILBOX_LIMIT = 200
_TEXT_LIMIT = 2000  # octets: a message has 4096 at most (RFC 8030, section 7.2), with buttons and encryption


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser's subscription (Push API): the URL to post to, and two values in base64url for the encryption.

    `contact` is the URL by which the push service can reach whoever sends (RFC 8292, section 2.1), empty if nobody is
    named.
    """

    endpoint: str
    p256dh: str
    auth: str
    contact: str = ""

    @property
    def address(self) -> str:
        """The address as the address book keeps it."""
        return f"{PUSH_SCHEME}://{_encode(json.dumps(asdict(self)).encode())}"


def is_push_address(address: str) -> bool:
    """Return whether an address is a browser's subscription."""
    return address.startswith(f"{PUSH_SCHEME}://")


def push_endpoint(address: str) -> str:
    """Return the URL to which an address posts, empty if it is no browser's subscription."""
    if not is_push_address(address):
        return ""
    try:
        return str(json.loads(_decode(address.removeprefix(f"{PUSH_SCHEME}://")))["endpoint"])
    except (ValueError, KeyError, TypeError):
        return ""


def parse_subscription(endpoint: str, p256dh: str, auth: str, mailbox: str = "") -> Subscription:
    """Check what a browser sent. Raises `InvalidInput`.

    Apple's service refuses notices of senders that name no mail address or URL that exists (its answer is 403,
    `BadJwtToken`).
    """
    try:
        url = urlsplit(endpoint)
        is_complete = url.scheme == "https" and url.hostname and not url.username and not url.fragment
        point, secret = _decode(p256dh), _decode(auth)
    except ValueError:
        is_complete, point, secret = False, b"", b""
    if not is_complete or len(endpoint) > 1000 or (len(point), len(secret)) != (_POINT, _SECRET):
        raise InvalidInput(message("This browser did not say where to send notices. Try again."))
    mailbox = mailbox.strip()
    needs_mailbox = (urlsplit(endpoint).hostname or "").endswith(".push.apple.com")
    if not (MAILBOX.fullmatch(mailbox) and len(mailbox) <= _MAILBOX_LIMIT if mailbox else not needs_mailbox):
        raise InvalidInput("Enter a mail address such as ana@mail.example.").at("mailbox")
    return Subscription(endpoint, p256dh, auth, f"mailto:{mailbox}" if mailbox else "")


class PushKey:
    """The installation's key pair for push services (VAPID, RFC 8292), made at its first use, in a file that only its
    owner can read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def private_pem(self) -> str:
        """Return the private key. Raises OSError."""
        try:
            return self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            key = ec.generate_private_key(ec.SECP256R1())
            make_private_folder(self._path.parent)
            write_atomically(self._path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            return self._path.read_text(encoding="ascii")

    def public(self) -> str:
        """Return the public key as browsers want it: an uncompressed point in base64url.

        Raises OSError and ValueError.
        """
        key = load_pem_private_key(self.private_pem().encode("ascii"), None)
        return _encode(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@dataclass(frozen=True, slots=True)
class NoticeButton:
    """A button of a notice, which sends a form of the pages."""

    title: str
    path: str
    form: Mapping[str, str]


def push_body(
    title: str,
    text: str,
    rows: tuple[NoticeRow, ...],
    request: RequestRow | None,
    reader: Language,
    answers: Sequence[NoticeButton] = (),
) -> str:
    """Return the JSON that the service worker shows: a title, a text and, for one notice, buttons that answer it.

    They are `answers`, or those of an open `request`.
    """
    body: dict[str, object] = {
        "title": title,
        "body": text.encode()[:_TEXT_LIMIT].decode(errors="ignore"),
        "language": reader.code,
    }
    if len(rows) == 1 and rows[0].topic == NoticeTopic.REQUEST and request is not None:
        # Browsers show two buttons; a tap on the notice itself opens the page with all of them.
        allow, deny, longer = message("Allow for an hour"), message("No"), message("Allow today")
        body["request"] = request.id
        buttons = [(GrantDuration.HOUR.value, allow), ("deny", deny), (GrantDuration.TODAY.value, longer)]
        if request.chore:
            buttons = [(GrantDuration.TODAY.value, message("Yes")), ("deny", message("Not yet"))]
        body["buttons"] = [{"action": action, "title": reader.gettext(title)} for action, title in buttons]
    elif len(rows) == 1 and answers:
        body["buttons"] = [{"action": str(number), "title": each.title} for number, each in enumerate(answers)]
        body["answers"] = [{"path": each.path, "form": dict(each.form)} for each in answers]
    if "buttons" in body:
        body["done"] = reader.gettext(message("Answered."))
    return json.dumps(body, ensure_ascii=False)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
