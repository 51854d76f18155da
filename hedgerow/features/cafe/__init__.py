"""Cafés: a counter with sessions at seats, prices, vouchers and staff, and limits of what each seat may use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature, GatewayCore

if TYPE_CHECKING:
    from hedgerow.app.control.access_rule import AccessRule
    from hedgerow.dashboards.actions.operations import SessionControl
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric
    from hedgerow.features.contract import Check
    from hedgerow.policies.model import Policy
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.cafe.keys import CAFE

    return (CAFE,)


def _uses(policy: Policy) -> bool:
    from hedgerow.policies.effective_users import has_seats

    return has_seats(policy)


def _access_rule(core: Core) -> AccessRule:
    from hedgerow.features.cafe.counter import counter_of

    return core.part(counter_of)


def _sessions(core: Core) -> SessionControl:
    from hedgerow.features.cafe.sessions import seat_sessions_of

    return core.part(seat_sessions_of)


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.cafe.outages import outage_service
    from hedgerow.features.cafe.vouchers import voucher_service

    return (voucher_service(core), outage_service(core))


def _gateway_services(core: GatewayCore) -> Sequence[ControlService]:
    from hedgerow.features.cafe.seat_limiter import SeatLimiter
    from hedgerow.task_state import Area

    seats = SeatLimiter(core)
    return (ControlService(name="seats", area=Area.SEATS, run=seats.run, close=seats.close),)


def _gateway_leftovers() -> bool:
    from hedgerow.network.gateway import list_counters

    return list_counters("netdev") is not None


def _extensions() -> Extensions:
    from hedgerow.features.cafe.pages import EXTENSIONS

    return EXTENSIONS


def _checks() -> Sequence[Check]:
    from hedgerow.features.cafe.checks import check_prices

    return (check_prices,)


def _metrics() -> Sequence[Metric]:
    from hedgerow.features.cafe.metrics import METRICS

    return METRICS


FEATURE = Feature(
    name="cafe",
    summary="A café's counter: sessions at seats, prices, vouchers, staff, and the bandwidth of each seat",
    policy_keys=_policy_keys,
    uses=_uses,
    access_rule=_access_rule,
    sessions=_sessions,
    services=_services,
    gateway_services=_gateway_services,
    gateway_leftovers=_gateway_leftovers,
    extensions=_extensions,
    checks=_checks,
    metrics=_metrics,
    commands={
        "seat move": "commands:move",
        "seat sell": "commands:sell",
        "seat lock": "commands:lock",
        "seat unlock": "commands:unlock",
        "seat message": "commands:message",
        "seat shutdown": "commands:shutdown",
        "seat wake": "commands:wake",
        "seat program": "commands:program",
        "seat list": "commands:list_seats",
        "seat vouchers": "commands:vouchers",
        "seat report": "commands:report",
        "seat pay": "commands:pay",
        "seat till": "commands:till",
        "seat count": "commands:count",
        "members": "member_commands:app",
    },
)
