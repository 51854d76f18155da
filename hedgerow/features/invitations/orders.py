"""Orders of invitations, and what they make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import MaxLen, MinLen

from hedgerow.dashboards.actions.action import Order, Shown

VALID_HOURS = 48
"""Hours for which an invitation can be accepted."""


class InvitedRole(StrEnum):
    """Roles that an invitation can give. An admin gets a role with more rights later, by hand."""

    PARENT = "parent"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationOrder(Order):
    """The name of an account that is to be made, and its role."""

    name: Annotated[str, MinLen(1), MaxLen(40), Shown("The name of the person, as in the policy.", "NAME")]
    role: Annotated[InvitedRole, Shown("The role: parent or operator.", option="--role")] = InvitedRole.PARENT


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """An invitation that nobody has accepted. `expires` is in seconds since the epoch, and may have passed."""

    name: str
    role: str
    expires: float
    actor: str


@dataclass(frozen=True, slots=True)
class MadeInvitation:
    """A new invitation. Its code cannot be shown again."""

    name: str
    role: str
    code: str
    expires: float
