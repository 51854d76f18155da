"""Attacks on every page and form: markup, forged forms, SQL, paths, redirects, planted sessions, frames."""

import html.parser
import json
import re
from urllib.parse import quote

import httpx
import pytest
from policy_samples import OF_FEATURES
from web_server import NOW, SETUP_CODE, TOKEN
from web_server.household import OF_FEATURES as PAGES_OF_FEATURES
from web_server.household import PAGES

from hedgerow.dashboards.control import DeviceView, WorkerHealth
from hedgerow.dashboards.coverage import ListHealth
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Verdict

PASSWORD = "four words and more"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{9973*9967}}${9973*9967}"
CHILD = "127.0.0.2"

MACHINE_PATHS = (
    *("/certificate/hedgerow-ca.pem", "/certificate/trusted.svg", "/proxy.pac", "/wpad.dat", "/check/here.svg"),
    *("/device/time", "/device/state", "/device/kept", "/captive-portal", "/device/name"),
    *("/manifest.json", "/service-worker.js"),
)
FILES = (
    "/counter/audit.csv",
    "/counter/report.csv",
    "/counter/receipt?session=s",
    "/people/mia/kept",
    "/counter/seats",
    "/counter/calls",
    "/counter/members/list.csv",
    "/counter/articles",
    "/counter/bill.csv?session=s",
    "/counter/screens/list",
    "/counter/screens/program",
    "/today/children",
    "/lists/guide",
    "/lists/corrections/adult.txt",
    "/devices/mia-tablet/away?form=firefox",
)
STREAMS = ("/events",)
"""Without an end: tests of live parts read them."""
ELSEWHERE = [path for each in OF_FEATURES for path in each.get("elsewhere", ())]
"""Ways to other sites and back, with which tests of their features deal."""
OWN_FORMS = (
    "/device/ask",
    "/device/call",
    "/device/chore",
    "/device/code",
    "/device/commands",
    "/device/conduct",
    "/device/goals/minutes",
    "/device/goals/quiet",
    "/device/goals/remove",
    "/device/growing/wait",
    "/device/rules/wait",
    "/device/rules/yes",
    "/device/name",
    "/device/voucher",
    "/device/wish",
    "/device/wish/close",
    "/invitation",
    "/language",
)
"""Forms of a device's own page."""
FORMS = {
    "/pause": {"person": "mia"},
    "/resume": {"person": "mia"},
    "/bedtime/later": {"person": "mia", "minutes": "30"},
    "/bonus": {"name": "mia", "minutes": "15"},
    "/requests/1/approve": {"for": "good"},
    "/requests/1/deny": {},
    "/requests/1/code": {},
    "/device/conduct": {},
    "/device/call": {},
    "/device/commands": {"nonce": "0123456789abcdef0123456789abcdef"},
    "/device/voucher": {"code": "ABCD-EFGH"},
    "/counter/vouchers": {"count": "5", "minutes": "60", "band": "child"},
    "/counter/vouchers/withdraw": {},
    "/counter/count": {"counted": "10", "left": "0", "expected": "0", "last": "0"},
    "/counter/sell": {"article": "Cola", "count": "1", "seat": ""},
    "/counter/members/add": {"name": "Ana"},
    "/counter/members/remove": {"number": "1"},
    "/counter/members/deposit": {"number": "1", "amount": "5", "way": "in"},
    "/counter/members/charge": {"number": "1", "session": "s"},
    "/counter/screens/lock": {"seat": "seat-1"},
    "/counter/screens/unlock": {"seat": "seat-1"},
    "/counter/screens/message": {"seat": "seat-1", "text": "Hello"},
    "/counter/screens/shutdown": {"seat": "seat-1"},
    "/counter/screens/wake": {"seat": "seat-1"},
    "/counter/answered": {"seat": "seat-1"},
    "/counter/pay": {"session": "s"},
    "/counter/credit": {"session": "s"},
    "/counter/undo": {"session": "s", "entry": "1"},
    "/counter/prices/cafe": {"name": "Corner", "currency": "EUR", "pay": "before"},
    "/counter/prices/put": {"kind": "child", "minutes": "60", "price": "2"},
    "/counter/prices/remove": {"kind": "child", "minutes": "60"},
    "/counter/prices/article": {"article": "Cola", "price": "1.50"},
    "/counter/prices/article/remove": {"article": "Cola"},
    "/counter/duty": {"name": "Ana", "pin": "2580"},
    "/counter/leave": {},
    "/counter/staff": {"name": "Ana", "role": "staff", "pin": "2580"},
    "/counter/staff/remove": {"name": "Ana"},
    "/device/ask": {"site": "asked.example"},
    "/device/chore": {"chore": "Read"},
    "/device/goals/minutes": {"subject": "", "minutes": "30"},
    "/device/goals/quiet": {"starts": "20:00", "ends": "21:00"},
    "/device/goals/remove": {"goal": "1"},
    "/device/growing/wait": {},
    "/device/rules/wait": {},
    "/device/rules/yes": {},
    "/device/wish": {"kind": "minutes", "minutes": "30"},
    "/device/wish/close": {"wish": "1"},
    "/wishes/1/grant": {},
    "/wishes/1/deny": {},
    "/wishes/1/talk": {},
    "/wishes/1/close": {},
    "/wishes/1/undo": {},
    "/requests/1/talk": {},
    "/device/code": {"code": "123456"},
    "/people/mia/code": {"person": "mia", "minutes": "15"},
    "/grants/g/revoke": {},
    "/grants/new": {"subject": "x.example", "for": "good", "device": "mia-tablet"},
    "/openings/always": {"subject": "x.example", "for": "hour", "person": "mia"},
    "/people": {"name": "eve", "age": "40"},
    "/people/mia/age": {"age": "40"},
    "/people/mia/names": {"level": "off"},
    "/people/mia/switch": {"open": "tiktok"},
    "/people/mia/site": {"site": "x.example", "stance": "allow"},
    "/people/mia/site/remove": {"site": "x.example"},
    "/people/mia/nights": {},
    "/people/mia/chore": {"chore": "Read", "minutes": "15"},
    "/people/mia/chore/remove": {"chore": "Read"},
    "/people/mia/schedule": {"schedule": "homework", "what": "games", "mon": "15:00-16:00"},
    "/people/mia/youtube": {"item": "@name"},
    "/settings/block-page": {"on": "true"},
    "/settings/pictures": {"on": "true"},
    "/people/mia/preset": {"preset": "dinner"},
    "/people/mia/holidays": {"first": "2026-12-24"},
    "/people/mia/schedule/remove": {"schedule": "homework"},
    "/counter/open": {"seat": "seat-1", "band": "adult", "minutes": "60"},
    "/counter/extend": {"seat": "seat-1", "minutes": "30"},
    "/counter/move": {"seat": "seat-1", "to": "seat-2"},
    "/counter/pause": {"seat": "seat-2"},
    "/counter/resume": {"seat": "seat-2"},
    "/counter/end": {"seat": "seat-2"},
    "/counter/reopen": {"session": "s"},
    "/language": {"language": "fr", "back": "/log"},
    "/people/mia/erase": {},
    "/people/mia/remove": {},
    "/people/mia/budget": {"what": "games", "school": "45", "weekend": "90"},
    "/devices/look": {"device": "mia-tablet", "on": "yes"},
    "/settings/notices": {"name": "mother"},
    "/settings/notices/change": {"name": "mother", "language": "fr"},
    "/settings/notices/mail": {"name": "mother", "mailbox": "a@mail.example", "password": "x"},
    "/settings/notices/address": {"name": "mother", "address": "json://127.0.0.1:9/"},
    "/settings/notices/push": {"name": "mother", "endpoint": "https://push.example/x", "p256dh": "x", "auth": "x"},
    "/settings/notices/test": {"name": "mother"},
    "/settings/notices/remove": {"name": "mother"},
    "/devices/name": {"device": "192.168.1.9", "name": "mine"},
    "/devices/new/same": {"device": "192.168.1.9", "known": "mia-tablet"},
    "/devices/new/person": {"device": "192.168.1.9", "person": "tom"},
    "/devices/new/guest": {"device": "192.168.1.9"},
    "/devices/new/close": {"device": "192.168.1.9"},
    "/device/name": {"account": "ana", "password": PASSWORD, "owner": "tom"},
    "/devices/change": {"device": "mia-tablet", "name": "mine", "owner": "person:tom"},
    "/devices/give": {"device": "mia-tablet", "person": "tom"},
    "/devices/mia-tablet/away": {},
    "/devices/mia-tablet/away/tunnel/only": {},
    "/devices/mia-tablet/away/tunnel": {"form": "qr"},
    "/devices/mia-tablet/away/tunnel/remove": {},
    "/devices/remove": {"device": "mia-tablet"},
    "/devices/seat": {"seat": "seat-9", "place": "192.168.1.59"},
    "/devices/seat/rename": {"seat": "seat-1", "name": "window"},
    "/devices/seat/remove": {"seat": "seat-1"},
    "/lists": {"url": "https://x.example/l.txt", "category": "adult"},
    "/lists/remove": {"name": "x"},
    "/lists/accept": {"name": "x"},
    "/lists/sites/correct": {"host": "x.example"},
    "/lists/corrections": {"host": "x.example", "category": "adult"},
    "/lists/corrections/remove": {"host": "x.example", "category": "adult"},
    "/lists/corrections/import": {"category": "adult", "text": "@@||x.example^"},
    "/lists/selection": {"lists": "starter"},
    "/settings/network": {"country": "PT", "zone": "UTC", "unknown": "adult"},
    "/changes/1/undo": {},
    "/account/again": {"again-password": PASSWORD, "again-path": "/people/mia/switch", "open": "social"},
    "/account/password": {"old": PASSWORD, "new": "another good password"},
    "/account/sessions/end": {"session": "x"},
    "/account/code": {"secret": "A", "code": "1", "old": PASSWORD},
    "/account/code/stop": {"old": PASSWORD},
    "/settings/accounts": {"name": "eve", "role": "admin", "password": PASSWORD},
    "/settings/accounts/remove": {"name": "ana"},
    "/settings/tokens": {"name": "x", "scopes": "manage"},
    "/settings/tokens/remove": {"token": "x"},
    "/start/password": {"name": "eve", "password": PASSWORD, "code": SETUP_CODE},
    "/start/place": {"country": "PT", "zone": "UTC"},
    "/start/people": {"name-0": "eve", "age-0": "40"},
    "/start/devices": {},
    "/sign-in": {"name": "ana", "password": PASSWORD},
    "/sign-out": {},
    **{path: form for each in OF_FEATURES for path, form in each.get("forms", {}).items()},
}
API = (
    *(
        "/api/v1/status",
        "/api/v1/devices",
        "/api/v1/decisions",
        "/api/v1/requests",
        "/api/v1/grants",
        "/api/v1/openapi.json",
    ),
    *("/api/v1/explain?device=x&target=y", "/metrics"),
    *FILES,
)


