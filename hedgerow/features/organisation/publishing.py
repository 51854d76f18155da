"""Publishing the policies above sites, for pages and API: what may be published by whom, and what is wrong with it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.reserved_keys import ReservedForAdmins, check_author, is_admin
from hedgerow.dashboards.words.languages import message
from hedgerow.features.organisation.answers import NodeAnswer, read_answers
from hedgerow.features.organisation.levels import ORGANISATION, OrganisationStore
from hedgerow.features.organisation.site_search import SearchResult, SiteSearch
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion, VersionConflict
from hedgerow.journal.store import Store
from hedgerow.policies.reading.key_scopes import UnreadableText
from hedgerow.policies.reading.load import PolicyError
from hedgerow.policies.text.addresses import site_name_mistake

SITE_NAMES = message(
    "Use up to 31 lower-case letters, digits and hyphens for the name of a site or group, such as cafe-3."
)

_CONFLICT = message("Somebody else has just published a version. Look at it and try again.")


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A version to publish: a text, or an earlier version again.

    `follows` is the version that the author has seen; None if any.
    """

    text: str | None
    again: int | None
    only: tuple[str, ...] = ()
    note: str = ""
    follows: int | None = None


class Publishing:
    """The policies above this machine's site. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self.clock = store, clock
        self.organisation = OrganisationStore(store)
        self._search = SiteSearch(store)

    @property
    def is_office(self) -> bool:
        """Return True if this machine's role may change the policies of all sites, which share the store with it."""
        return self._store.dialect.is_partitioned and self._store.rights.site is None

    def may_publish(self, level: str) -> bool:
        """Return True if this machine's role may change the policy of a level."""
        rights = self._store.rights
        return self.is_office or (self._store.dialect.is_partitioned and level == rights.site and rights.may_manage)

    def publish(self, level: str, draft: PolicyDraft, author: Principal) -> PolicyVersion:
        """Put a version in force. Raises `InvalidInput`, `NoSuchEntry` and DatabaseError."""
        self._check_right(level)
        if draft.only and not level.startswith(ORGANISATION):
            raise InvalidInput("A site's own policy is in force there only.")
        if not draft.note.isprintable():
            raise InvalidInput("Use one line of text.").at("note")
        versions = self.organisation.of_level(level)
        newest = versions.newest()
        before: Mapping[str, str] = newest.files if newest is not None else {}
        files = (
            {**before, MAIN_FILE: draft.text}
            if draft.text is not None
            else dict(versions.version(draft.again or 0).files)
        )
        if not is_admin(author):
            for replaced in versions.in_force(draft.only):  # some sites may be trying another version than the rest
                _check_author(author, replaced.files if replaced is not None else {}, files)
        follows = newest.id if newest is not None else 0
        if draft.follows not in (None, follows):
            raise InvalidInput(_CONFLICT)
        note = " ".join(draft.note.split()) or (f"version {draft.again} again" if draft.again is not None else "")
        made = PolicyVersion(0, self.clock(), author.name, note, socket.gethostname(), follows, files, draft.only)
        try:
            return versions.version(self.organisation.publish(level, made))
        except PolicyError as error:
            raise InvalidInput(message("The policy would be invalid: %(problems)s"), problems=_told(error)).at(
                "policy"
            ) from None
        except ValueError:
            raise InvalidInput(SITE_NAMES).at("only") from None
        except VersionConflict:
            raise InvalidInput(_CONFLICT) from None

    def before(self, version: PolicyVersion) -> Mapping[str, str]:
        """Return the files of the version before, none if it is not kept or not for this machine's site."""
        try:
            return self.organisation.find(version.follows)[1].files
        except NoSuchEntry:
            return {}

    def answers(self, number: int) -> tuple[NodeAnswer, ...]:
        """Return what the sites' machines have done with a version. Raises `NoSuchEntry`."""
        level, version = self.organisation.find(number)
        return read_answers(self.organisation, level, version, self.clock())

    def assign(self, site: str, group: str, author: Principal) -> None:
        """Put a site into a group, or into none. Raises `InvalidInput` and DatabaseError."""
        self._check_right(ORGANISATION)
        for field, name in (("site", site), ("group", group)):
            if (name or field == "site") and site_name_mistake(name):
                raise InvalidInput(SITE_NAMES).at(field)
        groups = (self.organisation.groups().get(site, ""), group)
        check_author(author, *(self._group_files(site, each) for each in groups))
        self.organisation.assign(site, group)

    def _group_files(self, site: str, group: str) -> Mapping[str, str]:
        version = self.organisation.of_level(ORGANISATION + group).newest(site) if group else None
        return version.files if version is not None else {}

    def search(self, wanted: str) -> SearchResult:
        """Return the newest decisions for a host, device or person at all sites that this machine's role sees.

        Raises `InvalidInput`.
        """
        self._check_store()
        return self._search.find(wanted)

    def _check_store(self) -> None:
        if not self._store.dialect.is_partitioned:
            raise InvalidInput("Sites share a PostgreSQL store, and this machine keeps its own.")

    def _check_right(self, level: str) -> None:
        self._check_store()
        if not self.may_publish(level):
            site = self._store.rights.site
            raise InvalidInput(
                "This machine belongs to the site %(site)s, and only the organisation's office changes that.", site=site
            )


def _check_author(author: Principal, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    try:
        check_author(author, before, after)
    except ReservedForAdmins as refusal:
        raise refusal.at("policy") from None
    except UnreadableText as error:
        raise InvalidInput(message("The policy would be invalid: %(problems)s"), problems=error).at("policy") from None


def _told(error: PolicyError) -> str:
    return "; ".join(
        f"line {each.line}: {each.message}" if each.line is not None else each.message for each in error.problems[:3]
    )
