"""The rules in force as the pages show them: each person's access, dangerous openings, and the enforcement points that apply them."""

from __future__ import annotations

import time

from hedgerow.app.control.access import AccessControl
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.dashboards.control import Enforcement, InvalidInput
from hedgerow.policies.danger import dangers_of
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Policy
from hedgerow.policies.person_access import PersonAccess, is_open_by_default, person_access


class EnforcedRules(AccessControl):
    """Reads the snapshot in force."""

    def person_access(self, person: str) -> PersonAccess:
        return access_of(self._view(), person, time.time())

    def is_open_by_default(self, person: str, subject: str) -> bool:
        return default_of(self._publisher.policy, self._view().catalogue, person, subject, time.time())

    def dangers(self, subject: str, *, person: str | None = None, device: str | None = None) -> tuple[str, ...]:
        return dangers_for(self._view(), subject, person, device)

    def enforcement(self) -> Enforcement:
        view, publisher = self._view(), self._publisher
        behind = publisher.applied.points_behind(view.snapshot.serial)
        return Enforcement(behind, publisher.problem, is_written=publisher.is_enforced)


def default_of(policy: Policy, catalogue: Catalogue, person: str, subject: str, now: float) -> bool:
    """Return whether a subject would be open to a person without a rule of their own that names it."""
    return is_open_by_default(policy, catalogue, policy.people[person], subject, now)


def dangers_for(view: LoadedSnapshot, subject: str, person: str | None, device: str | None) -> tuple[str, ...]:
    """Return the dangerous categories of a subject for a person, the users of a device, or everybody."""
    policy = view.policy
    profiles = {policy.people[person].profile} if person in policy.people else set[str]()
    if not profiles and device is not None and (found := find_device(view.rulesets, device)) is not None:
        profiles = {user.profile for user in view.rulesets.effective_users_of(found, time.time())}
    for_child = not profiles or any(policy.profiles[profile].is_for_children for profile in profiles)
    return dangers_of(subject, view.catalogue, for_child=for_child)


def access_of(view: LoadedSnapshot, person: str, now: float) -> PersonAccess:
    """Return a person's access under a snapshot. Raises `InvalidInput` for an unknown person."""
    known = view.policy.people.get(person)
    if known is None:
        raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
    devices = [find_device(view.rulesets, device.id) for device in view.policy.devices.values() if device.person == person]
    return person_access(view.rulesets, view.catalogue, known, [device for device in devices if device is not None], now)
