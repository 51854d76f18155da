"""Refused forms: the message stands beside the field, on the page of the form, and nothing typed is lost, on every
page.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import httpx
import pytest
from web_server import SETUP_CODE, Web
from web_server.household import PAGES, fill
from web_server.walking import PageForm, PageReader

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.pages.forms import RefusedForm, fill_form
from hedgerow.dashboards.scopes import Role
from hedgerow.policies.model import DeviceId

PASSWORD = "correct horse battery"
WRONG = ("?", "-1", "25:99")
PAGE = """<main id="main">
<form method="post" action="/people/mia/age"><label>Age <input name="age" value="9" autofocus></label><button>Save</button></form>
<form method="post" action="/people/mia/age"><input type="hidden" name="what" value="games"><details><summary>More</summary>
<label>Age <input name="age"></label><fieldset><label><input type="checkbox" name="day" value="mon" checked> Mon</label><label>
<input type="checkbox" name="day" value="tue"> Tue</label></fieldset>
<select name="who"><option>mia</option><option value="t" selected>tom</option>
</select></details><input type="password" name="secret"></form></main>"""  # noqa: E501


def refused(field: str, **sent: str) -> str:
    fields = {name: tuple(value.split(",")) for name, value in sent.items()}
    return fill_form(
        PAGE,
        RefusedForm("post", "/people/mia/age", fields, "/people/mia?a=<1>", "It's <wrong>.", field),
        "Nothing changed",
    )


def test_the_form_that_was_sent_is_filled_and_its_folded_part_opened() -> None:
    page = refused("age", what="games", age='"ten"', day="tue", who="mia", secret="my password")
    first, second = page.split("</form>")[:2]
    assert '<input name="age" value="9">' in first, "the other form stays as it was, without the focus"
    assert "<details open>" in second
    marked = '<input name="age" aria-invalid="true" aria-describedby="mistake" autofocus value="&quot;ten&quot;">'
    assert f'{marked}<span class="mistake" id="mistake" role="alert">It&#x27;s &lt;wrong&gt;.</span></label>' in second
    assert 'value="mon">' in second
    assert 'value="tue" checked>' in second
    assert "<option selected>mia" in second
    assert '<option value="t">' in second
    assert '<input type="hidden" name="form-page" value="/people/mia?a=&lt;1&gt;">' in second
    assert "my password" not in page


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("day", "</label><span"),
        ("who", "</select><span"),
        ("secret", "autofocus><span"),
        ("unknown", "autofocus"),
        ("", "autofocus"),
    ],
)
def test_the_message_stands_beside_each_kind_of_field(field: str, place: str) -> None:
    page = refused(field, what="games", age="ten")
    assert page.count('id="mistake"') == 1
    assert place in page


def test_a_problem_without_a_field_stands_at_the_top() -> None:
    page = fill_form(PAGE, RefusedForm("post", "/resume", {}, "/", "That is over."), "Nothing changed")
    assert page.startswith(
        '<main id="main"><section class="card trouble" role="alert"><h2>Nothing changed</h2><p id="mistake">That is'
        " over."
    )
    assert page.endswith(PAGE.removeprefix('<main id="main">'))


@pytest.fixture
def family(web: Web) -> Iterator[httpx.Client]:
    """Yield the browser of an admin of a household that has something of everything."""
    fill(web)
    asyncio.run(web.accounts.create("Ana", Role.ADMIN, PASSWORD))
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}, verify=False
    ) as client:
        assert client.post("/sign-in", data={"name": "ana", "password": PASSWORD}).status_code == 303
        asyncio.run(web.accounts.make_token("backup", ("read",), "Ana"))
        yield client


def typing(form: PageForm) -> list[str]:
    """Return the names of the fields in which a person types."""
    return [field.name for field in form.fields if field.choices is None and not field.is_hidden]


def check_refused(answer: httpx.Response, sent: dict[str, str], marked: str | None) -> None:
    """Check that a page shows a form as it was sent, with the problem beside a field:

    `marked`, if given, or an empty one before it.
    """
    assert "<h1" in answer.text
    page = unescape(answer.text)
    (tag,) = re.findall(r"<(?:input|select|textarea)[^>]*aria-invalid=[^>]*>", answer.text)
    (name,) = re.findall(r'name="([^"]*)"', tag)
    assert marked in (None, name) or not sent[name], tag
    between = answer.text.partition(tag)[2].partition('<span class="mistake"')[0]
    assert not re.search(r"<form|<h[123]", between), "the message is beside its field"
    assert "type=radio" in tag or "<input" not in between
    for name, value in sent.items():
        tags = re.findall(rf'<(?:input|select|textarea)[^>]*name="{re.escape(name)}"[^>]*>', page)
        if 'type="password"' in "".join(tags):
            assert value == "" or f'value="{value}"' not in page
        else:
            assert any(f'value="{value}"' in each or f"{each}\n{value}</textarea>" in page for each in tags), (
                name,
                value,
                tags,
            )


def check_kept(answer: httpx.Response, page: httpx.Response) -> None:
    """Check that a page with a refused form has all that it has otherwise: scripts and what they use, and headers."""
    for name in ("content-security-policy", "content-language", "vary", "cache-control"):
        assert answer.headers.get_list(name) == page.headers.get_list(name), name
    for part in (r"<script[^>]*>", r"<link[^>]*>", r"\sdata-[a-z-]+(?=[\s=>])"):
        assert set(re.findall(part, page.text)) <= set(re.findall(part, answer.text)), part


def test_every_form_of_every_page_keeps_what_was_typed(web: Web, family: httpx.Client) -> None:
    tried: set[tuple[str, ...]] = set()
    for path in (*PAGES, "/devices?page=1&q=tablet"):
        page = family.get(path)
        for form in PageReader(page.text).forms if page.status_code == 200 else ():
            names = typing(form)
            if not names or (shape := (form.action.replace("/tom/", "/mia/"), *names)) in tried:
                continue
            tried.add(shape)
            same = {field.name: field.value for field in form.fields if field.value} | dict(form.buttons[:1])
            too_long = [(name, same | {name: "x" * 3000}) for name in dict.fromkeys((*names[:2], names[-1]))]
            for name, sent in (*too_long, (None, same | {names[0]: WRONG[len(tried) % len(WRONG)]})):
                content: dict[str, dict[str, str]] = {"params" if form.method == "get" else "data": sent}
                answer = family.request(form.method, form.action, **content, headers={"referer": web.url + path})  # type: ignore[arg-type]
                if name is None and answer.status_code in (200, 303):
                    continue  # not wrong in this field
                assert answer.status_code in (403, 422), (form, name)
                check_refused(answer, {each: sent.get(each, "") for each in names}, name)
                if answer.status_code == 422 and form.method == "post":
                    check_kept(answer, page)
    forms = {shape[0] for shape in tried}
    assert forms >= {
        "/people",
        "/people/mia/age",
        "/people/mia/nights",
        "/people/mia/budget",
        "/people/mia/schedule",
        "/people/mia/site",
        "/people/mia/code",
        "/people/mia/youtube",
        "/people/mia/holidays",
        "/devices/name",
        "/devices/change",
        "/devices/seat",
        "/devices/seat/rename",
        "/lists",
        "/settings/network",
        "/settings/accounts",
        "/settings/tokens",
        "/settings/notices",
        "/settings/notices/change",
        "/settings/notices/mail",
        "/settings/notices/address",
        "/account/password",
        "/account/code",
        "/counter/vouchers",
        "/device/ask",
        "/device/code",
        "/why",
        "/start/people",
        "/start/devices",
    }, sorted(forms)


def test_every_form_keeps_what_was_typed_without_the_page_from_which_it_came(web: Web, family: httpx.Client) -> None:
    """Settings for privacy and scripts leave out the header that names it, and it may name a page without the form."""
    tried: set[str] = set()
    for path in PAGES:
        page = family.get(path)
        for form in PageReader(page.text).forms if page.status_code == 200 else ():
            names = typing(form)
            if not names or form.method == "get" or form.action in tried:
                continue
            tried.add(form.action)
            sent = {field.name: field.value for field in form.fields if field.value} | dict(form.buttons[:1])
            sent[names[0]] = "x" * 3000
            for headers in ({}, {"referer": f"{web.url}/people/mia"}, {"referer": f"{web.url}{form.action}"}):
                answer = family.post(form.action, data=sent, headers=headers)
                assert answer.status_code in (403, 422), form.action
                check_refused(answer, {each: sent.get(each, "") for each in names}, names[0])
    assert tried >= {f"/people/mia/{form}" for form in ("age", "nights", "budget", "schedule", "site", "code", "chore")}


def test_a_mistake_in_the_guide_leaves_block_pages_possible(web: Web, family: httpx.Client) -> None:
    """The page that is shown again may try the ports of the block page too, and keeps what it found out before."""
    web.control.state = replace(web.control.state, block_page="192.168.1.1")
    page = family.get("/start/people")
    sent = {"name-1": "Ben", "age-1": "", "reaches": "yes"}
    answer = family.post("/start/people", data=sent, headers={"referer": f"{web.url}/start/people"})
    assert answer.status_code == 422
    assert "http://192.168.1.1" in answer.headers["content-security-policy"]
    check_kept(answer, page)
    assert re.search(r'<input [^>]*data-reaches="192.168.1.1"[^>]* value="yes">', answer.text)


def test_signing_in_and_the_first_password_keep_what_was_typed(new_web: Web) -> None:
    headers = {"origin": new_web.url}
    with httpx.Client(base_url=new_web.url, trust_env=False, timeout=60, headers=headers, verify=False) as client:
        for sent, field, status in (
            ({"name": "An?", "password": PASSWORD, "code": SETUP_CODE}, "name", 422),
            ({"name": "Ana", "password": "short", "code": SETUP_CODE}, "password", 422),
            ({"name": "Ana", "password": PASSWORD, "code": "AAAA-AAAA"}, "code", 403),
        ):
            answer = client.post("/start/password", data=sent)
            assert answer.status_code == status
            check_refused(answer, sent, field)
        asyncio.run(new_web.accounts.create("Ana", Role.ADMIN, PASSWORD))
        sent = {"name": "Ana", "password": "not my password"}
        answer = client.post("/sign-in", data=sent)
        assert answer.status_code == 403
        check_refused(answer, sent, "password")


def test_a_form_that_is_refused_twice_stays_on_its_page(web: Web, family: httpx.Client) -> None:
    """After the first time, the address is that of the form, and the browser names it as the page before."""
    sent = {"name": "mother", "address": "?"}
    first = family.post("/settings/notices/address", data=sent, headers={"referer": f"{web.url}/settings/notices"})
    (page,) = re.findall(r'name="form-page" value="([^"]*)"', first.text)
    again = family.post(
        "/settings/notices/address",
        data=sent | {"form-page": page},
        headers={"referer": f"{web.url}/settings/notices/address"},
    )
    for answer in (first, again):
        assert answer.status_code == 422
        check_refused(answer, {"address": "?"}, "address")


def test_nobody_sees_a_page_by_a_form_that_they_may_not_open(web: Web) -> None:
    """A device's own form names the page of the people in charge as its page: it gets its problem and nothing of that
    page.
    """
    fill(web)
    asyncio.run(web.accounts.create("Ana", Role.ADMIN, PASSWORD))
    web.control.devices["127.0.0.2"] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    transport = httpx.HTTPTransport(local_address="127.0.0.2", verify=False)
    with httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=60, headers={"origin": web.url}
    ) as child:
        for page in ("/log", "/settings", "/api/v1/status", "//elsewhere.example/"):
            answer = child.post(
                "/device/ask", data={"site": "?", "form-page": page}, headers={"referer": web.url + page}
            )
            assert answer.status_code == 422
            assert "tom-phone" not in answer.text
            assert "Type the address of the site" in answer.text


def test_files_that_no_form_has_are_closed(family: httpx.Client) -> None:
    """Whatever a client adds to a form: warnings about files that are left open fail the test."""
    for path in ("/people/mia/nights", "/people/mia/schedule", "/people/mia/age"):
        answer = family.post(
            path, data={"what": "games"}, files=[("file", (f"{number}.txt", b"x" * 1000)) for number in range(9)]
        )
        assert answer.status_code in {303, 404, 422}, answer.text
    gc.collect()
