"""The web application over a real socket, used by browsers, scripts and filtered devices."""

import asyncio
import contextlib
import json
import os
import re
import socket
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from grafana_dashboards import ALL_METRICS
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from web_server import NOW, OWNER, OWNER_PASSWORD, TOKEN

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.control import BudgetRow, DeviceView, WorkerHealth
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.dashboards.notices import NoticeDispatcher
from hedgerow.dashboards.scopes import Role
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.host_facts import Lifeline
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.network import ListSelection
from hedgerow.policies.notices import NoticeTopic
from hedgerow.policies.reading.load import load_policy

MIA = DeviceId("mia-tablet")
HELPLINE = Lifeline("A helpline", "GB", "https://help.example/", ("help.example",), phone="0800 11 11")
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def client(web, address="127.0.0.1", **more):
    return httpx.Client(
        base_url=web.url,
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        trust_env=False,
        timeout=30,
        **more,
    )


def seen(
    host="www.bet.example",
    device=MIA,
    person="mia",
    verdict=Verdict.BLOCK,
    reason=Reason.CATEGORY,
    what="gambling",
    **more,
):
    return Observation(NOW, device, person, "child-8-12", RequestKind.DNS, verdict, reason, what, host, **more)


def write(web, *messages):
    web.recorder.add(messages)
    web.recorder.flush()


def own(web, **more):
    """Return the headers of a form on our own page."""
    return {"origin": web.url, **more}


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_first_page_shows_devices_decisions_requests_and_health(web):
    write(
        web,
        DeviceSeen(NOW, MIA, "192.168.1.31", "aa:bb:cc:dd:ee:ff", "mia", "child-8-12"),
        seen(count=7, rule="starter/gambling:12"),
        AccessRequest(NOW - 60, MIA, "mia", "scratch.example", note="for school"),
    )
    web.ledger.give(Grant("g1", "chess.example", "web page", NOW, NOW + 3600, MIA))
    web.ledger.pause("web page", person="tom")
    web.change_status(
        workers=(WorkerHealth("gate-0", "gate", "restarting", NOW - 5, None, 3),),
        lists=(ListHealth("ut1/adult", "adult", 4600123, NOW - 7200),),
        policy_problems=(Problem("hedgerow.yaml", 12, 5, "unknown key 'bedtimes'"),),
        journal_problem="the journal is unavailablenot be written: disk full",
    )
    with client(web) as browser:
        pages = [browser.get("/"), browser.get("/day")]
    assert {page.status_code for page in pages} == {200}
    text = " ".join(Tags("".join(page.text for page in pages)).text.split())
    for part in (
        *("mia-tablet", "192.168.1.31", "Child aged 8 to 12", "www.bet.example", "Gambling"),
        *("mia asks for scratch.example", "for school", "chess.example", "tom is paused"),
        *(
            "The process gate-0 is not running at the moment.",
            "hedgerow.yaml:12:5: unknown key 'bedtimes'",
            "disk full",
            "21:26",
        ),
    ):
        assert part in text, part


def test_the_first_page_works_with_an_empty_journal(web):
    with client(web) as browser:
        page, day = browser.get("/"), browser.get("/day")
    assert (page.status_code, day.status_code) == (200, 200)
    assert "No device has been seen yet" in day.text
    assert "No requests are waiting" in page.text


@pytest.mark.parametrize(("how_long", "ends"), [("hour", NOW + 3600), ("good", None)])
def test_a_request_is_approved_with_one_press(web, how_long, ends):
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web) as browser:
        answer = browser.post("/requests/1/approve", data={"for": how_long}, headers=own(web))
        (grant,) = browser.get("/api/v1/grants").json()["grants"]
        assert (answer.status_code, answer.headers["location"][:7]) == (303, "/?done=")
        assert (grant["subject"], grant["person"], grant["ends"], grant["actor"]) == (
            "scratch.example",
            "mia",
            ends,
            "this machine",
        )
        assert browser.get("/api/v1/requests").json() == []
        assert browser.post("/requests/1/approve", data={"for": how_long}, headers=own(web)).status_code == 404
        assert browser.post(f"/grants/{grant['id']}/revoke", headers=own(web)).status_code == 303
        assert browser.get("/api/v1/grants").json()["grants"] == []


