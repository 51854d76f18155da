"""The permissions of accounts and tokens, and the roles of accounts."""

from __future__ import annotations

from enum import StrEnum


class AccessScope(StrEnum):
    """A permission. Tokens have `read`, `metrics` or `manage`, which includes the other two and `operate`."""

    OPERATE = "operate"  # see devices and requests; answer, pause, resume
    READ = "read"  # see the log, people, lists and changes
    METRICS = "metrics"
    MANAGE = "manage"  # change the policy
    ADMIN = "admin"  # accounts, tokens, other people's sessions


class Role(StrEnum):
    """Role of an account."""

    ADMIN = "admin"
    PARENT = "parent"
    OPERATOR = "operator"
