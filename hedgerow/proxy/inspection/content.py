"""What the inspector does about content: asks origins for what it can read and what is safe, and puts a watch on answers."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from mitmproxy import http

from hedgerow.policies.model import Decision, Reason, SafeSearch, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.inspection.engine.http_stream import REFUSAL_KEY, SCANNER_KEY
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm, response_form
from hedgerow.proxy.scanners.decoding import SUPPORTED_CODINGS
from hedgerow.proxy.scanners.scanner import declared_file_kind, scanner_for
from hedgerow.proxy.scanners.words import PhraseMatcher

_HELP_SEEN = "hedgerow-help=seen"
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
    if codings and (ruleset.content.files or (ruleset.content.page_limit and form(fields) in {ResponseForm.PAGE, ResponseForm.FRAME})):
        readable = [each.strip() for each in codings.split(",") if each.partition(";")[0].strip().lower() in SUPPORTED_CODINGS]
        fields["Accept-Encoding"] = ", ".join(readable) or "identity"


def watch(
    flow: http.HTTPFlow,
    url: str,
    ruleset: Ruleset,
    phrases: PhraseMatcher,
    refuse: Callable[[Decision], ProxyResponse],
    on_page_scanned: Callable[[str], None],
) -> None:
    """Have the answer to a request for `url`, which was let through, watched where the policy says something about content."""
    rules, response = ruleset.content, flow.response
    if response is None or not (rules.page_limit or rules.files) or response.status_code in _BODILESS or response.status_code < 200:
        return
    fields = response.headers
    media, disposition = fields.get("content-type", ""), fields.get("content-disposition", "")
    kind = declared_file_kind(rules, url, media, disposition)
    if kind is not None:
        flow.metadata[REFUSAL_KEY] = refuse(Decision(Verdict.BLOCK, Reason.FILE, kind))
        return
    coding = fields.get("content-encoding", "")
    found = scanner_for(
        rules, phrases, media, coding, refuse, on_page_scanned, is_document=is_document(flow.request.headers),
        is_saved="attachment" in disposition.lower(),
    )  # fmt: skip
    if found is not None:
        flow.metadata[SCANNER_KEY] = found


def url_after_help(url: str) -> str:
    """The address of the search once the help was seen."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{_HELP_SEEN}"))


def strip_help_mark(flow: http.HTTPFlow) -> bool:
    """Whether help was seen already; the mark that says so is taken off the request."""
    path = flow.request.path.replace(f"&{_HELP_SEEN}", "")
    is_marked = path != flow.request.path
    if is_marked:
        flow.request.path = path
    return is_marked


def is_document(fields: http.Headers) -> bool:
    """Whether a browser asks for what it will show by itself: it says so, or, an old one, that it takes HTML."""
    return form(fields) in {ResponseForm.PAGE, ResponseForm.FRAME} and (
        "sec-fetch-dest" in fields or "text/html" in fields.get("accept", "")
    )


def form(fields: http.Headers) -> ResponseForm:
    """In which form the one who asks with these fields can take an answer."""
    return response_form(
        fields.get("sec-fetch-dest", ""), fields.get("accept", ""), fields.get("x-requested-with", ""), fields.get("sec-fetch-mode", "")
    )