def test_denying_pausing_and_resuming(web):
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web) as browser:
        assert browser.post("/requests/1/deny", headers=own(web)).status_code == 303
        assert [row["state"] for row in browser.get("/api/v1/requests?state=all").json()] == ["denied"]
        assert browser.post("/pause", data={"person": "mia", "minutes": "30"}, headers=own(web)).status_code == 303
        assert browser.post("/pause", data={"person": "", "minutes": "60"}, headers=own(web)).status_code == 303
        pauses = browser.get("/api/v1/grants").json()["pauses"]
        assert {(pause["person"], pause["ends"]) for pause in pauses} == {("mia", NOW + 1800), (None, NOW + 3600)}
        assert browser.post("/resume", data={"person": "mia", "device": ""}, headers=own(web)).status_code == 303
        assert [pause["person"] for pause in browser.get("/api/v1/grants").json()["pauses"]] == [None]
        assert browser.post("/pause", data={"person": "nobody"}, headers=own(web)).status_code == 422


def test_the_reason_of_a_denial_is_one_plain_line(web):
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web, headers=BEARER) as script:
        assert script.post("/api/v1/requests/1/deny", json={"why": "x" * 301}).status_code == 422
        assert script.post("/api/v1/requests/1/deny", json={"reason": "late"}).status_code == 422
        assert script.post("/api/v1/requests/1/deny", json={"why": " It is\x1b[1m late,\nsleep "}).status_code == 204
        (row,) = script.get("/api/v1/requests?state=denied").json()
        assert row["why"] == "It is [1m late, sleep"


def test_the_api_changes_with_the_token_alone(web):
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"), AccessRequest(NOW, MIA, "mia", "other.example"))
    with client(web, headers=BEARER) as script:
        assert (
            script.post("/api/v1/requests/1/approve", json={"how_long": "hour"}).json()["subject"] == "scratch.example"
        )
        assert script.post("/api/v1/requests/2/deny").status_code == 204
        rows = script.get("/api/v1/requests?state=denied").json()
        assert [(row["id"], row["why"]) for row in rows] == [(2, "")]
        given = script.post("/api/v1/grants", json={"subject": "games", "person": "tom", "how_long": "today"})
        assert given.status_code == 201
        assert given.json()["ends"] == 1_780_009_200.0  # midnight in Lisbon, an hour before that of UTC
        assert script.post("/api/v1/pause", json={"person": "tom", "minutes": 5}).json()["person"] == "tom"
        assert script.post("/api/v1/resume", json={"person": "tom"}).status_code == 204
        assert script.delete(f"/api/v1/grants/{given.json()['id']}").status_code == 204
        assert (
            script.get("/api/v1/explain", params={"device": MIA, "target": "www.pokerstars.com"}).json()[0]["decision"][
                "verdict"
            ]
            == "block"
        )


API_MISTAKES = (
    ("POST", "/api/v1/requests/99/approve", {"how_long": "hour"}, 404),
    ("POST", "/api/v1/requests/99/deny", None, 404),
    ("POST", "/api/v1/requests/99/approve", {"how_long": "ever"}, 422),
    ("POST", "/api/v1/requests/99/approve", {"how_long": "hour", "more": 1}, 422),
    ("POST", "/api/v1/requests/99/approve", None, 422),
    ("POST", "/api/v1/requests/x/approve", {"how_long": "hour"}, 422),
    ("POST", "/api/v1/requests/99999999999999999999/deny", None, 422),
    ("POST", "/api/v1/pause", {"person": "a", "device": "b"}, 422),
    ("POST", "/api/v1/pause", {"minutes": -1}, 422),
    ("POST", "/api/v1/pause", {"person": "nobody"}, 422),
    ("POST", "/api/v1/grants", {"subject": "", "how_long": "hour"}, 422),
    ("DELETE", "/api/v1/grants/..%2f..", None, 404),
    ("DELETE", "/api/v1/grants/none", None, 404),
    ("GET", "/api/v1/decisions?limit=0", None, 422),
    ("GET", "/api/v1/decisions?cursor=-1", None, 422),
    ("GET", "/api/v1/decisions?verdict=perhaps", None, 422),
    ("GET", "/api/v1/requests?state=other", None, 422),
    ("GET", "/api/v1/nothing", None, 404),
    ("PUT", "/api/v1/pause", None, 405),
)


def test_api_errors_are_problem_details(web):
    with client(web, headers=BEARER) as script:
        for method, path, body, status in API_MISTAKES:
            answer = script.request(method, path, json=body)
            assert answer.status_code == status, (method, path, body)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
            assert answer.json()["detail"]


