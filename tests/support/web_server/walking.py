"""A walk through the pages as a browser without JavaScript takes it: it follows links, fills in forms and presses their
buttons.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx

_VOID = frozenset({"input", "br", "img", "meta", "link", "hr", "use", "path"})
TEXTS = (
    "",
    "roblox.com",
    "example.org/games",
    "tiktok",
    "adult",
    "TikTok",
    "not a site",
    "homework",
    "15:00-17:00",
    "21:00",
    "9",
    "45",
    "100000",
    "2027-01-01",
    "2020-01-01",
    "mia",
    "Zoë",
    "192.168.1.77",
    "aa:bb:cc:dd:ee:77",
    "123456",
    "illegal",
    "<script>alert(1)</script>",
    "a" * 400,
    "\N{PILE OF POO}",
    "-1",
    "25:00",
    "../../etc/passwd",
    "%(x)s",
    "{{ 7 * 7 }}",
)
"""Things that people type, the wrong ones included."""


@dataclass(frozen=True)
class Field:
    """A field of a form: its present value, and the values to choose from (None: any text)."""

    name: str
    value: str
    choices: tuple[str, ...] | None = None
    is_hidden: bool = False


@dataclass
class PageForm:
    """A form. `buttons` are the name and value that each of them sends, empty for a button without a name."""

    method: str
    action: str
    fields: list[Field] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class PageReader(HTMLParser):
    """The forms, links and text of a page. Forms and buttons that are disabled are left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[PageForm] = []
        self.links: list[str] = []
        self.messages: list[str] = []
        self._form: PageForm | None = None
        self._select: tuple[str, list[str], str] | None = None
        self._area: str | None = None
        self._depth = self._message_depth = 0
        self._text: list[str] = []
        self.feed(page)

    @property
    def text(self) -> str:
        """The words of the page, for a comparison."""
        return " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._depth += tag not in _VOID
        if not self._message_depth and values.get("role") in {"status", "alert"}:
            self._message_depth = self._depth
            self.messages.append("")
        match tag:
            case "form":
                self._form = PageForm(values.get("method", "get"), values.get("action", ""))
                self.forms.append(self._form)
            case "a" if values.get("href", "").startswith("/"):
                self.links.append(values["href"])
            case "input" | "button" | "select" | "textarea" if self._form is not None and "disabled" not in values:
                self._control(tag, values)
            case "option" if self._select is not None:
                self._select[1].append(values.get("value", ""))
                if "selected" in values:
                    self._select = (*self._select[:2], values.get("value", ""))
        self._text += [
            values[name] for name in ("value", "aria-checked") if values.get(name) and values.get("type") != "hidden"
        ]

    def _control(self, tag: str, values: Mapping[str, str]) -> None:
        assert self._form is not None
        name, value = values.get("name", ""), values.get("value", "")
        if tag == "button":
            if values.get("type") != "button":
                self._form.buttons.append((name, value))
        elif tag == "select":
            self._select = (name, [], "")
        elif tag == "textarea":
            self._form.fields.append(Field(name, ""))
        elif values.get("type") in {"checkbox", "radio"}:
            self._form.fields.append(Field(name, (value or "on") if "checked" in values else "", ("", value or "on")))
        elif name:
            self._form.fields.append(Field(name, value, None, values.get("type") == "hidden" or "hidden" in values))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if tag == "select" and self._select is not None and self._form is not None:
            name, choices, chosen = self._select
            self._form.fields.append(Field(name, chosen or next(iter(choices), ""), tuple(choices)))
            self._select = None
        if tag not in _VOID:
            if self._depth == self._message_depth:
                self._message_depth = 0
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        self._text.append(data)
        if self._message_depth:
            self.messages[-1] += data


@dataclass
class Walker:
    """Walks with one client. `skips` tells for a method and path that it is not walked."""

    client: httpx.Client
    chance: random.Random
    skips: Callable[[str, str], bool]
    page: str = ""
    url: str = "/"
    tapped: str = ""

    def open(self, url: str) -> httpx.Response:
        """Open a page."""
        answer = self.client.get(url)
        for _ in range(5):
            if answer.status_code not in {302, 303, 307}:
                break
            answer = self.client.get(answer.headers["location"].partition("#")[0])
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page, self.url = answer.text, str(answer.request.url.raw_path.decode())
        return answer

    def tap(self) -> tuple[httpx.Response, bool]:
        """Tap something on the page that is open. Returns the page after it, and whether a form was sent."""
        reader = PageReader(self.page)
        buttons = [
            (form, button)
            for form in reader.forms
            for button in form.buttons
            if not self.skips(form.method, form.action)
        ]
        links = [link for link in reader.links if not self.skips("get", urlsplit(link).path)]
        if not buttons or (links and self.chance.random() < 0.35):
            self.tapped = self.chance.choice(links) if links else "/"
            return self.open(self.tapped), False
        # A page has hundreds of switches and one form for the nights: each address is as likely as any other.
        action = self.chance.choice(sorted({form.action for form, _ in buttons}))
        form, button = self.chance.choice([pair for pair in buttons if pair[0].action == action])
        data = [(each.name, self._filled(each)) for each in form.fields]
        data = [(name, value) for name, value in data if value or self.chance.random() < 0.9]
        data += [button] if button[0] else []
        self.tapped = f"{form.method} {form.action} {data}"
        if form.method == "get":
            return self.open(str(httpx.URL(form.action, params=data))), False
        referer = str(self.client.base_url.join(self.url))
        return self._send(form.action, data, referer), True

    def _send(self, action: str, data: Sequence[tuple[str, str]], referer: str) -> httpx.Response:
        fields: dict[str, list[str]] = {}
        for name, value in data:
            fields.setdefault(name, []).append(value)
        answer = self.client.post(action or self.url, data=fields, headers={"referer": referer})
        if answer.status_code == 303:
            return self.open(answer.headers["location"].partition("#")[0])
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page = answer.text
        return answer

    def _filled(self, each: Field) -> str:
        if each.is_hidden:
            return each.value
        if each.choices is not None:
            return self.chance.choice((*each.choices, each.value))
        return each.value if each.value and self.chance.random() < 0.5 else self.chance.choice(TEXTS)


def without_times(text: str) -> str:
    """Return text without what changes by itself: times of day, ages and counts of seconds."""
    return re.sub(r"\d{1,2}:\d{2}(\s*[AP]M)?|\d+ (seconds?|minutes?) ago", "", text)
