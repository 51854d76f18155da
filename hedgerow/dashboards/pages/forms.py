"""Forms of the pages, as templates write them, and refused forms.

The page of a refused form is shown again, with what was typed in it and the problem next to its field. Its templates
write it, with the same calls as without a refusal. Passwords are not put back, which is said next to them. A problem
with a form that has no field to correct is at the top of the page.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from fastapi import Request
from markupsafe import Markup, escape
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import Message

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.pages.shown_values import ShownValues, overwritten, parse_shown, untouched
from hedgerow.dashboards.words.languages import language_of, message, with_code

LOCAL_PATH = re.compile(r"/(?:[\w.%~-]+(?:/[\w.%~-]+)*)?", re.ASCII)
"""Redirect targets on this server, never on another machine."""
AGAIN = "again-"
"""First characters of fields of the page that asks for the password again, which belong to no other form."""
SURE = "sure"
"""Field by which a form says that somebody was asked."""
FORM_PAGE = "form-page"
"""Field of a form that was shown again, or after a question: the path and query of its page."""
_SHOWN = "form-shown"
"""Field of a form that edits a setting: what it showed."""
_SECRET_NOTE = message("What is secret is not shown again: type it once more.")
CHANGED_MEANWHILE = message("Somebody has changed this meanwhile. Look at it, and save again.")
_NO_PROBLEM = Markup()
_PASSING = frozenset({"saved", "done", "used", "asked", "switch", "to", "ended", "ends"})
"""Keys of a query that report the form before."""
_FLAGS = frozenset({"autofocus", "checked", "disabled", "hidden", "open", "required", "selected"})
"""Attributes without a value."""
_MAX_VALUES, _MAX_NAME = 1000, 100
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
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return [(name, value) for name, value in fields if not name.startswith(AGAIN)]


async def waiting_fields(request: Request, without: str = "") -> list[tuple[str, str]]:
    """Return the fields of a form that is sent later, after a question, but for one. The page that it has is added."""
    fields = await typed_fields(request)
    page = dict(fields).get(FORM_PAGE) or page_before(request)
    return [*((name, value) for name, value in fields if name not in (without, FORM_PAGE)), (FORM_PAGE, page)]


async def was_asked(request: Request) -> bool:
    """Return whether a form says that somebody was asked."""
    return any(name == SURE for name, _ in await typed_fields(request))


def refusal_of(request: HTTPConnection) -> InvalidInput | None:
    """Return the problem of the form for which a page is shown again, or None."""
    return getattr(request.state, "refusal", None)


def forms_of(request: HTTPConnection) -> FormWriter:
    """Return what writes the forms of a page."""
    return getattr(request.state, "forms", None) or FormWriter()


async def show_again(request: Request, problem: InvalidInput) -> Response | None:
    """Answer a refused form with its page. Return None if there is none that the client may open."""
    if refusal_of(request) is not None:
        return None
    text = language_of(request).gettext(problem.text, **problem.values)
    refused, pages = await _sent_form(request, with_code(text), problem.field if problem.of_form else None)
    first = None
    for page in pages:
        forms = FormWriter(refused, page)
        shown = await _shown(request, page, {"refusal": problem, "forms": forms}, problem.status)
        if shown is not None and forms.is_found:
            return shown
        first = first or shown
    return first


async def refuse_outdated(request: Request) -> None:
    """Refuse a form that would change back what somebody else has changed after its page was shown.

    The form is looked for in its page as it is now. Those without the field that says what they showed are admitted.
    """
    if request.method != "POST":
        return
    sent, pages = await _sent_form(request)
    for page in pages if sent.shown else ():
        forms = FormWriter(sent, page)
        if await _shown(request, page, {"forms": forms}) is not None and forms.is_found:
            if forms.overwritten is not None:
                raise InvalidInput(CHANGED_MEANWHILE).at(forms.overwritten)
            return


async def untouched_fields(request: Request) -> frozenset[str]:
    """Return the names of fields that a form sends as they were shown."""
    sent, _ = await _sent_form(request)
    return untouched(sent.shown, sent.sent)


async def _sent_form(
    request: Request, problem: Markup = _NO_PROBLEM, field: str | None = ""
) -> tuple[SentForm, Collection[str]]:
    """Return a form as it was sent, and the pages that may have it."""
    sent: dict[str, tuple[str, ...]] = {}
    typed = await typed_fields(request) if request.method == "POST" else request.query_params.multi_items()
    for name, value in typed[:_MAX_VALUES]:
        sent[name] = (*sent.get(name, ()), value)
    sent.pop(SURE, None)  # the page's form has no such field, and the question comes again
    shown = parse_shown(next(iter(sent.pop(_SHOWN, ())), ""))
    request.state.form_page = next(iter(sent.pop(FORM_PAGE, ())), "")
    before = page_before(request)
    note = language_of(request).gettext(_SECRET_NOTE)
    refused = SentForm(request.method.lower(), request.scope["path"], sent, problem, field, shown, note)
    nearest = nearest_page(request, quote(refused.path))
    # Some pages have the form of what their address names, such as the policy of a group: the form names it too.
    query = urlencode([(name, each[0]) for name, each in sent.items() if len(each[0]) <= _MAX_NAME])
    return refused, dict.fromkeys((before, before.partition("?")[0], nearest, f"{nearest}?{query}"))


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


def page_before(request: HTTPConnection) -> str:
    """Return path and query of the page from which a form came, or where it is if that is not known.

    A form that was shown again, or after a question, names its page itself.
    """
    if request.scope["method"] == "GET":
        return f"{quote(request.scope['path'])}?{request.url.query}"
    referrer = urlsplit(request.headers.get("referer", ""))
    named = urlsplit(getattr(request.state, "form_page", ""))
    place = named if named.path else referrer if referrer.netloc == request.headers.get("host") else urlsplit("")
    path = place.path if LOCAL_PATH.fullmatch(place.path) else quote(request.scope["path"])
    query = urlencode([pair for pair in parse_qsl(place.query) if pair[0] not in _PASSING])
    return nearest_page(request, path) + (f"?{query}" if query else "")


async def _shown(request: Request, page: str, state: dict[str, Any], status: int = 200) -> Response | None:
    """Return a page with another status, or None if the client may not open it.

    Its route is called directly.
    """
    path, _, query = page.partition("?")
    decoded = unquote(path)
    admission = request.state.admission_of_page(decoded)
    routes = (each for each in request.app.state.routes if "GET" in each.methods and each.path_regex.match(decoded))
    if admission.status != 200 or (route := next(routes, None)) is None:
        return None
    own = {"method": "GET", "path": decoded, "raw_path": path.encode(), "query_string": query.encode()}
    parts = list[Message]()

    async def keep(part: Message) -> None:
        parts.append(part)

    scope = {**request.scope, **own, "state": {**state, "principal": admission.principal}}
    await route.handle(scope, request.receive, keep)
    if parts[0]["status"] != 200 or (b"content-type", b"text/html; charset=utf-8") not in parts[0]["headers"]:
        return None
    response = HTMLResponse(b"".join(part.get("body", b"") for part in parts), status)
    response.raw_headers += [
        pair for pair in parts[0]["headers"] if pair[0] not in (b"content-length", b"content-type")
    ]
    return response


@dataclass(frozen=True, slots=True)
class SentForm:
    """A form as it was sent to the decoded `path`. `problem` is a sentence about its field `field`.

    Without a field, or with one that nobody sees, the first visible one is meant, and with None the whole page.
    `shown` is what `ShownValues` said when its page was shown. `secret_note` is shown next to secrets.
    """

    method: str
    path: str
    sent: Mapping[str, tuple[str, ...]]
    problem: Markup
    field: str | None = ""
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secret_note: str = ""


@dataclass(slots=True)
class _Fields:
    """Names of the visible and of all fields of a form, and what its hidden ones send."""

    visible: list[str] = dataclasses.field(default_factory=list)
    names: set[str] = dataclasses.field(default_factory=set)
    hidden: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def can_send(self, refused: SentForm) -> bool:
        """Return whether this is the form that was refused, of several with the same address on a page."""
        is_same = all(value in refused.sent.get(name, (value,)) for name, value in self.hidden)
        return is_same and (refused.method == "get" or self.names.issuperset(filter(None, refused.sent)))


class FormWriter:
    """The forms of a page, as its templates write them with the functions in `calls`.

    `page` is the path and query of the page, and `sent` what the refused form sent. `is_found` is set once that form is
    written, and `overwritten` is then the field of somebody else's change that it would change back, or an empty text
    if no field shows that change.

    Attributes of elements are keywords, with `_` for `-`. Those that are None or False are left out.
    """

    def __init__(self, refused: SentForm | None = None, page: str = "") -> None:
        self._refused, self._page = refused, page
        self.sent: Mapping[str, tuple[str, ...]] = {} if refused is None else refused.sent
        self.is_found = self._is_shown = self._is_due = False
        self.overwritten: str | None = None
        self._untouched = frozenset[str]() if refused is None else untouched(refused.shown, refused.sent)
        self._shown, self._options = ShownValues(), list[str]()
        self._tried: _Fields | None = None
        self._filled: SentForm | None = None
        self._wrong: str | None = None
        self._chosen: tuple[str, ...] = ()
        self.calls: dict[str, Callable[..., object]] = {
            "post_form": partial(self._form, "post"),
            "get_form": partial(self._form, "get"),
            "input": self.input,
            "textarea": self.textarea,
            "select": self.select,
            "option": self.option,
            "fold": self.fold,
            "mistake": self.mistake,
            "was_sent": self.was_sent,
            "unplaced_problem": self.unplaced_problem,
        }

    def _form(
        self,
        method: str,
        action: str,
        *,
        caller: Callable[[], Markup],
        sends: str | Collection[str] = (),
        setting: bool = False,
        merges: bool = False,
        state: object = None,
        **own: object,
    ) -> Markup:
        """Write a form with the fields that the block has.

        Arguments:
            sends: what it sends besides, by its buttons and by fields outside.
            setting: refuse the form if its fields were changed after its page was shown.
            merges: its endpoint leaves fields as they are that are sent as they were shown.
            state: what the form changes besides its fields, for `setting`.
        """
        written = f' method="{method}" action="{escape(action)}"{_attributes(own)}'
        self._shown = ShownValues(state)
        if self._refused is None or not self._finds(self._refused, method, action, caller, sends):
            body = caller()
            return _element("form", written, self._hidden(setting, _SHOWN, self._shown.encoded()) + body)
        shown, self._shown = self._shown, ShownValues()
        lost = overwritten(self._refused.shown, shown.digests, self._refused.sent, merges=merges)
        self.overwritten = lost[0] if setting and lost else None
        self._filled = self._refused
        hidden = self._hidden(setting, _SHOWN, shown.encoded()) + self._hidden(bool(self._wrong), FORM_PAGE, self._page)
        body = hidden + caller() + self.mistake()
        self._filled = None
        return _element("form", written, body)

    @staticmethod
    def _hidden(is_written: bool, name: str, value: str) -> Markup:
        attributes = _attributes({"type": "hidden", "name": name, "value": value})
        return _element("input", attributes) if is_written else Markup()

    def _finds(
        self,
        refused: SentForm,
        method: str,
        action: str,
        caller: Callable[[], Markup],
        sends: str | Collection[str],
    ) -> bool:
        """Return whether a form is the refused one, and choose its wrong field."""
        if self.is_found or (method, unquote(urlsplit(action).path)) != (refused.method, refused.path):
            return False
        self._tried = fields = _Fields(names={sends} if isinstance(sends, str) else set(sends))
        caller()  # for the names of its fields
        self._tried = None
        hidden = {name for name, _ in fields.hidden}
        is_button = not fields.visible and refused.field in fields.names - hidden
        self.is_found = fields.can_send(refused) and not is_button  # a form with a field of that name may follow
        wrong = refused.field if refused.field in fields.visible else next(iter(fields.visible), None)
        self._wrong = wrong if self.is_found and refused.field is not None else None
        return self.is_found

    def input(self, *, changes: bool = False, apart: bool = False, **own: Any) -> Markup:
        """Write an `input`. `changes` is for one whose value is another on each page.

        `apart`: the template says where a problem is written, as it does for a checkbox or radio button.
        """
        if not changes:
            self._note(own)
        if self._refused is None:
            return _element("input", _attributes(own))
        kind, (sent, marks) = own.get("type", "text"), self._sent(own, changes=changes)
        own |= marks
        if sent is not None:
            if kind in ("checkbox", "radio"):
                own["checked"] = str(own.get("value", "on")) in sent
            elif kind == "hidden" or "hidden" in own:
                own.setdefault("value", next(iter(sent), None))  # filled by a script
            elif kind != "password":
                own["value"] = next(iter(sent), "")
        written = _element("input", _attributes(own))
        if kind == "password" and any(sent or ()) and own.get("autocomplete") != "current-password":
            written += self._secret_note()
        return written + self.mistake() if marks and not apart and kind not in ("checkbox", "radio") else written

    def _secret_note(self) -> Markup:
        note = self._filled.secret_note if self._filled is not None else ""
        return Markup('<span class="quiet">{}</span>').format(note) if note else Markup()

    def textarea(self, text: str, **own: Any) -> Markup:
        """Write a `textarea`. Browsers skip its first line break."""
        self._shown.add(own["name"], text)
        sent, marks = self._sent(own)
        typed = text if sent is None else next(iter(sent), "")
        written = _element("textarea", _attributes(own | marks), Markup("\n{}").format(typed))
        return written + self.mistake() if marks else written

    def select(self, *, caller: Callable[[], Markup], chosen: object = None, **own: Any) -> Markup:
        """Write a `select` with the options that the block has. The one with the value `chosen` is selected."""
        sent, marks = self._sent(own)
        self._chosen = sent if sent is not None else () if chosen is None else (str(chosen),)
        self._options = []
        written = _element("select", _attributes(own | marks), caller())
        self._shown.add(own["name"], *([str(chosen)] if str(chosen) in self._options else self._options[:1]))
        return written + self.mistake() if marks else written

    def option(self, value: object, text: object = None, **own: object) -> Markup:
        """Write an option of a `select`. Without a text, it shows its value."""
        self._options.append(str(value))
        start = "" if text is None else f' value="{escape(value)}"'
        flag = " selected" if str(value) in self._chosen else ""
        return _element("option", start + _attributes(own) + flag, escape(value if text is None else text))

    def fold(self, *, caller: Callable[[], Markup], **own: object) -> Markup:
        """Write `details`, which are open if the wrong field is in the block."""
        was_shown, body = self._is_shown, caller()
        if self._is_shown and not was_shown:
            own["open"] = True
        return _element("details", _attributes(own), body)

    def mistake(self) -> Markup:
        """Write the problem, unless it is written or its field is not."""
        if not self._is_due or self._refused is None:
            return Markup()
        self._is_due = False
        return Markup('<span class="mistake" id="mistake" role="alert">{}</span>').format(self._refused.problem)

    def was_sent(self, action: str, name: str, value: str) -> bool:
        """Return whether a field outside its form was sent with this value by a refused form."""
        refused = self._refused
        return refused is not None and refused.path == action and value in refused.sent.get(name, ())

    def unplaced_problem(self) -> Markup:
        """Return the problem that no field shows, or an empty text."""
        return self._refused.problem if self._refused is not None and not self._is_shown else Markup()

    def _sent(self, own: dict[str, Any], *, changes: bool = False) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
        """Return what was sent from a field (None: show it as it is) and the attributes of a wrong one.

        If it is not known yet which form was refused, take note of the field.
        """
        name, is_hidden = own["name"], own.get("type") == "hidden"
        if self._tried is not None:
            self._tried.names.add(name)
            if is_hidden and "value" in own and not changes:
                self._tried.hidden.append((name, str(own["value"])))
            elif not is_hidden and "hidden" not in own:
                self._tried.visible.append(name)
        if self._refused is not None:
            own.pop("autofocus", None)  # the wrong field has the focus
        if self._filled is None:
            return None, {}
        if is_wrong := name == self._wrong:
            self._wrong, self._is_shown, self._is_due = None, True, True
        marks = {"aria_invalid": "true", "aria_describedby": "mistake", "autofocus": True} if is_wrong else {}
        return None if name in self._untouched else self._filled.sent.get(name, ()), marks

    def _note(self, own: Mapping[str, Any]) -> None:
        """Add what a visible `input` shows to what its form shows."""
        kind, value = own.get("type", "text"), own.get("value")
        if kind in ("hidden", "password") or "hidden" in own:
            return
        if kind in ("checkbox", "radio"):
            value = (value or "on") if own.get("checked") else None
        self._shown.add(own["name"], *(() if value is None else (value,)))


def _attributes(own: Mapping[str, object]) -> str:
    """Return the attributes of an element as HTML."""
    text = ""
    for name, value in own.items():
        if value is True or (value and name in _FLAGS):
            text += f" {name.replace('_', '-')}"
        elif value is not None and value is not False and name not in _FLAGS:
            text += f' {name.replace("_", "-")}="{escape(value)}"'
    return text


def _element(tag: str, attributes: str, content: Markup | None = None) -> Markup:
    """Return an element. Its attributes are HTML. Without `content`, it has no end tag."""
    text = f"<{tag}{attributes}>"
    return Markup(text if content is None else f"{text}{content}</{tag}>")  # noqa: S704 (all parts are escaped)
