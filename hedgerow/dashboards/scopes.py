"""The permissions of accounts and tokens, and the roles of accounts."""

from __future__ import annotations

from enum import StrEnum


class AccessScope(StrEnum):
    """A permission. Tokens have `read`, `metrics`, `leases` or `manage`, which includes the others and `operate`."""

    OPERATE = "operate"  # see devices and requests; answer, pause, resume
    READ = "read"  # see the log, people, lists and changes
    METRICS = "metrics"
    LEASES = "leases"  # report who has which address, as a DHCP server does
    MANAGE = "manage"  # change the policy
    ADMIN = "admin"  # accounts, tokens, other people's sessions


class Role(StrEnum):
    """Role of an account."""

    ADMIN = "admin"
    PARENT = "parent"
    OPERATOR = "operator"


ROLE_SCOPES: dict[Role, frozenset[AccessScope]] = {
    Role.ADMIN: frozenset(AccessScope),
    Role.PARENT: frozenset(AccessScope) - {AccessScope.ADMIN},
    Role.OPERATOR: frozenset({AccessScope.OPERATE}),
}
TOKEN_SCOPES: dict[str, frozenset[AccessScope]] = {
    "read": frozenset({AccessScope.READ}),
    "metrics": frozenset({AccessScope.METRICS}),
    "leases": frozenset({AccessScope.LEASES}),
    "manage": frozenset(AccessScope) - {AccessScope.ADMIN},
}
