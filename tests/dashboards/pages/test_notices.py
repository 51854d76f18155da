"""Notice recipients on their page: the policy file, sent messages, and hidden addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apprise
import httpx
import pytest
from apprise.plugins.email import NotifyEmail
from playwright.sync_api import Browser, expect
from web_server import Web

from hedgerow.dashboards.address_book import mailbox_url
from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.notices import DEFAULT_TOPICS, ClockTime, NoticeTopic, Receiver
from hedgerow.policies.reading.load import load_policy

PASSWORD = "a b/c?&@:%é"
PAGE = "/settings/notices"


@pytest.fixture
def parent(web: Web) -> Iterator[httpx.Client]:
    headers = {"origin": web.url, "accept-language": "de"}
    with httpx.Client(base_url=web.url, trust_env=False, timeout=30, headers=headers, verify=False) as browser:
        yield browser


def post(browser: httpx.Client, path: str, status: int = 303, **form: str | list[str]) -> str:
    answer = browser.post(path, data=form)
    assert answer.status_code == status, answer.text
    return answer.text


def receivers(web: Web) -> dict[str, Receiver]:
    return dict(load_policy(web.policy_path).notices)


def test_a_recipient_is_added_configured_and_removed(web: Web, parent: httpx.Client) -> None:
    before = web.policy_path.read_text()
    post(parent, PAGE, name="Mutter Ana")
    assert receivers(web) == {"mutter-ana": Receiver("mutter-ana", language="de")}
    assert "noch keine Adresse" in parent.get(PAGE).text
    page = post(parent, f"{PAGE}/mail", 200, name="mutter-ana", mailbox="ana@mail.example", password=PASSWORD)
    assert "Ein Test ist unterwegs" in page
    (test,) = web.post.sent
    assert test.title == "Hedgerow: Ein Test"
    service = apprise.Apprise.instantiate(test.address)
    assert isinstance(service, apprise.NotifyBase)
    assert (service.user, service.password) == ("ana@mail.example", PASSWORD)
    assert "per E-Mail" in page
    about: dict[str, Any] = {
        "about": ["request", "bypass"],
        "language": "pt",
        "quiet_from": "22:00",
        "quiet_to": "07:00",
    }
    post(parent, f"{PAGE}/change", name="mutter-ana", **about, digest="18:00", report_day="sun", report="17:30")
    (receiver,) = receivers(web).values()
    assert (receiver.about, receiver.language) == ((NoticeTopic.REQUEST, NoticeTopic.BYPASS), "pt")
    assert (receiver.digest, receiver.report) == (ClockTime(None, 18 * 60), ClockTime(6, 17 * 60 + 30))
    assert 'quiet: "22:00-07:00"' in web.policy_path.read_text()
    assert "before" not in parent.get(PAGE).text
    post(parent, f"{PAGE}/remove", name="mutter-ana")
    assert web.policy_path.read_text() == before
    assert [file.name for file in (web.policy_path.parent / "notices").iterdir()] == ["push.pem"]


def test_an_address_is_stored_and_never_shown(web: Web, parent: httpx.Client) -> None:
    post(parent, PAGE, name="ana")
    secret = "ntfy://never-shown-topic"
    web.post.problem = "The service did not answer in time."
    page = post(parent, f"{PAGE}/address", 200, name="ana", address=secret)
    assert "Der Dienst hat nicht rechtzeitig geantwortet." in page
    shown = [parent.get(path).text for path in (PAGE, "/settings", "/changes", "/api/v1/notices")]
    assert all("never-shown-topic" not in text for text in (page, *shown, web.policy_path.read_text()))
    assert "ntfy://…" in shown[0]


def test_settings_that_the_form_does_not_show_stay(web: Web, parent: httpx.Client) -> None:
    told = (
        'notices:\n  ana:\n    quiet: {weekdays: "22:00-07:00", weekend: "23:00-09:00"}   # we sleep\n    language:'
        " en\n"
    )
    web.policy_path.write_text(web.policy_path.read_text() + told)
    post(
        parent,
        f"{PAGE}/change",
        name="ana",
        language="en",
        about=[topic.value for topic in DEFAULT_TOPICS],
        report_day="",
        report="18:00",
    )
    assert web.policy_path.read_text().endswith(told)


INVALID_FORMS = (
    ("", {"name": "!!"}),
    ("/change", {"name": "nobody", "language": "de"}),
    ("/change", {"name": "ana", "language": "xx"}),
    ("/change", {"name": "ana", "language": "de", "digest": "25:00"}),
    ("/change", {"name": "ana", "language": "de", "quiet_from": "22:00"}),
    ("/change", {"name": "ana", "language": "de", "report_day": "someday", "report": "18:00"}),
    ("/mail", {"name": "ana", "mailbox": "no address", "password": "x"}),
    ("/mail", {"name": "ana", "mailbox": "a@b.example", "password": "x", "server": "http://evil.example/?x="}),
    ("/mail", {"name": "ana", "mailbox": "a@b.example", "password": "x", "to": "a@b.example, c@d.example"}),
    ("/address", {"name": "ana", "address": "no address"}),
    ("/address", {"name": "../../ca.key", "address": "json://x.example"}),
    ("/test", {"name": "nobody"}),
    ("/remove", {"name": "nobody"}),
)


def test_invalid_forms_are_refused_and_change_nothing(web: Web, parent: httpx.Client) -> None:
    post(parent, PAGE, name="ana")
    before = web.policy_path.read_text()
    for part, form in INVALID_FORMS:
        answer = parent.post(f"{PAGE}{part}", data=form)
        assert answer.status_code == 422, (part, form, answer.text)
        assert web.policy_path.read_text() == before


@pytest.mark.parametrize(
    ("server", "host", "port", "mode"),
    [
        ("", "mail.example", 587, "starttls"),
        ("smtp.mail.example", "smtp.mail.example", 587, "starttls"),
        ("smtp.mail.example:465", "smtp.mail.example", 465, "ssl"),
        ("smtp.mail.example:2525", "smtp.mail.example", 2525, "starttls"),
    ],
)
def test_mail_is_sent_over_tls_to_the_named_server(server: str, host: str, port: int, mode: str) -> None:
    service = apprise.Apprise.instantiate(mailbox_url("ana.b@mail.example", PASSWORD, server, "bo@x.example"))
    assert isinstance(service, NotifyEmail)
    assert (service.smtp_host, service.port, service.secure, service.secure_mode) == (host, port, True, mode)
    assert (service.user, service.password, service.verify_certificate) == ("ana.b@mail.example", PASSWORD, True)
    assert service.targets == [(False, "bo@x.example")]


def test_large_providers_need_no_server() -> None:
    service = apprise.Apprise.instantiate(mailbox_url("ana@gmail.com", "x"))
    assert isinstance(service, NotifyEmail)
    assert (service.smtp_host, service.user) == ("smtp.gmail.com", "ana@gmail.com")


def test_a_mailbox_without_a_password_is_refused() -> None:
    with pytest.raises(InvalidInput):
        mailbox_url("ana@mail.example", "")


def test_the_report_is_shown_with_its_own_style_and_in_a_language(parent: httpx.Client) -> None:
    page = parent.get("/api/v1/report?language=fr")
    assert '<html lang="fr" dir="ltr">' in page.text
    assert "La semaine à la maison" in page.text
    policy = page.headers["content-security-policy"]
    assert "style-src 'unsafe-inline'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert '<html lang="de" dir="ltr">' in parent.get("/api/v1/report").text
    assert parent.get("/api/v1/report?language=xx").status_code == 422


@pytest.mark.browser
def test_a_page_by_http_leads_to_itself_by_https(chromium: Browser, web: Web) -> None:
    """Beneath the sentence about the certificate. On this machine the browser trusts HTTP: there is no link."""
    page = chromium.new_page(locale="en")
    page.route(
        "http://home.example:8053/**",
        lambda route: route.fulfill(
            response=route.fetch(url=route.request.url.replace("http://home.example:8053", web.url))
        ),
    )
    page.goto("http://home.example:8053/settings/notices")
    expect(page.locator("#push-insecure")).to_be_visible()
    link = page.get_by_role("link", name="Open this page by HTTPS")
    expect(link).to_have_attribute("href", "https://home.example:8053/settings/notices")
    page.goto(f"{web.url}/settings/notices")
    expect(link).to_have_count(0)
    page.close()
