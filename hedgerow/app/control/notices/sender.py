"""Sending of one notice by apprise, or to a browser by web push, as a process of its own.

It starts for each message and therefore imports almost nothing of ours. Its memory is limited, since apprise reads a
service's response whole. The notice is JSON on standard input (`address`, `title`, `body`, `html`, `push_key`, and
`local`, the policy's own names and networks); the exit status is the result. Where root starts Hedgerow, it can run
under a user id of its own, and says the same on standard output (`jobs.fork_job`).

The libraries connect by themselves, so each connection of the process is judged. A browser says where its push service
is, and whoever can add one is not an admin: it is on the internet.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from hedgerow.app.control.jobs import SMALL_MEMORY, limit_resources
from hedgerow.app.privileges import confine_job
from hedgerow.blocklists.outgoing_guard import OutgoingGuard, Reach, RefusedError, guard_connections
from hedgerow.confinement import forbid_inspection

if TYPE_CHECKING:
    from apprise import NotifyBase

UNKNOWN, REFUSED, GONE, INSIDE = 3, 4, 5, 6

_PUSH = "webpush://"
_PUSH_TTL_S, _TIMEOUT_S = 86400, 20
# where the subscription names nobody, since py_vapid wants a contact (RFC 8292, section 2.1)
_NO_CONTACT = "https://hedgerow.internal"


def send(address: str, title: str, body: str, html: str | None, push_key: str) -> int:
    """Return the exit status: 0 if the service accepted the notice."""
    if address.startswith(_PUSH):
        return _push(address.removeprefix(_PUSH), body, push_key)
    import apprise

    # Log lines of apprise may contain the address.
    logging.disable()
    asset = apprise.AppriseAsset(
        app_id="Hedgerow",
        app_desc="Hedgerow",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
        async_mode=False,
    )
    service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase):
        return UNKNOWN
    if html is None:
        return 0 if service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT) else REFUSED
    return 0 if _send_html(service, title, body, html) else REFUSED


def _push(subscription: str, body: str, key: str) -> int:
    """Encrypt a notice for a browser and post it to its push service (RFC 8030, 8291 and 8292)."""
    import base64

    from py_vapid import Vapid
    from pywebpush import WebPushException, webpush
    from requests import RequestException, Session

    found = json.loads(base64.urlsafe_b64decode(subscription + "=" * (-len(subscription) % 4)))
    keys = {"p256dh": found["p256dh"], "auth": found["auth"]}
    session = Session()
    session.max_redirects = 0
    signer = Vapid.from_pem(key.encode("ascii"))
    try:
        webpush(
            {"endpoint": found["endpoint"], "keys": keys},
            body.encode(),
            vapid_private_key=signer,
            vapid_claims={"sub": found.get("contact") or _NO_CONTACT},
            ttl=_PUSH_TTL_S,
            timeout=_TIMEOUT_S,
            headers={"Urgency": "high"},
            requests_session=session,
        )
    except WebPushException as error:
        return GONE if error.response is not None and error.response.status_code in (404, 410) else REFUSED
    except RequestException:
        return REFUSED
    return 0


def _send_html(service: NotifyBase, title: str, body: str, html: str) -> bool:
    """Send HTML if the service takes it at this length, else the text.

    Attach the HTML as a file if the service takes files.
    """
    import apprise
    from apprise.attachment.memory import AttachMemory

    formats = service.notify_format if isinstance(service.notify_format, tuple) else (service.notify_format,)
    fits = apprise.NotifyFormat.HTML in formats[:1] and len(html) < service.body_maxlen
    content, form = (html, apprise.NotifyFormat.HTML) if fits else (body, apprise.NotifyFormat.TEXT)
    file = AttachMemory(html.encode(), name="the-week-at-home.html", mimetype="text/html")  # type: ignore[no-untyped-call]
    attach = apprise.AppriseAttachment(file) if service.attachment_support else None
    return bool(service.notify(body=content, title=title, body_format=form, attach=attach))


if __name__ == "__main__":
    limit_resources(SMALL_MEMORY, data=SMALL_MEMORY // 8)
    confine_job()
    forbid_inspection()  # the address is a secret, and others may run under the same user id
    notice = json.load(sys.stdin.buffer)
    service = notice["address"].partition("://")[0].lower()
    # Services whose names end with s use TLS: then the certificate says whose server it is.
    innermost = Reach.INTERNET if service == _PUSH.removesuffix("://") else Reach.MACHINE
    guard_connections(
        OutgoingGuard(innermost, local=notice.pop("local")), notice["address"], is_encrypted=service.endswith("s")
    )
    try:
        status = send(**notice)
    except RefusedError:
        status = INSIDE
    sys.stdout.write(f"+{status}")
    sys.exit(status)
