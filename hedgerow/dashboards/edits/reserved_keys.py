"""Refusal of changes of the policy by whoever may not change its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hedgerow.dashboards.accounts import AccessScope, Principal
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import message
from hedgerow.policies.reading.key_scopes import reserved_changes

_SHOWN_KEYS = 5


class ReservedForAdmins(InvalidInput):
    """A change of keys that only an admin may change."""

    status = 403

    def __init__(self, keys: Iterable[str]) -> None:
        names = list(keys)
        shown = ", ".join(names[:_SHOWN_KEYS]) + (" …" if len(names) > _SHOWN_KEYS else "")
        super().__init__(message("Only an admin may change %(keys)s in the policy, so nothing was changed."), keys=shown)


def is_admin(author: Principal) -> bool:
    """Return True if somebody may change every key."""
    return AccessScope.ADMIN in author.scopes


def check_author(author: Principal, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise `ReservedForAdmins` if policy files differ in keys that the author may not change. `before` and `after` are texts by name.

    Raises `UnreadableText` if one of `after` is not YAML.
    """
    if is_admin(author):
        return
    if changed := reserved_changes(_others(before, after), _others(after, before)):
        raise ReservedForAdmins(changed)


def _others(texts: Mapping[str, str], compared: Mapping[str, str]) -> list[str]:
    """Return the texts that are not the same in `compared`."""
    return [text for name, text in texts.items() if compared.get(name) != text]
