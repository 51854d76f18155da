"""The process that gives one notice to its service by apprise. It imports next to nothing of ours: it is
started for each message. Its memory is bounded, since apprise reads a service's answer whole, however far it unpacks.

The notice comes in by standard input as JSON (`address`, `title`, `body`, `html`), and the exit status says what came of it.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.control.jobs import SMALL_MEMORY, confine

if TYPE_CHECKING:
    from apprise import NotifyBase

UNKNOWN, REFUSED = 3, 4


def send(address: str, title: str, body: str, html: str | None) -> int:
    """Returns the exit status: 0 where the service took it."""
    import apprise

    # What apprise says may hold the address.
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
    """As HTML where the service has room for it, else the plain text; with the HTML as a file where it takes files."""
    import apprise

    formats = service.notify_format if isinstance(service.notify_format, tuple) else (service.notify_format,)
    fits = apprise.NotifyFormat.HTML in formats[:1] and len(html) < service.body_maxlen
    content, form = (html, apprise.NotifyFormat.HTML) if fits else (body, apprise.NotifyFormat.TEXT)
    with tempfile.TemporaryDirectory(prefix="hedgerow-") as folder:
        file = Path(folder) / "the-week-at-home.html"
        file.write_text(html, encoding="utf-8")
        attach = apprise.AppriseAttachment(str(file)) if service.attachment_support else None
        return bool(service.notify(body=content, title=title, body_format=form, attach=attach))


if __name__ == "__main__":
    confine(SMALL_MEMORY)
    sys.exit(send(**json.load(sys.stdin.buffer)))
