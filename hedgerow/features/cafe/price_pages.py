"""The page that sets a café's name, currency, prices and articles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from babel.numbers import get_currency_name, get_currency_precision, get_territory_currencies
from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.actions.orders import COUNTER_PATH
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.dashboards.pages.context import PageGroup, redirect_after_save
from hedgerow.dashboards.routes import MANAGE, READ, get, post
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.dashboards.words.session_kinds import kind_titles
from hedgerow.features.cafe.cash import parse_amount
from hedgerow.features.cafe.settings import CafeSettings, Tariff, cafe_of
from hedgerow.policies.seats import Payment
from hedgerow.policies.text.locales import COUNTRIES

PRICES_PATH = f"{COUNTER_PATH}/prices"
_MOST_ARTICLES, _ARTICLE_NAME = 200, 60

PriceKey = Literal["prices", "voucher_prices"]
Of = Annotated[PriceKey, Form()]
Minutes = Annotated[int, Form(ge=1, le=1440)]
Kind = Annotated[str, Form(max_length=100)]
Amount = Annotated[str, Form(max_length=20)]
Article = Annotated[str, Form(max_length=_ARTICLE_NAME)]


def currencies_by_name(reader: Language) -> list[tuple[str, str]]:
    """Return the currencies that are in use somewhere, with their codes and names, in the order of the codes."""
    codes = {code for country in COUNTRIES for code in get_territory_currencies(country)}
    return [(code, f"{code} · {get_currency_name(code, locale=reader.locale)}") for code in sorted(codes)]


class PricePages(PageGroup):
    """`/counter/prices` and its forms. Each is a change of the policy, which can be undone."""

    @get(PRICES_PATH, MANAGE, READ)
    async def prices(self, request: Request) -> Response:
        """Show the prices."""
        policy, reader = self._context.policy(), language_of(request)
        cafe, country = cafe_of(policy), policy.network.country
        local = get_territory_currencies(country) if country else []
        return self._page(
            request,
            "cafe/templates/prices.html",
            cafe=cafe,
            currency=cafe.currency or next(iter(local), ""),
            currencies=currencies_by_name(reader),
            kinds={kind: title for kind, (title, _adult) in kind_titles(policy, reader).items()},
        )

    @post(f"{PRICES_PATH}/cafe", MANAGE)
    async def put_cafe(
        self,
        request: Request,
        currency: Annotated[str, Form(max_length=3)],
        pay: Annotated[Payment, Form()],
        name: Annotated[str, Form(max_length=80)] = "",
    ) -> Response:
        """Set the name, the currency, and when guests pay by default."""
        cafe = self._cafe
        if currency not in {cafe.currency, *dict(currencies_by_name(language_of(request)))}:
            raise InvalidInput("Choose the currency first.").at("currency")
        has_amounts = any((cafe.sessions, cafe.vouchers, cafe.articles))
        if has_amounts and get_currency_precision(currency) != get_currency_precision(cafe.currency):
            raise InvalidInput(
                "%(currency)s has other decimals than %(before)s: remove the prices and articles first.",
                currency=currency,
                before=cafe.currency,
            ).at("currency")
        wanted = {"name": " ".join(name.split()), "currency": currency, "pay": pay.value}
        have = {"name": cafe.name, "currency": cafe.currency, "pay": cafe.pays.value}
        edits = [put(("cafe", key), value or None) for key, value in wanted.items() if value != have[key]]
        return await self._save(request, message("The café's name, currency and payment saved."), *edits)

    @post(f"{PRICES_PATH}/put", MANAGE)
    async def put_price(
        self, request: Request, kind: Kind, minutes: Minutes, price: Amount, of: Of = "prices"
    ) -> Response:
        """Set the price of a length."""
        amount = self._amount(price)
        steps = self._steps(of, kind) | {minutes: amount}
        summary = message("%(kind)s: %(minutes)s minutes cost %(amount)s.")
        return await self._save(
            request,
            summary,
            _edit(of, kind, steps),
            kind=self._title(request, kind),
            minutes=minutes,
            amount=language_of(request).money(amount, self._cafe.currency),
        )

    @post(f"{PRICES_PATH}/remove", MANAGE)
    async def remove_price(self, request: Request, kind: Kind, minutes: Minutes, of: Of = "prices") -> Response:
        """Remove the price of a length."""
        steps = self._steps(of, kind)
        if steps.pop(minutes, None) is None:
            raise InvalidInput("Somebody has removed this price meanwhile.")
        summary = message("%(kind)s: the price of %(minutes)s minutes removed.")
        return await self._save(
            request, summary, _edit(of, kind, steps), kind=self._title(request, kind), minutes=minutes
        )

    @post(f"{PRICES_PATH}/article", MANAGE)
    async def put_article(self, request: Request, article: Article, price: Amount) -> Response:
        """Add an article, or change its price."""
        name, known = " ".join(article.split()), self._cafe.articles
        if not name or not name.isprintable():
            raise InvalidInput("Fill in this field.").at("article")
        if name not in known and len(known) >= _MOST_ARTICLES:
            raise InvalidInput("More than %(limit)s articles cannot be kept.", limit=_MOST_ARTICLES).at("article")
        amount = self._amount(price)
        text = language_of(request).money(amount, self._cafe.currency)
        edit = put(("cafe", "articles", name), amount)
        return await self._save(request, message("%(article)s costs %(amount)s."), edit, article=name, amount=text)

    @post(f"{PRICES_PATH}/article/remove", MANAGE)
    async def remove_article(self, request: Request, article: Article) -> Response:
        """Remove an article. Bills keep what was sold."""
        edit = put(("cafe", "articles", article), None)
        return await self._save(request, message("%(article)s is sold no longer."), edit, article=article)

    @property
    def _cafe(self) -> CafeSettings:
        return cafe_of(self._context.policy())

    def _amount(self, typed: str) -> int:
        with at_field("price"):
            if not self._cafe.currency:
                raise InvalidInput("Choose the currency first.")
            return parse_amount(typed, self._cafe.currency)

    def _steps(self, of: PriceKey, kind: str) -> dict[int, int]:
        tariffs: Mapping[str, Tariff] = self._cafe.sessions if of == "prices" else self._cafe.vouchers
        return dict(tariffs[kind].steps) if kind in tariffs else {}

    def _title(self, request: Request, kind: str) -> str:
        titles = kind_titles(self._context.policy(), language_of(request))
        return titles[kind][0] if kind in titles else kind

    async def _save(self, request: Request, summary: str, *edits: Edit, **values: object) -> Response:
        change = await self._change(request, summary, *edits, **values) if edits else None
        return redirect_after_save(PRICES_PATH, change)


def _edit(of: PriceKey, kind: str, steps: Mapping[int, int]) -> Edit:
    return put(("cafe", of, kind), dict(sorted(steps.items())) or None)
