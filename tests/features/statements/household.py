"""The page of the statements, with the statement of a busy day, for tests that look at all pages."""

from __future__ import annotations

from web_server import Web

from hedgerow.features.statements.chain import Statement, StatementKey
from hedgerow.features.statements.store import StatementStore

PAGES = ("/counter/statements",)


def fill(web: Web) -> None:
    key = StatementKey.load_or_make(web.policy_path.parent / "statements" / "key.pem")
    stated = Statement(
        site="home",
        number=1,
        previous="",
        key=key.fingerprint,
        day="2026-05-27",
        made_at="2026-05-28T00:11:00Z",
        sessions={"child": 9, "adult": 2},
        adults_opened_by={key.number_of("Ana"): 2},
        adult_vouchers_by={},
        blocks={"adult": 12, "social": 40},
        filter_on=["00:00-12:00", "12:30-24:00"],
        list_age_hours=5,
        coverage={"adult": "full"},
        policies=["0123456789abcdef"],
        conduct="",
    )
    StatementStore(web.engine).add(stated, key.sign(stated.text))
