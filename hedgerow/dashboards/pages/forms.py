"""Refused forms: the page of the form again, with what was typed in it and the problem beside its field.

The page is rendered as for any visitor, and `fill_form` puts back what was typed, so that templates need nothing for
it. Passwords are not put back. A problem with a form that has no field to correct stands at the top of the page.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import language_of, message

_PAGE = "form-page"
"""Field of a form that was shown again: the path and query of its page."""
_PASSING = frozenset({"saved", "done", "used", "asked", "switch", "to"})
"""Keys of a query that report the form before."""
_MAX_VALUES = 1000
type _Headers = Sequence[tuple[bytes, bytes]]
_LIMITS = {
    "string_too_long": message("Use at most %(max_length)s characters."),
    "greater_than_equal": message("Use a number of at least %(ge)s."),
    "less_than_equal": message("Use a number of at most %(le)s."),
    "int_parsing": message("Use a whole number."),
    "float_parsing": message("Use a whole number."),
    "missing": message("Fill in this field."),
}
"""Sentences for errors of pydantic, with the keys of their context."""


def problem_of(error: Mapping[str, Any]) -> InvalidInput:
    """Return an error of pydantic about a field of a form as a problem."""
    text = _LIMITS.get(error["type"], message("Choose one of the values that are offered."))
    return InvalidInput(text, **error.get("ctx", {})).at(str(error["loc"][-1]))


async def typed_fields(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a form in order. Files are closed and left out: no form of ours has one."""
    async with request.form() as form:
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


def refusal_of(request: HTTPConnection) -> InvalidInput | None:
    """Return the problem of the form for which a page is shown again, or None."""
    return getattr(request.state, "refusal", None)


async def show_again(request: Request, problem: InvalidInput) -> Response | None:
    """Answer a refused form with its page. Return None if there is none that the client may open."""
    if refusal_of(request) is not None:
        return None
    sent: dict[str, tuple[str, ...]] = {}
    typed = await typed_fields(request) if request.method == "POST" else request.query_params.multi_items()
    for name, value in typed[:_MAX_VALUES]:
        sent[name] = (*sent.get(name, ()), value)
    method, path, shown = request.method.lower(), request.scope["path"], list[tuple[str, str, _Headers]]()
    before = _page_before(request, next(iter(sent.get(_PAGE, ())), ""))
    for page in dict.fromkeys((before, before.partition("?")[0], nearest_page(request, quote(path)))):
        if (found := await _rendered(request, page, problem)) is not None:
            shown.append((page, *found))
            if any(each.receives(method, path) for each in _Forms(found[0]).forms):
                break
    else:
        shown = shown[:1]
    if not shown:
        return None
    page, text, headers = shown[-1]
    reader = language_of(request)
    text_of_problem = reader.gettext(problem.text, **problem.values)
    refused = RefusedForm(method, path, sent, page, text_of_problem, problem.field)
    filled = fill_form(text, refused, reader.gettext(message("Nothing was changed")))
    response = HTMLResponse(filled, problem.status)
    response.raw_headers += [pair for pair in headers if pair[0] not in (b"content-length", b"content-type")]
    return response


def nearest_page(request: HTTPConnection, path: str) -> str:
    """Return the page that the route of a form declares as its own, the path itself if it is a page's, else the nearest
    page above it: the form `/devices/name` is on `/devices`.
    """
    while path:
        found = [(route, route.path_regex.match(unquote(path))) for route in request.app.state.routes]
        for route, match in found:
            if match and route.page:
                return quote(route.page.format(**match.groupdict()))
        if any(match and "GET" in route.methods for route, match in found):
            return path
        path = path.rpartition("/")[0]
    return "/"


def _page_before(request: Request, shown_before: str) -> str:
    """Return path and query of the page from which a form came, or where it is if that is not known."""
    if request.method == "GET":
        return f"{quote(request.scope['path'])}?{request.url.query}"
    referrer = urlsplit(request.headers.get("referer", ""))
    place = referrer if referrer.netloc == request.headers.get("host") else urlsplit(quote(request.scope["path"]))
    place = urlsplit(shown_before) if shown_before.startswith("/") else place
    query = urlencode([pair for pair in parse_qsl(place.query) if pair[0] not in _PASSING])
    return nearest_page(request, place.path) + (f"?{query}" if query else "")


