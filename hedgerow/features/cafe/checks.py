"""The doctor's check of a café's prices."""

from __future__ import annotations

from collections.abc import Iterator

from hedgerow.app.doctor.findings import Finding, Health, Installation
from hedgerow.features.cafe.settings import cafe_of


def check_prices(installation: Installation) -> Iterator[Finding]:
    """Check that no kind of session costs nothing only because somebody forgot its price."""
    policy = installation.policy
    if policy is None:
        return
    cafe = cafe_of(policy)
    if not (cafe.sessions or cafe.vouchers):
        return
    free = cafe.free_kinds(policy.profiles)
    if free:
        yield Finding(
            "prices",
            Health.UNSURE,
            f"sessions of these kinds cost nothing: {', '.join(free)}",
            "write their prices under cafe.prices, or 0 if that is meant",
        )
    else:
        yield Finding("prices", Health.GOOD, "each kind of session has one")
