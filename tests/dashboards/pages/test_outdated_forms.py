"""Two parents have the same page open: neither changes back what the other has saved, and whoever would is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest
from web_server import Web
from web_server.household import PAGES, fill
from web_server.walking import PageForm, PageReader

from hedgerow.dashboards.scopes import Role

PASSWORD = "correct horse battery"
CHANGED = "Somebody has changed this meanwhile. Look at it, and save again."
ADDED_ONLY = {
    "/people/mia/holidays",
    "/settings/language",
    "/language",
    "/settings/accounts",
    "/settings/tokens",
    "/settings/invitations",
    "/settings/notices/push",
    "/start/devices",
    "/start/people",
    "/devices/name",
    "/devices/give",
    "/devices/seat/rename",
    "/counter/vouchers",
    "/counter/open",
    "/counter/duty",
    "/organisation/edit",
    "/lists",
    "/lists/corrections/import",
    "/pause",
}
"""Forms with a default, and those that compare in another way."""


TICKED = {"what", "about"}
"""Names of checkboxes."""


@pytest.fixture
def ben(web: Web) -> Iterator[httpx.Client]:
    """Yield the browser of a parent."""
    fill(web)
    asyncio.run(web.accounts.create("Ana", Role.ADMIN, PASSWORD))
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}, verify=False
    ) as client:
        assert client.post("/sign-in", data={"name": "ana", "password": PASSWORD}).status_code == 303
        yield client


def form_on(page: httpx.Response, action: str, **hidden: str) -> PageForm:
    """Return the form of a page with fields in which something is typed or chosen."""
    assert "<h1" in page.text
    forms = [
        form
        for form in PageReader(page.text).forms
        if form.action == action and hidden.items() <= {each.name: each.value for each in form.fields}.items()
    ]
    return next((form for form in forms if any(not each.is_hidden for each in form.fields)), forms[0])


def sent(form: PageForm, **typed: str) -> dict[str, str | list[str]]:
    """Return what a browser sends from a form after something was typed."""
    fields: dict[str, str | list[str]] = {}
    for each in form.fields:
        if each.choices is not None and each.name in TICKED:
            if each.value:
                fields[each.name] = [*fields.get(each.name, ()), each.value]
        else:
            fields[each.name] = each.value
    return fields | typed


def test_the_nights_of_both_parents_hold(web: Web, ben: httpx.Client) -> None:
    older = form_on(ben.get("/people/tom/nights"), "/people/tom/nights")
    anna = sent(older, **{"mon-from": "20:00"})
    assert ben.post("/people/tom/nights", data=anna).status_code == 303
    assert ben.post("/people/tom/nights", data=sent(older, **{"tue-from": "19:00"})).status_code == 303
    now = sent(form_on(ben.get("/people/tom/nights"), "/people/tom/nights"))
    assert (now["mon-from"], now["tue-from"], now["wed-from"]) == ("20:00", "19:00", "22:30")


def test_whoever_changes_the_same_night_is_told_and_may_save_again(web: Web, ben: httpx.Client) -> None:
    older = form_on(ben.get("/people/tom/nights"), "/people/tom/nights")
    assert ben.post("/people/tom/nights", data=sent(older, **{"mon-from": "20:00"})).status_code == 303
    assert ben.post("/people/tom/nights", data=sent(older, **{"mon-from": "20:00"})).status_code == 303, "as is"
    before = web.policy_path.read_text()
    typed = sent(older, **{"mon-from": "21:00", "sun-from": "19:45"})
    for _ in range(2):  # the older page once more is refused once more
        answer = ben.post("/people/tom/nights", data=typed)
        assert answer.status_code == 422
        assert CHANGED in answer.text
        assert web.policy_path.read_text() == before
    assert re.search(r'name="mon-from"[^>]*aria-invalid', answer.text)
    again = form_on(answer, "/people/tom/nights")
    assert sent(again).items() >= {"mon-from": "21:00", "sun-from": "19:45", "tue-from": "22:30"}.items()
    assert ben.post("/people/tom/nights", data=sent(again)).status_code == 303
    now = sent(form_on(ben.get("/people/tom/nights"), "/people/tom/nights"))
    assert (now["mon-from"], now["sun-from"]) == ("21:00", "19:45")


SETTINGS = [
    ("/people/mia/time", "/people/mia/budget", {"what": ""}, {"school": "120"}, {"school": "45"}),
    ("/people/mia/time", "/people/mia/budget", {"what": ""}, {"school": "120"}, {"weekend": "45"}),
    ("/people/mia/about", "/people/mia/age", {}, {"age": "10"}, {"age": "12"}),
    ("/people/mia/about", "/people/mia/age", {}, {"profile": "adult"}, {"age": "12"}),
    ("/people/mia/protection", "/people/mia/names", {}, {"level": "block"}, {"level": "off"}),
    ("/settings", "/settings/network", {}, {"country": "DE"}, {"zone": "Europe/Berlin"}),
    ("/settings/notices", "/settings/notices/change", {"name": "mother"}, {"digest": "18:00"}, {"language": "fr"}),
    ("/devices", "/devices/change", {"device": "tom-phone"}, {"kind": "phone"}, {"owner": "person:mia"}),
    ("/start/place", "/start/place", {}, {"country": "DE"}, {"zone": "Europe/Berlin"}),
]


@pytest.mark.parametrize(("page", "action", "hidden", "first", "second"), SETTINGS)
def test_an_older_page_of_a_setting_is_refused_once(
    web: Web,
    ben: httpx.Client,
    page: str,
    action: str,
    hidden: dict[str, str],
    first: dict[str, str],
    second: dict[str, str],
) -> None:
    query = "?change=tom-phone" if page == "/devices" else ""
    older = form_on(ben.get(page + query), action, **hidden)
    headers = {"referer": web.url + page + query}
    assert ben.post(action, data=sent(older, **first), headers=headers).status_code == 303
    before = web.policy_path.read_text()
    answer = ben.post(action, data=sent(older, **second), headers=headers)
    assert answer.status_code == 422
    assert CHANGED in answer.text
    assert web.policy_path.read_text() == before
    again = form_on(answer, action, **hidden)
    assert sent(again).items() >= second.items(), "what was typed is kept"
    if not first.keys() & second.keys():
        assert sent(again).items() >= first.items(), "what was not typed is shown as it is now"
    saved = ben.post(action, data=sent(again), headers={"referer": web.url + action})
    assert saved.status_code in (200, 303), "a question may follow"


def test_a_schedule_and_a_limit_that_have_changed_or_gone(web: Web, ben: httpx.Client) -> None:
    new = form_on(ben.get("/people/tom/schedules"), "/people/tom/schedule", form="schedule-new")
    day = {"schedule": "homework", "what": "games", "mon": "15:00-16:00"}
    assert ben.post("/people/tom/schedule", data=sent(new, **day)).status_code == 303
    older = form_on(ben.get("/people/tom/schedules"), "/people/tom/schedule", form="schedule-homework")
    assert ben.post("/people/tom/schedule", data=sent(older, tue="17:00-18:00")).status_code == 303
    answer = ben.post("/people/tom/schedule", data=sent(older, wed="17:00-18:00"))
    assert answer.status_code == 422
    again = form_on(answer, "/people/tom/schedule", form="schedule-homework")
    assert sent(again).items() >= {"tue": "17:00-18:00", "wed": "17:00-18:00", "what": ["games"]}.items()
    assert ben.post("/people/tom/schedule/remove", data={"schedule": "homework"}).status_code == 303
    answer = ben.post("/people/tom/schedule", data=sent(again))
    assert answer.status_code == 422
    assert CHANGED in answer.text
    assert "homework" not in web.policy_path.read_text()


def test_buttons_that_set_more_than_they_show(web: Web, ben: httpx.Client) -> None:
    """The time of every day at once, and another limit for the same subject."""
    page = ben.get("/people/mia/time")
    quick = next(form for form in PageReader(page.text).forms if ("every_day", "90") in form.buttons)
    limit = next(form for form in PageReader(page.text).forms if ("form", "budget-new") in names(form))
    assert ben.post("/people/mia/budget", data=sent(quick, every_day="120")).status_code == 303
    answer = ben.post("/people/mia/budget", data=sent(quick, every_day="90"))
    assert answer.status_code == 422
    assert CHANGED in answer.text
    assert ben.post("/people/mia/budget", data=sent(limit, what="games", school="60")).status_code == 303
    assert ben.post("/people/mia/budget", data=sent(limit, what="games", school="70")).status_code == 422


def names(form: PageForm) -> list[tuple[str, str]]:
    return [(each.name, each.value) for each in form.fields]


def test_forms_without_the_field_are_saved(web: Web, ben: httpx.Client) -> None:
    assert ben.post("/people/tom/nights", data={"mon-from": "20:00", "mon-to": "07:00"}).status_code == 303
    assert ben.post("/people/mia/age", data={"age": "10"}).status_code == 303
    assert ben.post("/people/mia/age", data={"age": "11", "form-shown": "age=?&=&&%"}).status_code == 422


def test_every_form_with_values_says_what_it_showed(ben: httpx.Client) -> None:
    found: set[str] = set()
    for path in PAGES:
        page = ben.get(path)
        for form in PageReader(page.text).forms if page.status_code == 200 else ():
            shown = any(each.value and not each.is_hidden for each in form.fields)
            known = dict(names(form))
            if form.method == "post" and shown and not known.get("form", "").endswith("-new"):
                found |= set() if "form-shown" in known else {form.action}
    assert found <= ADDED_ONLY, sorted(found - ADDED_ONLY)
