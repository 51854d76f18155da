"""What a form did: one sentence on the page from which it came, on every page, with *Undo* where it can be undone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from web_server import Web
from web_server.household import PAGES, fill
from web_server.walking import Field, PageForm, PageReader

from hedgerow.dashboards.actions.core import CORE_ACTIONS
from hedgerow.dashboards.pages.router import GROUPS
from hedgerow.features import FEATURES
from hedgerow.features.contract import extensions_of

TYPED = {
    "name": "Leo",
    "age": "8",
    "born": "",
    "site": "example.org",
    "subject": "example.org",
    "rule": "example.org",
    "minutes": "45",
    "pin": "2580",
    "text": "Back in a minute",
    "url": "https://lists.example/more.txt",
    "password": "eight seats and a door",
    "old": "eight seats and a door",
    "new": "nine seats and a window",
}
"""Something valid for the fields in which people type."""
ELSEWHERE = re.compile(r"/(sign-(in|out)|start/.*|language|account/.*|settings/notices.*)$")
"""Forms that lead to a page of their own, or end this walk."""
OWN_PAGES = re.compile("/(device(/|$)|sign-in|start|invitation)")
"""A child's own page shows what holds now, and the guide goes on."""
LEADS_ON = re.compile("/(counter/count|erase|remove|organisation/edit|switch)$")
"""Forms whose page is gone afterwards, or that lead to what they made."""
BARE = {None, "", "Done.", "Erased.", "Saved."}


@pytest.fixture
def parent(web: Web) -> Iterator[httpx.Client]:
    fill(web)
    with httpx.Client(base_url=web.url, headers={"origin": web.url}, trust_env=False, timeout=60) as client:
        yield client


def said(page: str) -> str | None:
    """Return what a page says about the form before, or None."""
    found = re.search('data-done="([^"]*)"', page)
    return unescape(found[1]) if found else None


def filled(each: Field) -> str:
    if each.choices is not None or each.is_hidden:
        return each.value
    return each.value or TYPED.get(each.name, "")


def send(parent: httpx.Client, page: str, form: PageForm) -> httpx.Response:
    """Send a form of a page with its first button, and say yes to a question that comes before."""
    button = form.buttons[0]
    data = [(each.name, filled(each)) for each in form.fields if filled(each)] + ([button] if button[0] else [])
    fields: dict[str, list[str]] = {}
    for name, value in data:
        fields.setdefault(name, []).append(value)
    answer = parent.post(form.action, data=fields, headers={"referer": str(parent.base_url.join(page))})
    asked = next((each for each in PageReader(answer.text).forms if "sure" in {one.name for one in each.fields}), None)
    if answer.status_code == 200 and asked is not None:
        again = {each.name: each.value for each in asked.fields} | dict([asked.buttons[0]])
        answer = parent.post(asked.action, data=again, headers={"referer": str(parent.base_url.join(form.action))})
    return answer


def forms_of(parent: httpx.Client) -> list[tuple[str, PageForm]]:
    """Return a form of each kind with a page that has it, those that take something away last."""
    found: dict[tuple[str, ...], tuple[str, PageForm]] = {}
    for page in PAGES:
        if OWN_PAGES.match(page) or page.startswith("/people/tom") or (answer := parent.get(page)).status_code != 200:
            continue
        for form in PageReader(answer.text).forms:
            kind = re.sub("/(g?[0-9]+|mia)/", "/…/", form.action)
            if form.method == "post" and form.buttons and not ELSEWHERE.search(form.action):
                found.setdefault((kind, *(each.name for each in form.fields if each.is_hidden)), (page, form))
    return sorted(found.values(), key=lambda each: ("remove" in each[1].action, each[1].action))


def test_each_form_says_what_it_did_on_its_page(parent: httpx.Client) -> None:
    silent, elsewhere, sent = {}, {}, set()
    for page, form in forms_of(parent):
        answer = send(parent, page, form)
        if answer.status_code == 303:
            sent.add(form.action)
            then = parent.get(answer.headers["location"].partition("#")[0])
            if said(then.text) in BARE and "ended=" not in str(then.url):  # the counter has a card for a session's end
                silent[form.action] = answer.headers["location"], said(then.text)
            if then.url.path != page.partition("?")[0] and not LEADS_ON.search(form.action):
                elsewhere[form.action] = page, then.url.path
    assert silent == {}
    assert elsewhere == {}
    assert len(sent) > 25, sorted(sent)


