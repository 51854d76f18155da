"""Our rules: an agreement of a child with its parents, made from the policy, to which both say yes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import ControlService, Core, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.model import Policy


def _uses(policy: Policy) -> bool:
    return any(policy.profiles[person.profile].is_for_children for person in policy.people.values())


def _services(core: Core) -> Sequence[ControlService]:
    from hedgerow.features.agreement.service import agreement_service

    return (agreement_service(core),)


def _extensions() -> Extensions:
    from hedgerow.features.agreement.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="agreement",
    summary="Rules in plain words and promises of the parents, to which child and parents say yes",
    uses=_uses,
    services=_services,
    extensions=_extensions,
    commands={"agreement": "commands:app"},
)