class Tags(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def client(web, address="127.0.0.1", **headers):
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=30, headers={"origin": web.url} | headers
    )


@pytest.fixture
def web(new_web):
    return new_web


@pytest.fixture
def signed_in(web):
    with client(web) as browser:
        assert (
            browser.post("/start/password", data={"name": "ana", "password": PASSWORD, "code": SETUP_CODE}).status_code
            == 303
        )
        assert browser.post("/people", data={"name": "zoe", "age": "3"}).status_code == 303
        yield browser


def routes(web):
    """Return all routes of the application, so that the tables here stay complete."""
    return {(method, route) for method, route in web.routes if not route.startswith(("/api/", "/static/", "/metrics"))}


def test_every_page_and_form_is_in_the_tables_here(web):
    def as_pattern(path):
        return re.sub(r"\{[^}]+\}", "[^/?]+", path)

    for method, path in routes(web):
        known = (
            FORMS
            if method == "POST"
            else [page.partition("?")[0] for page in (*PAGES, *FILES)] + [*MACHINE_PATHS, *STREAMS, *ELSEWHERE]
        )
        assert any(re.fullmatch(as_pattern(path), each) for each in known), (method, path)


def fill_with_evil(web):
    device = DeviceId(EVIL)
    web.recorder.add(
        [
            DeviceSeen(NOW, device, EVIL, EVIL, EVIL, EVIL, EVIL),
            Observation(
                NOW,
                device,
                EVIL,
                EVIL,
                RequestKind.HTTP,
                Verdict.BLOCK,
                Reason.RULE,
                EVIL,
                EVIL,
                "javascript:" + EVIL,
                EVIL,
            ),
            AccessRequest(NOW, device, EVIL, EVIL, "javascript:" + EVIL, EVIL, EVIL),
        ]
    )
    web.recorder.flush()
    web.ledger.give(Grant(EVIL, EVIL, EVIL, NOW, None, device, EVIL, EVIL))
    web.ledger.pause(EVIL, person=EVIL)
    for part in PAGES_OF_FEATURES:
        if "fill_with" in part:
            part["fill_with"](web, EVIL)
    web.change_status(
        policy=EVIL,
        journal_problem=EVIL,
        lists=(ListHealth(EVIL, EVIL, 1, None, EVIL, publisher=EVIL, corrections={EVIL: EVIL}),),
        workers=(WorkerHealth(EVIL, EVIL, EVIL, NOW),),
    )
    web.control.devices["127.0.0.1"] = DeviceView(device, EVIL, "child-8-12", held=EVIL, may_sign_in=True)
    # Comments, notes and sites of the policy file.
    web.policy_path.write_text(
        web.policy_path.read_text().replace("[roblox]", f"[roblox, {{what: evil.example, note: {json.dumps(EVIL)}}}]")
        + f"# {EVIL}\n"
    )


