"""The page that sets prices: an owner writes no YAML, and what is wrong is said beside its field."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from web_server import Web, running_web

from hedgerow.features.cafe.settings import CafeSettings, Tariff, cafe_of
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.seats import Payment

SEATS = "# my café\nseats: {seat-1: {ip: 127.0.0.6}, seat-2: {ip: 127.0.0.7}}\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def owner(web: Web) -> Iterator[httpx.Client]:
    """The owner's browser, in a café without prices."""
    web.policy_path.write_text(SEATS)
    with httpx.Client(base_url=web.url, headers={"origin": web.url}, follow_redirects=True, timeout=60) as client:
        yield client


def cafe_in(web: Web) -> CafeSettings:
    return cafe_of(load_policy(web.policy_path))


def save(owner: httpx.Client, form: str, **fields: str) -> httpx.Response:
    return owner.post(f"/counter/prices/{form}", data=fields)


def set_currency(owner: httpx.Client, currency: str = "EUR") -> None:
    assert save(owner, "cafe", name="Café Sol", currency=currency, pay="before").is_success


def test_an_owner_sets_a_café_up_without_yaml(web: Web, owner: httpx.Client) -> None:
    assert 'href="/counter/prices"' in owner.get("/counter").text
    page = owner.get("/counter/prices").text
    assert "Choose the currency and save it." in page
    assert 'action="/counter/prices/put"' not in page
    answer = save(owner, "cafe", name=" Café  Sol ", currency="EUR", pay="after")
    assert answer.is_success
    assert "No price: a session costs nothing." in owner.get("/counter/prices").text
    for kind, minutes, price in (("child", "60", "2"), ("child", "30", "1,20"), ("adult", "60", "3.00")):
        answer = save(owner, "put", kind=kind, minutes=minutes, price=price)
        assert answer.is_success
    assert "Adult: 60 minutes cost €3.00." in answer.text, "and it can be undone there"
    save(owner, "put", kind="child", minutes="60", price="1.80", of="voucher_prices")
    save(owner, "article", article=" Print  A4", price="0.10")
    cafe = cafe_in(web)
    assert (cafe.name, cafe.currency, cafe.pays) == ("Café Sol", "EUR", Payment.AFTER)
    assert cafe.sessions == {"child": Tariff(((30, 120), (60, 200))), "adult": Tariff(((60, 300),))}
    assert (cafe.vouchers, cafe.articles) == ({"child": Tariff(((60, 180),))}, {"Print A4": 10})
    assert web.policy_path.read_text().startswith("# my café\n")
    save(owner, "put", kind="child", minutes="60", price="2.50")
    save(owner, "remove", kind="child", minutes="30")
    save(owner, "remove", kind="adult", minutes="60")
    save(owner, "article/remove", article="Print A4")
    assert cafe_in(web).sessions == {"child": Tariff(((60, 250),))}
    counter = owner.get("/counter").text
    assert "Without a price: Adult." in counter


def test_a_change_of_a_price_can_be_undone(web: Web, owner: httpx.Client) -> None:
    set_currency(owner)
    save(owner, "put", kind="child", minutes="60", price="2")
    page = save(owner, "put", kind="child", minutes="60", price="20").text
    undo = re.search(r'<form method="post" action="(/changes/[^"]+/(?:undo|restore)[^"]*)"', page)
    assert undo is not None, "the page of the form offers it"
    owner.post(undo[1])
    assert cafe_in(web).sessions == {"child": Tariff(((60, 200),))}


@pytest.mark.parametrize(
    ("form", "fields", "problem"),
    [
        ("put", {"kind": "child", "minutes": "60", "price": "two"}, "Write an amount as a number"),
        ("put", {"kind": "child", "minutes": "60", "price": "-1"}, "Write an amount as a number"),
        ("put", {"kind": "child", "minutes": "60", "price": "1.005"}, "Write an amount as a number"),
        ("put", {"kind": "child", "minutes": "0", "price": "1"}, "Use a number of at least 1."),
        ("put", {"kind": "child", "minutes": "1441", "price": "1"}, "Use a number of at most 1440."),
        ("put", {"kind": "child", "minutes": "", "price": "1"}, "Fill in this field."),
        ("put", {"kind": "nobody", "minutes": "60", "price": "1"}, "unknown kind of session"),
        ("remove", {"kind": "child", "minutes": "45"}, "Somebody has removed this price meanwhile."),
        ("article", {"article": "  ", "price": "1"}, "Fill in this field."),
        ("article", {"article": "Cola", "price": ""}, "Fill in this field."),
        ("cafe", {"name": "", "currency": "", "pay": "before"}, "Fill in this field."),
        ("cafe", {"name": "", "currency": "XXX", "pay": "before"}, "Choose the currency first."),
        ("cafe", {"name": "", "currency": "JPY", "pay": "before"}, "remove the prices and articles first."),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    web: Web, owner: httpx.Client, form: str, fields: dict[str, str], problem: str
) -> None:
    set_currency(owner)
    save(owner, "put", kind="child", minutes="60", price="2")
    before = web.policy_path.read_text()
    answer = owner.post(f"/counter/prices/{form}", data=fields)
    assert answer.status_code == 422
    assert problem in answer.text.replace("&#39;", "'")
    assert web.policy_path.read_text() == before


def test_without_a_currency_no_price_is_taken(web: Web, owner: httpx.Client) -> None:
    answer = save(owner, "put", kind="child", minutes="60", price="2")
    assert answer.status_code == 422
    assert "Choose the currency first." in answer.text
    assert web.policy_path.read_text() == SEATS
