"""What the inspector does about content: asks origins for what it can read and what is safe, and puts a watch on answers."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from mitmproxy import http

from hedgerow.policies.model import Decision, Reason, SafeSearch, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.inspection.body_watch import file_kind, watch_of
from hedgerow.proxy.inspection.engine.held_stream import REFUSAL, WATCH
from hedgerow.proxy.pages.answer import Answer, Form, form_of
from hedgerow.proxy.reading.codings import READABLE
from hedgerow.proxy.reading.page_scan import PhraseBook

_SEEN = "hedgerow-help=seen"
_BODILESS = frozenset({204, 304})


def prepare(flow: http.HTTPFlow, ruleset: Ruleset) -> None:
    """Change a request that is let through so that its answer can be looked at, and so that the origin knows to be careful."""
    fields = flow.request.headers
    if ruleset.safe_search is not SafeSearch.OFF:  # RFC 8674
        wishes = fields.get("prefer", "")
        if "safe" not in [each.strip().lower() for each in wishes.split(",")]:
            fields["Prefer"] = f"{wishes}, safe" if wishes else "safe"
    if ruleset.content.tenants is not None:
        for host in {flow.request.host, flow.request.pretty_host}:
            for name, value in ruleset.content.tenants.fields_for(host.lower().rstrip(".")):
                fields[name] = value
    codings = fields.get("accept-encoding", "")
    if codings and (ruleset.content.files or (ruleset.content.page_limit and form(fields) in {Form.PAGE, Form.FRAME})):
        readable = [each.strip() for each in codings.split(",") if each.partition(";")[0].strip().lower() in READABLE]
        fields["Accept-Encoding"] = ", ".join(readable) or "identity"


def watch(
    flow: http.HTTPFlow,
    url: str,
    ruleset: Ruleset,
    book: PhraseBook,
    refuse: Callable[[Decision], Answer],
    weighed: Callable[[str], None],
) -> None:
    """Have the answer to a request for `url`, which was let through, watched where the policy says something about content."""
    rules, response = ruleset.content, flow.response
    if response is None or not (rules.page_limit or rules.files) or response.status_code in _BODILESS or response.status_code < 200:
        return
    fields = response.headers
    media, disposition = fields.get("content-type", ""), fields.get("content-disposition", "")
    kind = file_kind(rules, url, media, disposition)
    if kind is not None:
        flow.metadata[REFUSAL] = refuse(Decision(Verdict.BLOCK, Reason.FILE, kind))
        return
    coding = fields.get("content-encoding", "")
    found = watch_of(
        rules, book, media, coding, refuse, weighed, is_document=is_document(flow.request.headers),
        is_saved="attachment" in disposition.lower(),
    )  # fmt: skip
    if found is not None:
        flow.metadata[WATCH] = found


def after_help(url: str) -> str:
    """The address of the search once the help was seen."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{_SEEN}"))


def take_off_mark(flow: http.HTTPFlow) -> bool:
    """Whether help was seen already; the mark that says so is taken off the request."""
    path = flow.request.path.replace(f"&{_SEEN}", "")
    is_marked = path != flow.request.path
    if is_marked:
        flow.request.path = path
    return is_marked


def is_document(fields: http.Headers) -> bool:
    """Whether a browser asks for what it will show by itself: it says so, or, an old one, that it takes HTML."""
    return form(fields) in {Form.PAGE, Form.FRAME} and ("sec-fetch-dest" in fields or "text/html" in fields.get("accept", ""))


def form(fields: http.Headers) -> Form:
    """In which form the one who asks with these fields can take an answer."""
    return form_of(
        fields.get("sec-fetch-dest", ""), fields.get("accept", ""), fields.get("x-requested-with", ""), fields.get("sec-fetch-mode", "")
    )