def test_decisions_page_by_cursor(web):
    write(web, *(seen(f"{number}.example") for number in range(5)))
    hosts, cursor = [], ""
    with client(web) as script:
        while cursor is not None:
            page = script.get("/api/v1/decisions?limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
            hosts += [row["host"] for row in page["rows"]]
            cursor = page["older"]
        assert hosts == [f"{number}.example" for number in (4, 3, 2, 1, 0)]
        assert "2.example" in script.get("/log?host=2.example").text
        assert "3.example" not in script.get("/log?host=2.example").text
        assert "Nothing to show" in script.get("/log", params={"device": EVIL, "verdict": "block", "host": EVIL}).text


def test_metrics_show_exactly_the_declared_table(web):
    web.change_status(
        lists=(ListHealth("a", "adult", 5, NOW - 60), ListHealth("b", "adult", 7, None)), policy_loaded=NOW, dropped=3
    )
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web) as scraper:
        answer = scraper.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {name for name in families if name.startswith("hedgerow_")} == {
        metric.name.removesuffix("_total") for metric in ALL_METRICS
    }
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    dropped = {sample.labels["role"]: sample.value for sample in families["hedgerow_events_dropped"].samples}
    assert values["hedgerow_access_requests_open"] == 1
    assert values["hedgerow_list_domains"] == 12
    assert values["hedgerow_list_age_seconds"] == 60
    assert values["hedgerow_policy_loaded_timestamp_seconds"] == NOW
    assert dropped == {"control": 3, "dns": 0, "gate": 0, "inspector": 0, "signer": 0}


def test_health(web):
    with client(web) as probe:
        assert probe.get("/healthz").status_code == 200
        web.change_status(workers=(WorkerHealth("gate-0", "gate", "restarting", NOW),))
        assert probe.get("/healthz").status_code == 503
    for path in (b"/healthz", b"/readyz"):
        for head in (b"GET %b HTTP/1.0", b"HEAD %b HTTP/1.0", b"GET %b HTTP/1.0\r\nHost: pages.example"):
            assert raw(web, head % path + b"\r\n\r\n").startswith(b"HTTP/1.1 503 "), (
                "as HAProxy's `option httpchk` asks"
            )


READINESS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "ok"),
    ({"workers": (WorkerHealth("dns-0", "dns", "restarting", NOW),)}, "some workers are not running"),
    (
        {"policy_problems": (Problem(EVIL, 3, None, EVIL),)},
        "the newest policy has mistakes, and the last good one is in force",
    ),
    ({"rules_in_force": False, "publish_problem": EVIL}, "the newest rules are not in force"),
    ({"lists": (ListHealth("a", "adult", 5), ListHealth(EVIL, "adult", 0, waiting=True))}, "lists are missing"),
    ({"lists": (ListHealth(EVIL, "adult", 0, problem="HTTP 404"),)}, "lists are missing"),
    ({"lists": (ListHealth("an older copy", "adult", 5, problem="HTTP 404"), ListHealth("empty", "adult", 0))}, "ok"),
)


def test_readiness_gives_plain_reasons_to_anybody(web):
    at_first = web.control.state
    with client(web, "127.0.0.2") as probe:
        for change, reason in READINESS:
            web.control.state = at_first
            web.change_status(**change)
            answer = probe.get("/readyz", headers={"host": "pages.example"})
            assert (answer.status_code, answer.text) == (200 if reason == "ok" else 503, f"{reason}\n")


