"""Sending of one notice by apprise, as a process of its own.

It starts for each message and therefore imports almost nothing of ours. Its memory is limited, since apprise reads a service's response
whole. The notice is JSON on standard input (`address`, `title`, `body`, `html`); the exit status is the result.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from hedgerow.app.control.jobs import SMALL_MEMORY, limit_resources
from hedgerow.app.privileges import confine_job

if TYPE_CHECKING:
    from apprise import NotifyBase

UNKNOWN, REFUSED = 3, 4


def send(address: str, title: str, body: str, html: str | None) -> int:
    """Return the exit status: 0 if the service accepted the notice."""
    import apprise

    # Log lines of apprise may contain the address.
    logging.disable()
    asset = apprise.AppriseAsset(
        app_id="Hedgerow", app_desc="Hedgerow", app_url="", image_url_mask="", image_url_logo="", image_path_mask="", async_mode=False
    )
    service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase):
        return UNKNOWN
    if html is None:
        return 0 if service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT) else REFUSED
    return 0 if _send_html(service, title, body, html) else REFUSED


def _send_html(service: NotifyBase, title: str, body: str, html: str) -> bool:
    """Send HTML if the service takes it at this length, else the text. Attach the HTML as a file if the service takes files."""
    import apprise
    from apprise.attachment.memory import AttachMemory

    formats = service.notify_format if isinstance(service.notify_format, tuple) else (service.notify_format,)
    fits = apprise.NotifyFormat.HTML in formats[:1] and len(html) < service.body_maxlen
    content, form = (html, apprise.NotifyFormat.HTML) if fits else (body, apprise.NotifyFormat.TEXT)
    file = AttachMemory(html.encode(), name="the-week-at-home.html", mimetype="text/html")  # type: ignore[no-untyped-call]
    attach = apprise.AppriseAttachment(file) if service.attachment_support else None
    return bool(service.notify(body=content, title=title, body_format=form, attach=attach))


if __name__ == "__main__":
    limit_resources(SMALL_MEMORY)
    confine_job()
    sys.exit(send(**json.load(sys.stdin.buffer)))