def test_markup_from_outside_is_text_on_every_page(web, signed_in):
    fill_with_evil(web)
    signed_in.headers["user-agent"] = EVIL
    assert signed_in.post("/sign-in", data={"name": "ana", "password": PASSWORD}).status_code == 303
    signed_in.post("/people/mia/site", data={"site": "x.example", "stance": "block"})
    own = f"https://127.0.0.1:{signed_in.base_url.port}/certificate/"
    here = r"http://[0-9a-f]{8}\.127-0-0-1\.check\.hedgerow\.internal:\d+/check/here\.svg"
    sign = rf"{here}|https://hedgerow\.internal:{signed_in.base_url.port}/certificate/trusted\.svg"
    for path in (*PAGES, "/changes/2"):  # where the diff shows what the file says
        page = signed_in.get(path, follow_redirects=True)
        assert page.status_code == 200, path
        for tag, attributes in Tags(page.text).tags:
            assert tag not in {"iframe", "embed", "base", "style"}, path
            assert tag != "script" or re.fullmatch(r"/static/[a-z]+\.js(\?\w+)?", attributes.get("src", "")), path
            assert tag != "object" or attributes["data"].startswith(own) or re.fullmatch(sign, attributes["data"]), path
            assert tag != "img", path
            assert not any(name.startswith("on") or name == "style" for name in attributes), (path, attributes)
            assert not str(attributes.get("href", "")).startswith(("javascript:", "data:", "//")), path
        assert str(9973 * 9967) not in page.text, path


