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
from html.parser import HTMLParser

import httpx
import pytest
from jinja2 import Environment, StrictUndefined
from web_server import NOW, SETUP_CODE, Web
from web_server.household import PAGES, fill
from web_server.walking import PageForm, PageReader

from hedgerow.dashboards.command import hedgerow_command
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.pages.forms import FormWriter, SentForm
from hedgerow.dashboards.scopes import Role
from hedgerow.dashboards.words.languages import with_code
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import DeviceId

PASSWORD = "correct horse battery"
WRONG = ("?", "-1", "25:99")
PAGE = """
{% call post_form("/people/mia/age") %}<label>Age {{ input(name="age", value=9, autofocus=true) }}</label><button>Save</button>{% endcall %}
{% call fold() %}<summary>Other</summary>{% call post_form("/people/mia/age", sends="do") %}{{ input(type="hidden", name="what", value="games") }}{{ input(type="hidden", name="once", value="x1", changes=true) }}
{% call fold(class="more") %}<summary>More</summary>
<label>Age {{ input(name="age") }}</label><fieldset><label>{{ input(type="checkbox", name="day", value="mon", checked=true) }} Mon</label><label>
{{ input(type="checkbox", name="day", value="tue") }} Tue</label>{{ mistake() }}</fieldset>
{% call select(name="who", chosen="t") %}{{ option("mia") }}{{ option("t", "tom") }}{% endcall %}
{% endcall %}{{ textarea("old", name="note") }}{{ input(type="password", name="secret") }}<button name="do" value="it">Do it</button>{% endcall %}{% endcall %}
{% call post_form("/people/mia/age") %}{{ input(type="hidden", name="what", value="games") }}{{ input(name="age") }}{% endcall %}
{{ unplaced_problem() }}"""  # noqa: E501


def refused(field: str, **sent: str) -> str:
    """Return a page with forms after one of them was refused."""
    fields = {name: tuple(value.split(",")) for name, value in sent.items()}
    form = SentForm("post", "/people/mia/age", fields, with_code("It's <wrong>."), field)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(PAGE).render(FormWriter(form, "/people/mia?a=<1>").calls)


def test_the_form_that_was_sent_is_filled_and_its_folded_part_opened() -> None:
    page = refused("age", what="games", once="x0", age='"ten"', day="tue", who="mia", secret="my password", do="it")
    first, second, third = page.split("</form>")[:3]
    assert '<input name="age" value="9">' in first, "the other form stays as it was, without the focus"
    assert "<details open><summary>Other" in second
    assert '<details class="more" open>' in second
    marked = '<input name="age" aria-invalid="true" aria-describedby="mistake" autofocus value="&#34;ten&#34;">'
    assert f'{marked}<span class="mistake" id="mistake" role="alert">It&#39;s &lt;wrong&gt;.</span></label>' in second
    assert 'value="mon">' in second
    assert 'value="tue" checked>' in second
    assert "<option selected>mia" in second
    assert '<option value="t">' in second
    assert '<textarea name="note">\n</textarea>' in second
    assert '<input type="hidden" name="form-page" value="/people/mia?a=&lt;1&gt;">' in second
    assert 'name="once" value="x1"' in second
    assert "my password" not in page
    assert "mistake" not in third
    assert page.count("wrong") == 1


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("day", "</label><span"),
        ("who", "</select><span"),
        ("note", "</textarea><span"),
        ("secret", "autofocus><span"),
        ("unknown", "autofocus"),
        ("", "autofocus"),
    ],
)
def test_the_message_stands_beside_each_kind_of_field(field: str, place: str) -> None:
    page = refused(field, what="games", age="ten", day="mon")
    assert page.count('id="mistake"') == 1
    assert place in page


@pytest.mark.parametrize("sent", [{"what": "videos", "age": "ten"}, {"age": "ten", "colour": "red"}])
def test_a_form_that_no_form_of_the_page_sends_fills_none(sent: dict[str, str]) -> None:
    page = refused("age", **sent)
    assert "ten" not in page
    assert page.endswith("It&#39;s &lt;wrong&gt;.")


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


