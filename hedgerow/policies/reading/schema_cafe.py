"""Schema of the section `cafe` of the policy file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictInt, WithJsonSchema

from hedgerow.policies.cafe import Payment
from hedgerow.policies.reading.schema_types import Rate, RawModel, empty_mappings, managed


def _price_of_an_hour(value: object) -> object:
    return {"60": value} if isinstance(value, int) and not isinstance(value, bool) else value


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