def test_every_answer_carries_the_security_headers(web):
    with client(web) as browser, client(web, "127.0.0.2") as child:
        answers = [
            browser.get(path)
            for path in ("/", "/static/hedgerow.css", "/api/v1/status", "/nothing", "/metrics", "/sign-in")
        ]
        answers += [child.get("/"), browser.get("/", headers={"host": "evil.example"}), browser.post("/pause")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_pages_have_no_inline_script_or_style_and_nothing_from_outside(web):
    web.control.devices["127.0.0.1"] = DeviceView(MIA, "mia", "child-8-12")
    write(web, seen(), AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web) as browser:
        for path in ("/", "/device", "/sign-in", "/nothing"):
            for tag, attributes in Tags(browser.get(path).text).tags:
                assert tag not in {"iframe", "object", "embed", "base", "style"}
                assert tag != "script" or attributes["src"].startswith("/static/")
                assert not any(name.startswith("on") or name == "style" for name in attributes)
                for name in ("src", "href", "action"):
                    assert re.match(r"[/#]", attributes.get(name, "/")), attributes


def test_input_of_others_is_escaped(web):
    evil_device = DeviceId(EVIL)
    web.control.devices["127.0.0.1"] = DeviceView(evil_device, EVIL, EVIL, held=EVIL)
    write(
        web,
        DeviceSeen(NOW, evil_device, EVIL, EVIL, EVIL, EVIL, EVIL),
        Observation(
            NOW,
            evil_device,
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
        AccessRequest(NOW, evil_device, EVIL, EVIL, "javascript:" + EVIL, EVIL, EVIL),
    )
    web.ledger.give(Grant(EVIL, EVIL, EVIL, NOW, None, evil_device, EVIL, EVIL))
    web.ledger.pause(EVIL, person=EVIL)
    web.change_status(
        policy=EVIL,
        journal_problem=EVIL,
        policy_problems=(Problem(EVIL, 1, 1, EVIL, EVIL),),
        list_problems=(Problem(EVIL, 1, 1, EVIL, EVIL),),
        lists=(ListHealth(EVIL, EVIL, 1, None, EVIL),),
        workers=(WorkerHealth(EVIL, EVIL, EVIL, NOW),),
    )
    with client(web) as browser:
        pages = [
            browser.get("/"),
            browser.get("/log", params={"host": EVIL, "device": EVIL, "verdict": EVIL}),
            browser.get("/device"),
        ]
    for page in pages:
        assert page.status_code == 200
        found = Tags(page.text)
        assert "img" not in {tag for tag, _ in found.tags}
        assert all(attributes["src"].startswith("/static/") for tag, attributes in found.tags if tag == "script")
        assert not any(str(attributes.get("href", "")).startswith("javascript:") for _, attributes in found.tags)
        assert "{{7*7}}" in found.text
        assert "<script>alert(1)" in found.text


def test_a_helpline_without_a_url_is_not_a_link(web):
    web.control.devices["127.0.0.2"] = DeviceView(
        MIA, "mia", "child-8-12", (Lifeline("x", "GB", "javascript:alert(1)", ()),)
    )
    with client(web, "127.0.0.2") as child:
        assert "javascript:" not in child.get("/device").text


def test_a_filtered_device_sees_its_own_page_and_nothing_else(web):
    asyncio.run(web.accounts.create("ana", Role.ADMIN, "four words and more"))
    web.control.devices["127.0.0.2"] = DeviceView(
        MIA, "mia", "child-8-12", (HELPLINE,), "bedtime", NOW + 3600, Reason.BEDTIME
    )
    write(
        web,
        seen(),
        seen("chat.example", what="messaging"),
        seen("toms.example", DeviceId("tom-laptop"), "tom"),
        seen("fine.example", verdict=Verdict.ALLOW, reason=Reason.DEFAULT),
    )
    with client(web, "127.0.0.2") as child:
        page = child.get("/device")
        text = " ".join(Tags(page.text).text.split())
        for part in (
            "Hello, mia! This is your page.",
            "chat.example",
            "It is bedtime until 22:27",
            "0800 11 11",
        ):
            assert part in text
        assert "toms.example" not in text
        assert "www.bet.example" not in text, "gambling is not for her to read"
        assert "fine.example" not in text
        for path in ("/", "/?x"):
            assert child.get(path).headers["location"] == "/device?from=parents", path
        for path in (
            "/people",
            "/metrics",
            "/api/v1/status",
            "/api/v1/decisions",
            "/api/v1/openapi.json",
            "/sign-in",
            "/docs",
        ):
            assert child.get(path).status_code == 403, path
        tricks = (
            {"x-forwarded-for": "127.0.0.1"},
            {"x-real-ip": "127.0.0.1"},
            {"forwarded": "for=127.0.0.1"},
            {"host": "127.0.0.1"},
            {"host": "localhost"},
            {"x-http-method-override": "GET"},
            {"x-original-url": "/device"},
            {"authorization": "Bearer x"},
            {"cookie": "hedgerow_session=x"},
        )
        for trick in tricks:
            assert child.get("/people", headers=trick).status_code == 403, trick
        for path in ("/pause", "/requests/1/approve", "/sign-in", "/device"):
            assert child.post(path, headers={"origin": web.url}, data={"for": "good"}).status_code in {403, 405}, path


def raw(web, request, source="127.0.0.2"):
    with socket.create_connection(("127.0.0.1", web.port), 5, source_address=(source, 0)) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while data := line.recv(65536):
            answer += data
    return answer


OTHER_SPELLINGS = (
    b"/device/../",
    b"/device%2f..%2f",
    b"/%2e%2e/metrics",
    b"/./metrics",
    b"//metrics",
    b"/metrics;/device",
    b"/metrics%00/device",
    b"/METRICS",
)


def test_a_filtered_device_finds_no_other_spelling_of_a_path(new_web):
    for target in OTHER_SPELLINGS:
        answer = raw(new_web, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ", b"HTTP/1.1 303 ")), target  # 303: to the guide
        assert b"hedgerow_build_info" not in answer, target


def test_absolute_form_and_two_host_headers_are_refused(web):
    for request in (
        b"GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\n\r\n",
    ):
        assert b"hedgerow_build_info" not in raw(web, request)


def test_a_device_outside_the_network_gets_nothing(web):
    with client(web, "127.0.0.3") as stranger:
        assert stranger.get("/device").status_code == 403
        for path in (
            "/certificate",
            "/certificate/hedgerow-ca.pem",
            "/certificate/trusted.svg",
            "/proxy.pac",
            "/wpad.dat",
        ):
            assert stranger.get(path).status_code == 403, path


def test_forms_of_other_sites_are_refused(web):
    write(web, AccessRequest(NOW, MIA, "mia", "scratch.example"))
    with client(web) as browser:
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {}, {"sec-fetch-site": "cross-site"}):
            assert browser.post("/requests/1/approve", data={"for": "good"}, headers=headers).status_code == 403, (
                headers
            )
        assert browser.get("/api/v1/grants").json()["grants"] == []
        assert browser.get("/requests/1/approve", follow_redirects=False).headers["location"] == "/"
        assert browser.get("/counter/vouchers", follow_redirects=False).headers["location"] == "/counter"


def test_a_rebound_name_reaches_nothing(web):
    with client(web) as browser:
        for path in ("/", "/metrics", "/api/v1/status", "/device"):
            assert browser.get(path, headers={"host": f"evil.example:{web.port}"}).status_code == 421


def test_big_and_endless_bodies_are_refused(web):
    with client(web, headers=BEARER) as script:
        assert script.post("/api/v1/pause", content=b"x" * 70_000).status_code == 413
        assert script.post("/api/v1/pause", content=iter([b"{}"])).status_code == 413


def test_the_openapi_description_names_every_route(web):
    with client(web) as script:
        description = script.get("/api/v1/openapi.json").json()
    assert {"/api/v1/status", "/api/v1/devices", "/api/v1/decisions", "/api/v1/requests", "/api/v1/grants"} <= set(
        description["paths"]
    )
    assert all(path.startswith("/api/v1/") for path in description["paths"])
    json.dumps(description)


def test_a_broken_journal_is_reported_and_the_server_continues(web):
    with web.engine.begin() as connection:
        for table in ("devices_seen", "access_requests"):
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away_{table}")
    with client(web) as browser:
        for path in ("/", "/api/v1/devices", "/metrics"):
            answer = browser.get(path)
            assert answer.status_code == 503, path
            assert "journal is unavailable" in answer.text, path
            assert "devices_seen" not in answer.text, path
        assert browser.get("/api/v1/status").status_code == 200


def test_a_change_that_a_full_disk_refuses_is_told(web):
    @event.listens_for(web.engine.engine, "checkout")
    def leave_no_room(connection, _record, _proxy):
        connection.execute("PRAGMA max_page_count = 1")  # no more pages than there are

    with client(web, headers=BEARER) as script:
        told = (script.post("/api/v1/pause", json={"person": "tom", "minutes": 5}) for _ in range(1000))
        refused = next(answer for answer in told if answer.status_code != 201)
        assert refused.status_code == 503
        assert refused.json()["detail"].startswith("The disk is full, so this was not saved and is not in force.")


def test_an_internal_error_reveals_no_details(web):
    web.control.state = None
    with client(web) as browser:
        answer = browser.get("/api/v1/status")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_response_does_not_wait_for_the_clients_acknowledgement(web):
    """With Nagle's algorithm, head and body in two segments would cost 40 ms per response on a persistent
    connection.
    """
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as browser:
        browser.sendall(b"GET /static/hedgerow.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert browser.recv(100).startswith(b"HTTP/1.1 200")
        accepted = own_sockets_between(browser.getpeername(), browser.getsockname())
        found = [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in accepted]
        for each in accepted:
            each.close()
        assert found
        assert all(found)


def own_sockets_between(own, peer):
    """Return copies of the sockets of this process, in which the server runs, that connect its address with another's.

    A peer's port alone may be that of an older connection to another server too.
    """
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), contextlib.ExitStack() as until_known:
            if not str(link.readlink()).startswith("socket:"):
                continue
            copy = until_known.enter_context(socket.socket(fileno=os.dup(int(link.name))))
            if (copy.getsockname()[:2], copy.getpeername()[:2]) == (own, peer):
                until_known.pop_all()
                found.append(copy)
    return found


def test_time_against_budget_for_the_parent_and_for_the_child(web):
    web.time.rows = (
        BudgetRow("mia", "", 70, 90, 20, NOW + 3600),
        BudgetRow("mia", "games", 45, 45, 0, NOW + 3600),
        BudgetRow("tom", "", 10, 60, 50, NOW + 3600),
        BudgetRow("tom", "video", 10, None, None, NOW + 3600),
    )
    web.control.devices["127.0.0.2"] = DeviceView(MIA, "mia", "child-8-12")
    with client(web) as browser:
        page = " ".join(Tags(browser.get("/").text).text.split())
        assert "20 min left" in page
        assert "20 minutes left 70 of 90 minutes used" in page
        assert "video" not in page
        assert (
            browser.post(
                "/bonus", data={"name": "mia", "subject": "games", "minutes": "15"}, headers=own(web)
            ).status_code
            == 303
        )
        assert browser.post("/bonus", data={"name": "nobody", "minutes": "15"}, headers=own(web)).status_code == 422
        assert browser.post("/bonus", data={"name": "mia", "minutes": "-15"}, headers=own(web)).status_code == 422
    assert web.time.given == [("mia", "games", 15, "this machine")]
    with client(web, "127.0.0.2") as child:
        page = " ".join(Tags(child.get("/device").text).text.split())
    assert "Games: 0 minutes left 45 of 45 minutes used" in page
    assert "60 minutes" not in page, "tom's"


def test_endings_are_on_the_childs_page_and_in_json(web):
    web.time.rows = (BudgetRow("mia", "games", 40, 45, 5, NOW + 3600), BudgetRow("tom", "", 10, 60, 50, NOW + 3600))
    web.time.ending = (
        UpcomingEnd(MIA, Reason.BUDGET, "category:games", 5, None),
        UpcomingEnd("tom", Reason.BEDTIME, "", 9, NOW + 540),
    )
    web.control.devices["127.0.0.2"] = DeviceView(MIA, "mia", "child-8-12")
    with client(web, "127.0.0.2") as child:
        page = " ".join(Tags(child.get("/device").text).text.split())
        told = child.get("/device/time").json()
    assert "5 minutes left for Games." in page
    assert "until bedtime" not in page, "tom's"
    assert [(each["says"], each["minutes"], each["at"]) for each in told["endings"]] == [
        ("5 minutes of games are left", 5, None)
    ]
    assert [each["whose"] for each in told["budgets"]] == ["mia"]
    with client(web, "127.0.9.9") as outsider:
        assert outsider.get("/device/time").status_code == 403


def test_expiring_rules_are_shown_and_do_not_apply_afterwards(web):
    day = [time.strftime("%Y-%m-%d", time.gmtime(NOW + days * 86400)) for days in (-3, 0, 30)]
    web.policy_path.write_text(f"""
network: {{timezone: Europe/Lisbon}}
people:
  mia:
    age: 15
    devices: [mia-tablet]
    block:
      - {{what: roblox, until: {day[0]}, note: a break that is over}}
      - {{what: fortnite, until: {day[1]}, note: only for today}}
      - {{what: minecraft, until: {day[2]}, note: for a month}}
devices: {{mia-tablet: {{ip: 127.0.0.2}}}}
""")
    web.control.devices["127.0.0.2"] = DeviceView(MIA, "mia", "teen-13-15")
    with client(web) as parent, client(web, "127.0.0.2") as child:
        today, person, own = (
            Tags(page).text
            for page in (parent.get("/day").text, parent.get("/people/mia/sites").text, child.get("/device").text)
        )
    assert [note in today for note in ("a break that is over", "only for today", "for a month")] == [True, True, False]
    assert [note in person for note in ("a break that is over", "only for today", "for a month")] == [True, True, True]
    assert [note in own for note in ("a break that is over", "only for today", "for a month")] == [False, True, True]
    assert ["Roblox" in own, "Fortnite" in own, "Minecraft" in own] == [False, True, True]


def test_a_held_back_list_is_accepted(web):
    web.change_status(lists=(ListHealth("ads", "ads-trackers", 9, NOW, "held back: it shrank", held=True),))
    with client(web) as browser:
        assert "Use the newer copy of ads" in browser.get("/lists").text
        assert browser.post("/lists/accept", data={"name": "ads"}, headers=own(web)).status_code == 303
        assert "Use the newer copy" not in browser.get("/lists").text
        assert browser.post("/lists/accept", data={"name": "ads"}, headers=own(web)).status_code == 422


def test_what_is_left_out_of_a_list_is_shown_with_its_publisher(web):
    row = ListHealth(
        "big-list", "adult", 9, NOW, publisher="https://lists.example/", corrections={"help.example": "helpline"}
    )
    web.change_status(lists=(row,))
    with client(web) as browser:
        (shown,) = re.findall(r'<section class="card" id="corrected".*?</section>', browser.get("/lists").text, re.S)
        assert all(each in shown for each in ("help.example", "big-list", "https://lists.example/", "adult sites"))
        (sent,) = browser.get("/api/v1/status").json()["lists"]
        assert sent["corrections"] == {"help.example": "helpline"}
    web.change_status(lists=(ListHealth("big-list", "adult", 9, NOW),))
    with client(web) as browser:
        assert 'id="corrected"' not in browser.get("/lists").text


def test_a_site_of_the_wrong_topic_is_corrected_with_one_tap_undone_and_exported(web):
    write(web, seen("help.example"))
    with client(web) as browser:
        for page in ("/log", "/day", "/why?who=person:mia&target=www.bet.example"):
            assert "Wrong topic" in browser.get(page).text, page
        form = {"host": "www.help.example", "category": "gambling"}
        sent = browser.post("/lists/corrections", data=form, headers=own(web, referer=f"{web.url}/log"))
        assert sent.headers["location"].startswith("/log?saved=")
        assert "help.example does not count as Gambling." in browser.get(sent.headers["location"]).text
        assert (
            "gambling: [help.example]" in web.policy_path.read_text() or "- help.example" in web.policy_path.read_text()
        )
        export = browser.get("/lists/corrections/gambling.txt")
        assert export.text.splitlines()[1:] == ["@@||help.example^"]
        page = browser.get("/lists").text
        assert "Remove the correction of help.example" in page
        browser.post(
            "/lists/corrections/remove", data={"host": "help.example", "category": "gambling"}, headers=own(web)
        )
        assert "help.example" not in browser.get("/lists").text
        taken = {"category": "gambling", "text": export.text}
        assert browser.post("/lists/corrections/import", data=taken, headers=own(web)).status_code == 303
        assert "Remove the correction of help.example" in browser.get("/lists").text
        for wrong in ({"host": "x", "category": "gambling"}, {"host": "x.example", "category": "illegal"}):
            assert browser.post("/lists/corrections", data=wrong, headers=own(web)).status_code == 422


def test_the_log_is_exported_with_the_filters_that_are_shown(web):
    write(web, seen("old.example"), seen("www.bet.example"), seen("other.example", person="tom"))
    with client(web) as browser:
        page = Tags(browser.get("/log/raw?person=mia&days=7&host=bet.example").text)
        (link,) = [
            attributes["href"] for tag, attributes in page.tags if tag == "a" and "export" in attributes.get("href", "")
        ]
        lines = browser.get(link).text.splitlines()
    assert len(lines) == 2
    assert "www.bet.example" in lines[1]
    assert f"since={round(NOW - 7 * 86400)}" in link


def test_a_grant_shows_its_actor_and_note(web):
    web.control.devices["127.0.0.2"] = DeviceView(MIA, "mia", "child-8-12")
    with client(web) as parent, client(web, "127.0.0.2") as child:
        order = {"subject": "chess.example", "how_long": "hour", "person": "mia", "note": "for the club"}
        given = parent.post("/api/v1/grants", json=order, headers=BEARER).json()
        assert (given["actor"], given["note"]) == ("the command line", "for the club")
        for page in (parent.get("/day"), child.get("/device")):
            text = " ".join(Tags(page.text).text.split())
            assert re.search(r"chess.example [^.]*until [^.]*[,.] by the command line · for the club", text), text


def test_today_merges_similar_rows(web):
    """Otherwise a seat without stored sites would fill the list with equal rows."""
    seat = {"device": DeviceId("seat-1"), "person": None, "reason": Reason.NO_SESSION, "what": ""}
    for _ in range(12):
        write(web, seen("", **seat))
    write(web, seen("www.bet.example"), seen("www.dice.example"))
    with client(web) as browser:
        page = browser.get("/day").text
        log = browser.get("/log/raw").text
    assert page.count("not kept") == 1
    assert "×</span>12</td>" in page
    assert page.count('<td class="when">') == 3
    assert log.count("not kept") == 12, "the log has each"


def test_a_guest_sees_how_long_the_session_goes_on(web):
    seat = DeviceView(DeviceId("seat-1"), None, "seat-child", is_seat=True, session_ends=NOW + 170)
    for view, left in ((seat, "<b>3</b> min left, until"), (replace(seat, session_ends=None), "")):
        web.control.devices["127.0.0.2"] = view
        with client(web, "127.0.0.2") as browser:
            page = browser.get("/device").text
        assert ("min left" in page, left in page) == (bool(left), True)


def test_what_keeps_all_lists_from_being_updated_is_no_line_of_a_list(web):
    why = "the compiled lists of the bundle are not taken over: the server answers 404"
    web.change_status(lists_problem=why, list_problems=(Problem("ads", None, None, "is binary data, not a list"),))
    with client(web) as browser:
        for page in (browser.get("/").text, browser.get("/lists").text):
            assert "The lists could not be updated" in page
            assert why in page
            assert "could not be read" not in page


@pytest.mark.parametrize(("setting", "is_closed"), [("", False), ("unopened_seats: closed\n", True)])
def test_the_state_of_an_unopened_seat_follows_the_policy(web, setting, is_closed):
    web.policy_path.write_text(f"{setting}seats: {{seat-1: {{ip: 127.0.0.6}}}}\n")
    with client(web) as browser:
        page = browser.get("/devices").text
    assert ("shows only its welcome page" in page, "follows the rules for a child" in page) == (
        is_closed,
        not is_closed,
    )


def covered(*lists, wanted=("adult",)):
    return {"lists": lists, "coverage": coverage_by_category(lists, {}, wanted)}


def test_pages_say_loudly_when_most_adult_sites_are_open(web):
    starter, public = (
        ListHealth("starter/adult", "adult", 117, NOW, starter=True),
        ListHealth("hagezi-nsfw", "adult", 0, is_remote=True),
    )
    failed, there = (
        replace(public, problem="the server answered 404", failed=True),
        replace(public, domains=111_000, fetched=NOW - 10_800),
    )
    loud, first = "Most adult sites are open", {"recommended": ("hagezi-nsfw",)}
    web.policy_path.write_text("people: {mia: {age: 9}}\n")
    with httpx.Client(base_url=web.url, trust_env=False, verify=False, timeout=60) as browser:

        def pages(**status):
            web.change_status(**{"starter_only": False, **first, **status})
            return "".join(browser.get(path).text for path in ("/", "/day")), browser.get("/lists").text

        for page in pages(**covered(starter, replace(public, waiting=True))):
            assert loud in page
            assert "The others are being fetched." in page
        today, lists = pages(**covered(starter, failed))
        assert "The only list cannot be fetched" in today, "the page has a notice of its own for that"
        assert loud not in today
        for page in (
            lists,
            pages(**covered(starter, failed, replace(there, source="ads", category="ads-trackers")))[0],
        ):
            assert loud in page
            assert "1 could not be fetched; Hedgerow keeps trying." in page
        for page in pages(**covered(starter), starter_only=True):
            assert loud in page
            assert "by choice" in page
            assert 'value="recommended"' in page
        for page in pages(**covered(starter, there)):
            assert loud not in page
            assert "111,117 names from 2 lists, updated 3 hours ago" in " ".join(page.split())
        page = pages(**covered(starter, there))[1]
        assert ">good<" in page, "the public list is good"
        assert page.count(">good<") == 1, "117 names are never good"
        assert "GPL-3.0" in page
        assert loud not in pages(**covered(starter, wanted=()))[0], "nobody here is to be kept from adult sites"


def test_the_public_lists_are_switched_off_and_on(web):
    web.policy_path.write_text("people: {mia: {age: 9}}\n")
    with httpx.Client(
        base_url=web.url, trust_env=False, headers={"origin": web.url}, verify=False, timeout=60
    ) as browser:
        assert (
            "/lists?saved="
            in browser.post(
                "/lists/selection", data={"lists": "starter"}, headers={"referer": f"{web.url}/lists"}
            ).headers["location"]
        )
        assert load_policy(web.policy_path).network.lists is ListSelection.STARTER
        browser.post("/lists/selection", data={"lists": "recommended"})
        assert load_policy(web.policy_path).network.lists is ListSelection.RECOMMENDED
        assert browser.post("/lists/selection", data={"lists": "none"}).status_code == 422


def test_there_is_no_switch_for_illegal_material(web):
    with httpx.Client(base_url=web.url, trust_env=False, timeout=30, verify=False) as client:
        page = client.get("/people/mia/topics").text
    assert 'value="gambling"' in page
    assert 'value="illegal"' not in page


def test_a_session_goes_on_when_its_device_gets_a_name(web, monkeypatch):
    """The guide names the phone that it runs on. No MAC address is known where another router is in between."""
    here, told = "127.0.0.7", []
    monkeypatch.setattr(NoticeDispatcher, "enqueue", lambda _queue, notices: told.extend(notices))
    web.control.devices[here] = DeviceView(DeviceId(here), None, "adult", may_sign_in=True)
    with client(web, here) as phone:
        phone.post("/sign-in", data={"name": OWNER, "password": OWNER_PASSWORD}, headers=own(web))
        assert phone.get("/account").status_code == 200
        web.control.devices[here] = DeviceView(DeviceId("ana-phone"), "ana", "adult", may_sign_in=True)
        assert phone.get("/account").status_code == 200
        stolen = {"cookie": "; ".join(f"{name}={value}" for name, value in phone.cookies.items())}
    web.control.devices["127.0.0.8"] = DeviceView(DeviceId("tablet"), "mia", "child-8-12")
    with client(web, "127.0.0.8", headers=stolen) as tablet:
        assert {tablet.get("/account").status_code for _ in range(3)} == {403}
    assert [each.topic for each in told] == [NoticeTopic.BYPASS], "once a day"
