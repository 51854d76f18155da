"""Refusal of changes of the policy by whoever may not change its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.words.languages import message
from hedgerow.journal.policy_history import PolicyChange, PolicyHistory
from hedgerow.policies.reading.key_scopes import UnreadableText, reserved_changes

_SHOWN_KEYS = 5


class ReservedForAdmins(InvalidInput):
    """A change of keys that only an admin may change."""

    status = 403

    def __init__(self, keys: Iterable[str]) -> None:
        names = list(keys)
        shown = ", ".join(names[:_SHOWN_KEYS]) + (" …" if len(names) > _SHOWN_KEYS else "")
        super().__init__(
            message("Only an admin may change %(keys)s in the policy, so nothing was changed."), keys=shown
        )


def is_admin(author: Principal) -> bool:
    """Return True if somebody may change every key."""
    return AccessScope.ADMIN in author.scopes


def check_author(author: Principal, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise `ReservedForAdmins` if policy files differ in keys that the author may not change.

    `before` and `after` are texts by name.

    Raises `UnreadableText` if one of `after` is not YAML.
    """
    if is_admin(author):
        return
    if changed := _changed_keys(before, after):
        raise ReservedForAdmins(changed)


def check_undo(author: Principal, change: PolicyChange, history: PolicyHistory) -> None:
    """Raise `ReservedForAdmins` if the undo of a change would change keys that the author may not change.

    Waits for the disk.

    What the author's own change removed from entries comes back, unless somebody else has changed the same keys in a
    later change. Raises `UnreadableText` if a text before the change is not YAML.
    """
    if is_admin(author):
        return
    changed = _changed_keys(change.after, change.before)
    if not changed:
        return
    is_own_removal = change.actor == author.name and not _changed_keys(change.before, change.after)
    if not is_own_removal or any(
        _may_touch(later, changed) for later in history.since(change.id) if later.actor != author.name
    ):
        raise ReservedForAdmins(changed)


def _may_touch(change: PolicyChange, keys: Iterable[str]) -> bool:
    """Return True if a change added or removed values of reserved keys, or cannot be read."""
    try:
        touched = {*_changed_keys(change.before, change.after), *_changed_keys(change.after, change.before)}
    except UnreadableText:
        return True
    return not touched.isdisjoint(keys)


def _changed_keys(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the reserved keys in which files differ. `before` and `after` are texts by name."""
    return reserved_changes(_others(before, after), _others(after, before))


def _others(texts: Mapping[str, str], compared: Mapping[str, str]) -> list[str]:
    """Return the texts that are not the same in `compared`."""
    return [text for name, text in texts.items() if compared.get(name) != text]