def test_each_action_with_a_form_has_a_sentence() -> None:
    """The page that receives the form says it, or the declaration."""
    added = extensions_of(FEATURES)
    received = {
        member.form_of[1].path
        for group in (*GROUPS, *added.page_groups)
        for member in vars(group).values()
        if hasattr(member, "form_of")
    }
    forms = [action.form for action in (*CORE_ACTIONS, *added.actions) if action.form is not None]
    assert len(forms) > 40
    assert [form.path for form in forms if form.path not in received and not form.says] == []


@pytest.mark.parametrize(
    ("page", "path", "fields"),
    [
        ("/log?person=mia&day=week", "/grants/new", {"subject": "chess.example", "person": "tom", "for": "hour"}),
        ("/log?person=mia&day=week", "/grants/new", {"subject": "chess.example", "person": "tom", "for": "policy"}),
        ("/log/raw?days=7", "/grants/new", {"subject": "chess.example", "device": "tom-phone", "for": "today"}),
        ("/people/mia", "/pause", {"person": "mia", "minutes": "30"}),
        ("/day", "/grants/g1/revoke", {}),
        ("/devices?q=tablet", "/devices/new/guest", {"device": "b8:27:eb:11:22:33"}),
        ("/log?host=chess", "/quiet-hour", {"minutes": "60"}),
    ],
)
def test_a_form_leads_back_to_where_it_was_sent_from(
    parent: httpx.Client, page: str, path: str, fields: dict[str, str]
) -> None:
    before = f"{parent.base_url.join(page)}{'&' if '?' in page else '?'}done=old"
    answer = parent.post(path, data=fields, headers={"referer": before})
    assert answer.status_code == 303, answer.text[:1500]
    assert re.fullmatch(rf"{re.escape(page)}[?&](done|saved)=[\w-]+", answer.headers["location"])


def test_it_does_so_after_a_question_and_after_a_mistake_too(parent: httpx.Client) -> None:
    page = "/log?person=mia"
    asked = parent.post(
        "/grants/new",
        data={"subject": "adult", "person": "tom", "for": "hour"},
        headers={"referer": str(parent.base_url.join(page))},
    )
    (question,) = [each for each in PageReader(asked.text).forms if each.action == "/grants/new"]
    again = {each.name: each.value for each in question.fields} | dict([question.buttons[0]])
    answer = parent.post("/grants/new", data=again, headers={"referer": str(parent.base_url.join("/grants/new"))})
    assert answer.headers["location"].startswith(f"{page}&done="), answer.headers
    stranger = again | {"form-page": "https://elsewhere.example/x"}
    assert parent.post("/grants/new", data=stranger).headers["location"].startswith("/x?done=") is False


def test_a_no_is_taken_back_and_the_question_is_open_again(parent: httpx.Client) -> None:
    denied = parent.post("/requests/1/deny", data={"why": "Homework first."}, follow_redirects=True)
    assert said(denied.text) == "Minecraft stays closed for mia, who can read your answer."
    (undo,) = [each for each in PageReader(denied.text).forms if each.action == "/requests/1/reopen"]
    assert "/requests/1/approve" not in denied.text
    again = parent.post(undo.action, follow_redirects=True)
    assert said(again.text) == "The question of mia is open again: Minecraft."
    assert "/requests/1/approve" in again.text
    assert parent.post(undo.action).status_code == 422, "once"


def test_a_quiet_hour_says_until_when_and_its_end_can_be_undone(parent: httpx.Client) -> None:
    begun = parent.post("/quiet-hour", data={"minutes": "60"}, follow_redirects=True)
    assert said(begun.text) == "Quiet hour for all children until 22:27."
    assert "/quiet-hour/end" in {each.action for each in PageReader(begun.text).forms}
    ended = parent.post("/quiet-hour/end", follow_redirects=True)
    assert said(ended.text) == "The quiet hour is over."
    assert "/quiet-hour/again" in {each.action for each in PageReader(ended.text).forms}
    again = parent.post("/quiet-hour/again", follow_redirects=True)
    assert said(again.text) == "Quiet hour for all children until 22:27."
    assert parent.post("/quiet-hour/again").status_code == 422


def test_another_role_is_said_and_undone(parent: httpx.Client) -> None:
    account = {"name": "cleo", "role": "operator", "password": "eight seats and a door"}
    added = parent.post("/settings/accounts", data=account, follow_redirects=True)
    assert said(added.text) == "cleo has an account now."
    changed = parent.post("/settings/accounts/role", data={"name": "cleo", "role": "parent"}, follow_redirects=True)
    assert said(changed.text) == "cleo is a parent now."
    undo = next(each for each in PageReader(changed.text).forms if each.action == "/settings/accounts/role")
    back = parent.post(undo.action, data={each.name: each.value for each in undo.fields}, follow_redirects=True)
    assert said(back.text) == "cleo is an operator now."