async def _rendered(request: Request, page: str, problem: InvalidInput) -> tuple[str, _Headers] | None:
    """Return the text and headers of a page as the client gets it, through the guard, or None if it gets none."""
    path, _, query = page.partition("?")
    headers = [pair for pair in request.scope["headers"] if not pair[0].startswith(b"content-")]
    own = {
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
    }
    is_page, body, headers_shown = False, bytearray(), list[tuple[bytes, bytes]]()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(part: MutableMapping[str, Any]) -> None:
        nonlocal is_page, body
        if part["type"] == "http.response.start":
            headers_shown.extend(part["headers"])
            is_page = part["status"] == 200 and (b"content-type", b"text/html; charset=utf-8") in headers_shown
        body += part.get("body", b"")

    await request.app({**request.scope, **own, "state": {"refusal": problem}}, receive, send)
    return (body.decode(), headers_shown) if is_page else None


@dataclass(frozen=True, slots=True)
class RefusedForm:
    """A form as it was sent to the decoded `path`.

    `page` is where it is shown, `problem` a sentence about its field `field`.

    Without a field, or with one that nobody sees, the first visible one is meant.
    """

    method: str
    path: str
    sent: Mapping[str, tuple[str, ...]]
    page: str
    problem: str
    field: str = ""


def fill_form(page: str, refused: RefusedForm, heading: str) -> str:
    """Return a page with a form as it was sent.

    `heading` is for a problem that stands at the top, as it concerns no field.
    """
    found = _Forms(page)
    form = max(
        (each for each in found.forms if each.receives(refused.method, refused.path)),
        key=lambda each: each.likeness(refused.sent),
        default=None,
    )
    fields = [each for each in form.fields if each.is_visible] if form is not None else []
    wrong = next((each for each in fields if each.name == refused.field), fields[0] if fields else None)
    edits: list[_Edit] = []
    if form is None or wrong is None:
        notice = f'<h2>{escape(heading)}</h2><p id="mistake">{escape(refused.problem)}</p>'
        edits.append(_Edit(found.main, found.main, f'<section class="card trouble" role="alert">{notice}</section>'))
    else:
        marks = {"aria-invalid": "true", "aria-describedby": "mistake", "autofocus": None}
        for each in form.fields:
            edits += each.filled(refused.sent.get(each.name, ()), marks if each is wrong else {})
        edits += [each.written({"open": None}) for each in wrong.folded]
        edits += [
            each.written({}, without={"autofocus"})
            for each in found.focused
            if each not in [own.tag for own in form.fields]
        ]
        edits.append(
            _Edit(
                wrong.after,
                wrong.after,
                f'<span class="mistake" id="mistake" role="alert">{escape(refused.problem)}</span>',
            )
        )
        edits.append(
            _Edit(form.start, form.start, f'<input type="hidden" name="{_PAGE}" value="{escape(refused.page)}">')
        )
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        page = page[: edit.start] + edit.text + page[edit.end :]
    return page


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replacement of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Tag:
    """A start tag at the characters from `start` to `end`."""

    name: str
    attributes: Mapping[str, str | None]
    start: int
    end: int

    def written(self, more: Mapping[str, str | None], *, without: Collection[str] = ()) -> _Edit:
        """Write the tag again with more attributes, and without others."""
        attributes = {**{name: value for name, value in self.attributes.items() if name not in without}, **more}
        texts = [name if value is None else f'{name}="{escape(value)}"' for name, value in attributes.items()]
        return _Edit(self.start, self.end, f"<{' '.join([self.name, *texts])}>")


