"""The key `cafe` of the policy file, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, StrictInt, WithJsonSchema

from hedgerow.features.cafe.settings import Bandwidth, CafeSettings, RoleLimits, Tariff, cafe_of
from hedgerow.policies.model import Policy
from hedgerow.policies.notices import RECEIVER_NAME
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import Rate, RawModel, empty_mappings, managed
from hedgerow.policies.seats import Payment, session_kinds
from hedgerow.policies.text.suggestions import suggest


def _price_of_an_hour(value: object) -> object:
    return {"60": value} if isinstance(value, int) and not isinstance(value, bool) else value


_ARTICLE_NAME = 60
_Price = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]
_Lengths = dict[Annotated[int, Field(ge=1, le=1440)], _Price]
RawTariff = Annotated[
    _Lengths,
    BeforeValidator(_price_of_an_hour),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "object", "additionalProperties": {"type": "integer"}}]}
    ),
]
"""A price per hour, or prices by minutes."""

_Megabits = Annotated[float, Field(gt=0, le=100_000)]
RawBandwidth = Annotated[
    tuple[_Megabits, _Megabits],
    BeforeValidator(
        lambda value: [value, value] if isinstance(value, int | float) else value,
        json_schema_input_type=float | list[float],
    ),
]


class RawRole(RawModel):
    """Limits of one person's day at a café's counter; without a number there is no limit."""

    adult_sessions: Rate | None = managed(None, description="Sessions that are opened as an adult's.")
    adult_vouchers: Rate | None = managed(None, description="Vouchers that are printed for adults.")
    early_ends: Rate | None = managed(None, description="Sessions that are ended before their time is over.")


class RawCafe(RawModel):
    """A café's counter. Amounts are integers in the currency's smallest unit, such as cents."""

    name: str = managed("", max_length=80, description="Name on vouchers, receipts and reports.")
    currency: str | None = managed(None, description="Three letters (ISO 4217), such as `EUR`; needed with prices.")
    prices: dict[str, RawTariff] = managed(
        {}, description="Price per hour, or prices by minutes, for each kind of session."
    )
    voucher_prices: dict[str, RawTariff] = managed(
        {}, description="The same for vouchers; by default those of sessions."
    )
    pay: Payment | None = managed(None, description="`before` (the default) or `after` the session.")
    roles: Annotated[dict[str, RawRole], BeforeValidator(empty_mappings)] = managed(
        {}, description="Limits per day, by role or `token`."
    )
    bandwidth: dict[str, RawBandwidth] = managed(
        {}, description="Mbit/s of a seat, by kind of session: a number, or `[down, up]`."
    )
    articles: Annotated[dict[str, _Price], Field(max_length=200)] = managed(
        {}, description="Price of each article that the counter sells, such as `Cola: 150`."
    )


def _read(raw: RawCafe, reader: KeyReader) -> CafeSettings:
    kinds = session_kinds(reader.policy.profiles)
    for key, by_kind in (("prices", raw.prices), ("voucher_prices", raw.voucher_prices), ("bandwidth", raw.bandwidth)):
        for kind in by_kind.keys() - set(kinds):
            message = f"unknown kind of session '{kind}'.{suggest(kind, kinds)} Kinds: {', '.join(kinds)}."
            reader.add_problem(key, kind, text=f"{message} Each profile seat-NAME is one.", key=True)
    sessions, vouchers = (
        dict(_tariffs(key, prices, reader))
        for key, prices in (("prices", raw.prices), ("voucher_prices", raw.voucher_prices))
    )
    if raw.currency is None and (sessions or vouchers or raw.articles):
        reader.add_problem(text="'currency' is missing: prices need one, such as EUR", key=True)
    if raw.currency is not None and re.fullmatch("[A-Z]{3}", raw.currency) is None:
        text = f"'{raw.currency}' is not a currency: use its three capital letters, such as EUR"
        reader.add_problem("currency", text=text)
    for article in raw.articles:
        if not 1 <= len(article.strip()) <= _ARTICLE_NAME or not article.isprintable():
            text = f"'{article}' is not a valid name of an article: use at most {_ARTICLE_NAME} characters"
            reader.add_problem("articles", article, text=text, key=True)
    for role in raw.roles:
        if RECEIVER_NAME.fullmatch(role) is None:
            text = f"'{role}' is not a valid name: use lower-case letters, digits and hyphens"
            reader.add_problem("roles", role, text=text, key=True)
    return CafeSettings(
        name=raw.name,
        currency=raw.currency or "",
        sessions=sessions,
        vouchers=vouchers,
        pays=raw.pay or Payment.BEFORE,
        roles={name: RoleLimits(**role.model_dump()) for name, role in raw.roles.items()},
        bandwidth={kind: Bandwidth(*(round(each * 1e6) for each in both)) for kind, both in raw.bandwidth.items()},
        articles=dict(raw.articles),
    )


def _tariffs(key: str, prices: Mapping[str, Mapping[int, int]], reader: KeyReader) -> Iterator[tuple[str, Tariff]]:
    for kind, lengths in prices.items():
        if lengths:
            yield kind, Tariff(tuple(sorted(lengths.items())))
            continue
        line, _ = reader.tree.place_of((*reader.path, key, kind))
        if not any(problem.line == line for problem in reader.tree.problems):  # what could not be read was left out
            reader.add_problem(key, kind, text=f"'{kind}' has no price: add one, such as 60: 200")


def _warnings(policy: Policy) -> Iterator[str]:
    """Warn of kinds of session that cost nothing although others have a price."""
    for kind in cafe_of(policy).free_kinds(policy.profiles):
        yield (
            f"cafe.prices: sessions of the kind {kind} cost nothing. Write a price for it, or {kind}: 0 if "
            f"that is meant"
        )


CAFE = FeatureKey(
    settings=CafeSettings,
    kind=RawCafe | None,
    declaration=managed(None, description="A café's counter: its name, prices, and what its staff may do."),
    read=_read,
    title="café",
    facts=lambda policy: cafe_of(policy).facts(),
    warnings=_warnings,
)