def test_no_form_of_another_site_changes_anything(web, signed_in):
    before = web.policy_path.read_text()
    web.recorder.add([AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "scratch.example")])
    web.recorder.flush()
    cookie = {"cookie": f"hedgerow_session={signed_in.cookies['hedgerow_session']}"}
    sessions = web.accounts.sessions()
    forgeries: tuple[dict[str, str], ...] = (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": web.url.replace("127.0.0.1", "127.0.0.1.evil.example")},
        {"origin": web.url + "0"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {},
    )
    with httpx.Client(base_url=web.url, trust_env=False, verify=False, timeout=60) as forged:
        for path, form in FORMS.items():
            for headers in forgeries:
                assert forged.post(path, data=form, headers=cookie | headers).status_code == 403, (path, headers)
                assert forged.get(path, headers=cookie | headers).status_code in {200, 303, 403, 404, 405, 422}, (
                    path,
                    headers,
                )
            assert web.policy_path.read_text() == before, path
            assert web.ledger.request(1).state == "open", path
            assert web.accounts.sessions() == sessions, path
            assert [row.name for row in web.accounts.accounts()] == ["ana"], path


SQL = (
    "' OR 1=1 --",
    "'; DROP TABLE decisions; --",
    "%' UNION SELECT password,1,1,1,1,1,1,1,1,1,1,1,1 FROM accounts --",
    "\\",
    "%",
    "_",
    "\x00",
    "*",
    "🦔",
)


def test_sql_in_filters_and_forms_is_only_text(web, signed_in):
    web.recorder.add(
        [
            Observation(
                NOW,
                DeviceId("mia-tablet"),
                "mia",
                "x",
                RequestKind.DNS,
                Verdict.BLOCK,
                Reason.CATEGORY,
                "a",
                "kept.example",
            )
        ]
    )
    web.recorder.flush()
    for text in SQL:
        _try_as_filter_and_form(signed_in, text)
        web.accounts.delays.forget("127.0.0.1")  # or the next sign-in would not look for its name


def _try_as_filter_and_form(signed_in, text):
    for field in ("device", "person", "verdict", "host", "days"):
        page = signed_in.get("/log", params={field: text})
        assert page.status_code == 200, text
        assert "argon2" not in page.text, text
        if field in {"device", "person", "host"}:
            assert "kept.example" not in page.text, text
    for field in ("device", "person", "host"):
        answer = signed_in.get("/api/v1/decisions", params={field: text})
        assert (answer.status_code, answer.json()["rows"]) == (200, []), text
    for path in ("/requests/1/deny", "/changes/1/undo"):
        assert signed_in.post(path.replace("1", quote(text, safe="")), data={}).status_code in {404, 405, 422}, text
    assert signed_in.post(f"/grants/{quote(text, safe='')}/revoke", data={}).status_code in {404, 422}, text
    assert signed_in.post("/sign-in", data={"name": text, "password": text}).status_code == 403, text
    assert "kept.example" in signed_in.get("/log").text, text


STRAY_PATHS = (
    "/static/../views.py",
    "/static/..%2f..%2fviews.py",
    "/static/%2e%2e/%2e%2e/accounts.py",
    "/static/hedgerow.css/../../site.py",
    "/static//etc/passwd",
    "/people/..%2f..%2fetc%2fpasswd",
    "/people/%2e%2e%2f%2e%2e",
    "/changes/..%2f1",
    "/device/..%2f..%2fadmin-token",
    "/device/ca.key",
    "/admin-token",
    "/../admin-token",
    "/journal.sqlite",
)


def test_no_path_leads_out_of_the_pages(web, signed_in):
    for path in STRAY_PATHS:
        answer = signed_in.get(path)
        assert answer.status_code in {404, 422}, path
        for secret in ("root:", "import ", TOKEN, "PRIVATE KEY", "SQLite format"):
            assert secret not in answer.text, path


def test_no_redirect_leaves_the_pages(web, signed_in):
    for path, form in FORMS.items():
        for where in ("//evil.example", "https://evil.example/", "/\\evil.example"):
            answer = signed_in.post(
                path, data=form | {"next": where}, params={"next": where, "url": where, "return_to": where}
            )
            if answer.status_code == 303:
                location = answer.headers["location"]
                assert re.match(r"/(?![/\\])", location), location
                assert "evil" not in location
            if path in {"/sign-out", "/account/password", "/account/code/stop"}:
                break
    for path in ("//evil.example", "//evil.example/%2e%2e", "/log//", "/people/"):
        assert "evil" not in signed_in.get(path).headers.get("location", "")


def test_a_planted_session_cookie_is_never_adopted(web):
    planted = "planted-by-somebody-else"
    with client(web) as browser:
        browser.post("/start/password", data={"name": "ana", "password": PASSWORD, "code": SETUP_CODE})
    with client(web) as victim:
        answer = victim.post(
            "/sign-in", data={"name": "ana", "password": PASSWORD}, headers={"cookie": f"hedgerow_session={planted}"}
        )
        assert answer.status_code == 303
        assert victim.cookies["hedgerow_session"] != planted
        first = victim.cookies["hedgerow_session"]
        victim.post("/sign-in", data={"name": "ana", "password": PASSWORD})
        assert victim.cookies["hedgerow_session"] != first
    with client(web, cookie=f"hedgerow_session={planted}") as attacker:
        assert attacker.get("/").status_code == 303
    with client(web, cookie=f"hedgerow_session={first}") as attacker:
        assert attacker.get("/").status_code == 303, "the session before ends when a new one begins"


def test_no_page_can_be_framed_sniffed_or_cached(web, signed_in):
    for path in PAGES + API:
        headers = signed_in.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_filtered_device_reaches_nothing_of_it(web, signed_in):
    """Tries every page, form and call, with headers that some servers trust."""
    web.control.devices[CHILD] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    before = web.policy_path.read_text()
    tricks: tuple[dict[str, str], ...] = (
        {},
        {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"},
        {"host": "127.0.0.1"},
        {"host": "localhost"},
        {"authorization": "Bearer x", "cookie": "hedgerow_session="},
        {"x-http-method-override": "GET", "x-original-url": "/device", "x-rewrite-url": "/device"},
    )
    open_to_all = {
        "/device",
        "/certificate",
        "/check",
        "/out-of-reach",
        "/device/advice/apps",
        "/device/advice/picture",
        "/device/rules",
    }
    for trick in tricks:
        with client(web, CHILD, **trick) as child:
            for path in PAGES + API:
                if path not in open_to_all and not path.startswith("/device/advice/"):
                    wanted = 303 if path == "/" else 403  # the first page leads to the child's own
                    assert child.get(path).status_code == wanted, (path, trick)
                    assert child.head(path).status_code in {wanted, 405}
            for path, form in FORMS.items():
                if path in OWN_FORMS:
                    continue
                assert child.post(path, data=form).status_code == 403, (path, trick)
                for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
                    assert child.request(method, path).status_code == 403
    assert web.policy_path.read_text() == before


def test_the_childs_page_shows_nothing_of_others(web, signed_in):
    web.control.devices[CHILD] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    web.recorder.add(
        [
            Observation(
                NOW, DeviceId("tom"), "tom", "x", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "a", "toms.example"
            ),
            AccessRequest(NOW, DeviceId("tom"), "tom", "tom-asks.example"),
            AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "mia-asks.example"),
        ]
    )
    web.recorder.flush()
    web.ledger.give(Grant("t", "tom-got.example", "zoltan", NOW, None, person="tom"))
    web.ledger.give(Grant("m", "mia-got.example", "ana", NOW, None, person="mia"))
    with client(web, CHILD) as child:
        page = child.get("/device").text
        assert child.get("/certificate/hedgerow-ca.pem").text == "hedgerow-ca.pem"
    for mine in (
        "mia-asks.example",
        "mia-got.example",
        "Roblox",
        "What is stored about me",
        "names of the sites",
        "by ana",
    ):
        assert mine in page
    for others in ("tom", "zoltan", "crack"):
        assert others not in page.lower().replace("automat", "")


def test_no_session_gets_an_end_that_is_no_instant(signed_in):
    """Every counter would fail at such a session from then on."""
    for ends in ("inf", "nan", "-1", "1e300"):
        assert signed_in.post("/counter/reopen", data={"session": "s", "ends": ends}).status_code == 422, ends
        assert signed_in.get("/counter", params={"ended": "s", "seat": "seat-1", "ends": ends}).status_code == 422, ends