@dataclass(slots=True)
class _Field:
    """A field of a form.

    A message about it belongs to the character `after`. `folded` are the tags that have to open to show it.

    `text_end` is where the text of a `textarea` ends.
    """

    tag: _Tag
    after: int
    folded: tuple[_Tag, ...]
    options: list[tuple[_Tag, str]] = field(default_factory=list)
    text_end: int = 0

    @property
    def name(self) -> str:
        return self.tag.attributes.get("name") or ""

    @property
    def kind(self) -> str:
        return (self.tag.attributes.get("type") or "text") if self.tag.name == "input" else self.tag.name

    @property
    def is_visible(self) -> bool:
        return self.kind not in ("hidden", "button") and "hidden" not in self.tag.attributes

    def filled(self, values: tuple[str, ...], marks: Mapping[str, str | None]) -> list[_Edit]:
        """Return the changes that put the sent values back."""
        if not self.is_visible:
            is_filled_by_script = self.kind == "hidden" and "value" not in self.tag.attributes
            return [self.tag.written({"value": values[0]})] if is_filled_by_script and values else []
        more = dict(marks)
        if self.kind in ("checkbox", "radio"):
            more |= {"checked": None} if (self.tag.attributes.get("value") or "on") in values else {}
        elif self.kind == "textarea":
            # browsers skip the first line break
            text = _Edit(self.tag.end, self.text_end, "\n" + escape(values[0] if values else ""))
            return [self.tag.written(more, without={"autofocus"}), text]
        elif self.kind not in ("password", "select"):
            more["value"] = values[0] if values else ""
        edits = [self.tag.written(more, without={"autofocus", "checked"})]
        for option, value in self.options:
            edits.append(option.written({"selected": None} if value in values else {}, without={"selected"}))
        return edits


@dataclass(slots=True)
class _Form:
    tag: _Tag
    fields: list[_Field] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.tag.end

    def receives(self, method: str, path: str) -> bool:
        """Return whether the form is sent by this method, in small letters, to this decoded path."""
        return (self.tag.attributes.get("method") or "get").lower() == method and unquote(
            urlsplit(self.tag.attributes.get("action") or "").path
        ) == path

    def likeness(self, sent: Mapping[str, tuple[str, ...]]) -> int:
        """Rate how well the sent fields suit: several forms of a page may have the same path."""
        hidden = [each for each in self.fields if each.kind == "hidden"]
        same = sum(
            1 if (each.tag.attributes.get("value") or "") in sent.get(each.name, ()) else -100 for each in hidden
        )
        return same + len({each.name for each in self.fields} & set(sent))


class _Forms(HTMLParser):
    """The forms of one of our own pages.

    `main` is where its content begins, `focused` are the fields with the focus.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.main = 0
        self.focused: list[_Tag] = []
        self._lines = [0]
        for line in page.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._open: _Form | None = None
        self._folded: list[_Tag] = []
        self._labelled: list[_Field] = []
        self._grouped: list[_Field] = []
        self._select: _Field | None = None
        self._elsewhere: list[tuple[str, _Field]] = []
        self._option: tuple[_Tag, list[str]] | None = None
        self.feed(page)
        self.close()
        for identifier, each in self._elsewhere:
            for form in self.forms:
                if form.tag.attributes.get("id") == identifier:
                    form.fields.append(each)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = self._at()
        found = _Tag(tag, dict(attrs), at, at + len(self.get_starttag_text() or ""))
        if "autofocus" in found.attributes:
            self.focused.append(found)
        match tag:
            case "main":
                self.main = found.end
            case "form":
                self._open = _Form(found)
                self.forms.append(self._open)
            case "details":
                self._folded.append(found)
            case "label":
                self._labelled = []
            case "fieldset":
                self._grouped = []
            case "option" if self._select is not None:
                self._option = (found, [])
            case "input" | "select" | "button" | "textarea":
                self._add(found)

    def _add(self, tag: _Tag) -> None:
        each = _Field(tag, tag.end, tuple(self._folded))
        self._select = each if tag.name == "select" else None
        self._labelled.append(each)
        self._grouped.append(each)
        if (elsewhere := tag.attributes.get("form")) is not None:
            self._elsewhere.append((elsewhere, each))
        elif self._open is not None:
            self._open.fields.append(each)

    def handle_data(self, data: str) -> None:
        if self._option is not None:
            self._option[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "form":
                self._open = None
            case "details" if self._folded:
                self._folded.pop()
            case "option" if self._option is not None and self._select is not None:
                option, texts = self._option
                value = option.attributes.get("value")
                self._select.options.append((option, "".join(texts).strip() if value is None else value))
                self._option = None
            case "select" if self._select is not None:
                self._select.after = self._at() + len("</select>")
                self._select = None
            case "textarea" if self._labelled:
                each = self._labelled[-1]
                each.text_end, each.after = self._at(), self._at() + len("</textarea>")
            case "label":
                for each in self._labelled:
                    each.after = self._at()
            case "fieldset":
                for each in self._grouped:
                    each.after = self._at() if each.kind in ("checkbox", "radio") else each.after

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column