class FoldedMistakes(HTMLParser):
    """The problem of a refused form, if it is in a fold that is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.folds, self.is_shown, self.is_folded = list[bool](), False, False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "details":
            self.folds.append("open" not in dict(attrs))
        if dict(attrs).get("id") == "mistake":
            self.is_shown, self.is_folded = True, any(self.folds)

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self.folds.pop()


def test_no_refusal_is_folded_away(web: Web, family: httpx.Client) -> None:
    """Also of a form without a field to type in, whose button or hidden field is refused."""
    tried: set[tuple[str, ...]] = set()
    for path in PAGES:
        page = family.get(path)
        for form in PageReader(page.text).forms if page.status_code == 200 else ():
            names = [name for name, _ in form.buttons[:1] if name] + [
                field.name for field in form.fields if field.is_hidden and field.name not in ("once", "back")
            ]
            if form.method != "post" or not names or (shape := (path, form.action, *names)) in tried:
                continue
            tried.add(shape)
            sent = {field.name: field.value for field in form.fields if field.value} | dict(form.buttons[:1])
            answer = family.post(form.action, data=sent | {names[0]: "x" * 400}, headers={"referer": web.url + path})
            if answer.status_code == 422:
                mistake = FoldedMistakes(answer.text)
                assert mistake.is_shown, (path, form)
                assert not mistake.is_folded, (path, form)
    assert {shape[:2] for shape in tried} >= {(path, "/grants/new") for path in ("/log", "/log/raw")}


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


def test_a_problem_without_a_field_is_at_the_top_of_the_page_with_the_button(web: Web, family: httpx.Client) -> None:
    for path in ("/people/mia", "/people"):
        answer = family.post("/pause", data={"person": "nobody"}, headers={"referer": web.url + path})
        assert answer.status_code == 422
        assert re.search(r'<main[^>]*>\s*<section class="card trouble" role="alert">', answer.text)
        assert 'id="mistake"' in answer.text
        assert "aria-invalid" not in answer.text
        check_kept(answer, family.get(path))


def test_devices_of_the_guide_keep_what_was_typed_when_their_order_changes(web: Web, family: httpx.Client) -> None:
    """Devices are shown by when they were last seen, which changes while somebody types."""
    for number in range(3):
        address = f"192.168.1.8{number}"
        web.recorder.add([DeviceSeen(NOW - number, DeviceId(address), address, None, None, "child-8-12")])
    web.recorder.flush()
    rows = re.findall(r'name="(device-\d)" value="([^"]*)"', family.get("/start/devices").text)
    assert len(rows) > 3
    others = [device for _, device in rows[1:]]
    sent = {f"device-{row}": device for row, device in enumerate(reversed(others))}
    sent |= {f"called-{row}": f"name of {device}" for row, device in enumerate(reversed(others))} | {"person-0": "mia"}
    answer = family.post("/start/devices", data=sent | {"called-0": "mia-tablet"})
    assert answer.status_code == 422
    assert re.search('name="called-0" value="mia-tablet"[^>]*aria-invalid', answer.text)
    for row in range(1, len(others)):
        assert re.search(f'name="called-{row}" value="name of {sent[f"device-{row}"]}"', answer.text), row
    shown = dict(re.findall(r'name="(device-\d)" value="([^"]*)"', answer.text))
    assert shown.items() >= {row: device for row, device in sent.items() if row.startswith("device-")}.items()
    assert set(shown.values()) == {device for _, device in rows}


def test_devices_of_the_guide_keep_what_was_typed_when_one_of_them_has_gone(web: Web, family: httpx.Client) -> None:
    """Somebody else may name a device meanwhile. Its name is not put beside another one."""
    for number in range(3):
        address = f"192.168.1.8{number}"
        web.recorder.add([DeviceSeen(NOW - number, DeviceId(address), address, None, None, "child-8-12")])
    web.recorder.flush()
    rows = dict(re.findall(r'name="device-(\d)" value="([^"]*)"', family.get("/start/devices").text))
    last, gone = max(rows), rows[max(rows)]
    sent = {f"device-{row}": device for row, device in rows.items()} | {f"device-{last}": "192.168.1.99"}
    sent |= {f"called-{row}": f"name of {device}" for row, device in rows.items()}
    answer = family.post("/start/devices", data=sent | {"person-0": "mia", "called-0": "mia-tablet"})
    assert answer.status_code == 422
    shown = {device: row for row, device in re.findall(r'name="device-(\d)" value="([^"]*)"', answer.text)}
    assert set(shown) == set(rows.values())
    for row, device in rows.items():
        if device != gone:
            name = "mia-tablet" if row == "0" else f"name of {device}"
            assert f'name="called-{shown[device]}" value="{name}"' in answer.text, device
    assert f"name of {gone}" not in answer.text


def test_a_mistake_beside_network_equipment_is_not_folded_away(web: Web, family: httpx.Client) -> None:
    address = "192.168.1.90"
    web.recorder.add([DeviceSeen(NOW, DeviceId(address), address, name="HP-LaserJet-4")])
    web.recorder.flush()
    page = family.get("/start/devices").text
    _, equipment = page.split('<details class="apart">')
    (row,) = re.findall(f'name="device-(\\d)" value="{address}"', equipment)
    sent = {f"device-{row}": address, f"called-{row}": "mia-tablet", f"person-{row}": "mia"}
    answer = family.post("/start/devices", data=sent)
    assert answer.status_code == 422
    assert 'id="mistake"' in re.split('<details class="apart" open>', answer.text)[1]


def test_a_refusal_after_a_question_keeps_what_was_typed(web: Web, family: httpx.Client) -> None:
    """The question has no field of the form's, and is asked again with the next try."""
    typed = {"site": "pornhub.com", "note": "for a talk about it", "until": "2020-01-01"}
    asked = family.post("/people/mia/site", data=typed | {"stance": "allow"})
    assert "Open pornhub.com for mia?" in asked.text
    (form,) = (form for form in PageReader(asked.text).forms if form.action == "/people/mia/site")
    answer = family.post(form.action, data={each.name: each.value for each in form.fields} | dict(form.buttons[:1]))
    assert answer.status_code == 422
    check_refused(answer, typed, "until")


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
        assert f'<code lang="en">{hedgerow_command()} setup</code> on the machine shows it.' in answer.text
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


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/settings/notices/telegram", {"token": "no token of a bot"}),
        ("/settings/notices/mail", {"name": "mother", "mailbox": "ana", "password": "geheim 12", "to": "b@c.example"}),
        ("/settings/accounts", {"name": "", "role": "parent", "password": "geheim 12 geheim"}),
    ],
)
def test_a_secret_is_not_put_back_and_the_page_says_so(family: httpx.Client, path: str, sent: dict[str, str]) -> None:
    answer = family.post(path, data=sent)
    assert answer.status_code == 422
    assert answer.text.count("What is secret is not shown again: type it once more.") == 1
    assert not any(sent[name] in answer.text for name in ("token", "password") if name in sent)


def test_a_mailbox_is_put_back_where_its_test_was_not_sent(web: Web, family: httpx.Client) -> None:
    web.post.problem = "The service did not answer in time."
    sent = {"name": "mother", "mailbox": "ana@mail.example", "password": "geheim 12", "server": "smtp.mail.example:465"}
    answer = family.post("/settings/notices/mail", data=sent)
    assert answer.status_code == 422
    assert "It is saved, but the test was not sent. The service did not answer in time." in answer.text
    assert 'value="ana@mail.example"' in answer.text
    assert 'value="smtp.mail.example:465"' in answer.text
    assert "type it once more" in answer.text


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
