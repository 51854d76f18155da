"""Actions: one declaration is the API's route, the page's form and the command, which refuse in the same words and do
the same.
"""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest
from typer.testing import CliRunner, Result
from web_server import TOKEN, Web

from hedgerow.app.cli import make_cli
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dashboards.actions.core import CORE_ACTIONS
from hedgerow.dashboards.control import BudgetRow

BUDGET = BudgetRow("mia", "", 10, 60, 50, 0.0)
SEATS = "seats: {seat-1: {ip: 127.0.0.51}, seat-2: {ip: 127.0.0.52}}\n"
WAYS = [
    ("/bonus", {"name": "tom", "minutes": 15}, "/bonus", {"name": "tom", "minutes": "15"}, "bonus tom 15"),
    (
        "/sessions/seat-1/extend",
        {"minutes": 15},
        "/counter/extend",
        {"seat": "seat-1", "minutes": "15"},
        "seat extend seat-1 15",
    ),
    (
        "/sessions/seat-1/move",
        {"to": "seat-2"},
        "/counter/move",
        {"seat": "seat-1", "to": "seat-2"},
        "seat move seat-1 seat-2",
    ),
    ("/sessions/seat-1/pause", {"minutes": 60}, "/counter/pause", {"seat": "seat-1"}, "seat pause seat-1"),
    ("/sessions/seat-1/resume", None, "/counter/resume", {"seat": "seat-1"}, "seat resume seat-1"),
    ("/sessions/seat-1/end", None, "/counter/end", {"seat": "seat-1"}, "seat end seat-1"),
]


@pytest.fixture
def cafe(web: Web) -> Web:
    """Return a web server whose policy has seats, and which commands find by the state directory of its policy."""
    with web.policy_path.open("a") as file:
        file.write(SEATS)
    place = Endpoint("127.0.0.1", 9)
    settings = Settings(web.policy_path.parent, None, place, place, place)
    settings.run.mkdir(exist_ok=True)
    settings.save()
    settings.control_socket.symlink_to(web.policy_path.parent / "control.sock")
    return web


def command(web: Web, words: str, *more: str) -> Result:
    return CliRunner().invoke(make_cli(), [*words.split(), "--state", str(web.policy_path.parent), *more])


def api(web: Web, path: str, body: object, **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {TOKEN}", **headers}
    return httpx.post(f"{web.url}/api/v1{path}", json=body, headers=sent, trust_env=False, timeout=20, verify=False)


def form(web: Web, path: str, fields: dict[str, str]) -> httpx.Response:
    return httpx.post(
        web.url + path, data=fields, headers={"origin": web.url}, trust_env=False, timeout=20, verify=False
    )


@pytest.mark.parametrize(
    ("path", "body", "page", "fields", "words"), WAYS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_what_is_refused_is_refused_in_the_same_words_everywhere(
    cafe: Web, path: str, body: object, page: str, fields: dict[str, str], words: str
) -> None:
    refused = api(cafe, path, body)
    assert refused.status_code == 422
    why = refused.json()["detail"]
    shown = form(cafe, page, fields)
    assert shown.status_code == 422
    (said,) = re.findall(r'id="mistake"[^>]*>([^<]*)<', shown.text)
    assert unescape(said) == why
    done = command(cafe, words)
    assert (done.exit_code, done.stderr) == (2, f"hedgerow: {why}\n")


def test_a_seat_is_extended_by_api_page_and_command_alike(cafe: Web) -> None:
    opened = form(cafe, "/counter/open", {"seat": "seat-1", "band": "child", "minutes": "30"})
    assert opened.headers["location"].startswith("/counter?minutes=30&band=child&done=")
    begin = cafe.time.seated["seat-1"].ends
    assert begin is not None
    assert api(cafe, "/sessions/seat-1/extend", {"minutes": 10}).status_code == 204
    extended = form(cafe, "/counter/extend", {"seat": "seat-1", "minutes": "10"})
    assert extended.headers["location"].startswith("/counter?done=")
    assert command(cafe, "seat extend seat-1 10").stdout == "The session at seat-1 lasts 10 minutes longer.\n"
    assert command(cafe, "seat extend seat-1 10", "--json").stdout == '{"seat": "seat-1", "minutes": 10.0}\n'
    assert cafe.time.seated["seat-1"].ends == begin + 2400


def test_a_seat_that_is_opened_for_half_a_minute_more_leads_to_the_counter(cafe: Web) -> None:
    opened = form(cafe, "/counter/open", {"seat": "seat-1", "band": "child", "minutes": "45.6"})
    assert opened.headers["location"].startswith("/counter?minutes=46&band=child&done=")
    assert (
        httpx.get(cafe.url + opened.headers["location"], trust_env=False, timeout=20, verify=False).status_code == 200
    )


def test_a_bonus_is_given_by_api_page_and_command_alike(cafe: Web) -> None:
    cafe.time.rows = (BUDGET,)
    assert api(cafe, "/bonus", {"name": "mia", "minutes": 5}).json()["minutes"] == 5
    assert form(cafe, "/bonus", {"name": "mia", "minutes": "6", "subject": "games"}).status_code == 303
    assert command(cafe, "bonus mia 7 --for games").stdout == "mia has 7 more minutes today, for games.\n"
    assert [given[:3] for given in cafe.time.given] == [("mia", "", 5), ("mia", "games", 6), ("mia", "games", 7)]


NUMBERS = (("0", "Use a number of at least 1."), ("ten", "Use a whole number."), ("", "Fill in this field."))


@pytest.mark.parametrize(("typed", "why"), NUMBERS)
def test_a_form_says_which_number_it_takes_and_keeps_what_was_typed(cafe: Web, typed: str, why: str) -> None:
    opening = form(cafe, "/counter/open", {"seat": "seat-1", "band": "adult", "minutes": typed})
    vouchers = form(cafe, "/counter/vouchers", {"count": typed, "band": "adult", "minutes": "45"})
    for shown in (opening, vouchers):
        assert shown.status_code == 422
        assert unescape(shown.text).count(why) == 1
    (count,) = re.findall(r'<input[^>]*name="count"[^>]*>', vouchers.text)
    assert 'aria-invalid="true"' in count
    assert f'value="{typed}"' in count
    assert re.search(r'<input[^>]*name="minutes"[^>]*value="45"', vouchers.text)
    assert "seat-1" not in cafe.time.seated


def test_each_action_says_what_it_does_and_has_an_address_of_its_own() -> None:
    assert [action for action in CORE_ACTIONS if not action.run.__doc__] == []
    places = [(action.method, action.path) for action in CORE_ACTIONS]
    assert len(places) == len(set(places))
    for action in CORE_ACTIONS:
        assert set(re.findall(r"{(\w+)}", action.path)) == set(action.names)
    forms = [action.form.path for action in CORE_ACTIONS if action.form is not None]
    assert len(forms) == len(set(forms))
