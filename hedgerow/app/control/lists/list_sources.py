"""The sources of lists that a policy implies, and the fingerprint of a generation compiled from them."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hedgerow.blocklists.archives import files_of
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.download_store import CopyStatus, copy_status, failing_since, pointer_path
from hedgerow.blocklists.generation import FORMAT_VERSION
from hedgerow.blocklists.list_parser import engine_digest
from hedgerow.blocklists.sources import (
    PublicSource,
    Source,
    correction_sources,
    public_sources,
    shown_url,
    starter_sources,
)
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Policy, Profile
from hedgerow.policies.network import ListSelection


def sources_of(policy: Policy) -> tuple[Source, ...]:
    """The starter lists, the corrections, the policy's own lists and, unless it uses the starter lists only, the
    recommended ones.
    """
    own = [
        Source(
            each.name,
            each.category,
            Path(each.path) if each.path else None,
            each.url,
            each.format or "auto",
            each.refresh,
        )
        for each in policy.lists
    ]
    known = {source.url for source in own}
    public = {source.url for source in public_sources().values()}
    own = [
        replace(each, leave_out=_services_of_other_kinds(each.category)) if each.url in public else each for each in own
    ]
    recommended = [source for source in recommended_sources(policy) if source.url not in known]
    return (*starter_sources(), *correction_sources(), *own, *recommended)


def all_recommended() -> list[Source]:
    """Return the public lists that are recommended for any profile."""
    known = [source for source in public_sources().values() if source.default_for]
    return [replace(source.as_source(), leave_out=_services_of_other_kinds(source.category)) for source in known]


def source_location(name: str, policy: Policy) -> str:
    """The path of a list, relative if it is below the working directory, or its URL.

    Empty if that is the list's name anyway.
    """
    source = next((source for source in sources_of(policy) if source.name == name.partition(": ")[0]), None)
    url = shown_url(source.url) if source and source.url else ""
    if source is None or source.name in (str(source.path), url):
        return ""
    if source.path is None:
        return url
    return str(source.path.relative_to(Path.cwd()) if source.path.is_relative_to(Path.cwd()) else source.path)


def recommended_sources(policy: Policy) -> list[Source]:
    """The public lists recommended for the profiles in use; none if the policy uses the starter lists only.

    A custom profile counts as a child's or an adult's, depending on the profile that it extends.
    """
    if policy.network.lists != ListSelection.RECOMMENDED:
        return []
    return [
        replace(source.as_source(), leave_out=_services_of_other_kinds(source.category))
        for source in recommended_for_profiles(policy)
    ]


def wanted_categories(policy: Policy) -> frozenset[str]:
    """The categories of which public lists are recommended for the profiles in use, even if the policy uses the starter
    lists only.
    """
    return frozenset(source.category for source in recommended_for_profiles(policy))


def recommended_for_profiles(policy: Policy) -> list[PublicSource]:
    """The public lists recommended for the profiles in use, even if the policy uses the starter lists only."""
    used = {_built_in(policy.profiles[name]) for name in policy.used_profiles}
    return [source for source in public_sources().values() if used.intersection(source.default_for)]


@functools.cache
def _services_of_other_kinds(category: str) -> frozenset[str]:
    """The domains of all services that are of another kind than `category`, if that is a kind of service.

    Public lists of one kind hold services of others: a list of chat sites has WhatsApp and Microsoft Teams, one of
    social networks Tinder. A profile that leaves messengers open would be wrong about them.
    """
    services = Services.load().by_id.values()
    if category not in {service.group for service in services}:
        return frozenset()
    own = {name for service in services if service.group == category for name in service.domains}
    return frozenset(name for service in services if service.group != category for name in service.domains) - own


def _built_in(profile: Profile) -> str:
    """The built-in profile whose recommended lists apply to this one."""
    if any(profile.name in source.default_for for source in public_sources().values()):
        return profile.name
    return "child-8-12" if profile.is_for_children else "adult"


def fingerprint(sources: Sequence[Source]) -> str:
    """Hash of the compiler's inputs: the sources, their files, the categories and the list engine."""
    digest = hashlib.sha256(repr((FORMAT_VERSION, engine_digest(), builtin_categories())).encode())
    for source in sources:
        files, leave_out = file_identities(source), sorted(source.leave_out)
        digest.update(
            repr((source.name, source.category, source.format, source.url, str(source.path), leave_out, files)).encode()
        )
    return digest.hexdigest()[:20]


def file_identities(source: Source) -> list[tuple[str, int, int]]:
    """Name, time and size of all files of a source; empty if they can't be read."""
    try:
        found = [(path, path.stat()) for path in files_of(source.path, source.format)] if source.path else []
    except OSError:
        return []
    return [(str(path), status.st_mtime_ns, status.st_size) for path, status in found]


def modified_at(source: Source) -> float | None:
    """Modification time of a source's newest file, in seconds since the epoch; None if it has no files."""
    return max((date / 1e9 for _name, date, _size in file_identities(source)), default=None)


class CopyStatuses:
    """The downloaded copies of lists in the directory `downloads`."""

    def __init__(self, downloads: Path) -> None:
        self._downloads = downloads
        self._known: dict[Source, tuple[int, CopyStatus]] = {}

    def status(self, source: Source) -> CopyStatus:
        """The stored copy of a source, empty if it has no URL.

        It is read, and its checksum verified, only after a change.
        """
        try:
            changed = pointer_path(source, self._downloads).stat().st_mtime_ns if source.url else None
        except OSError:
            changed = None
        if changed is None:
            return CopyStatus()
        known = self._known.get(source)
        if known is None or known[0] != changed:
            known = self._known[source] = (changed, copy_status(source, self._downloads))
        return known[1]

    def age(self, source: Source) -> float | None:
        """Seconds since the server was last reached, or since the file was written; None if there is no copy."""
        then = self.status(source).checked if source.url else modified_at(source)
        return time.time() - then if then else None

    def failing_for(self, source: Source) -> float:
        """Seconds since the first of the failed downloads in a row, 0 if the last one succeeded or none was tried."""
        since = failing_since(source, self._downloads) if source.url else None
        return max(0.0, time.time() - since) if since else 0.0

    def with_paths(self, sources: Iterable[Source]) -> tuple[Source, ...]:
        """The sources with the paths of their copies."""
        return tuple(replace(source, path=self.status(source).path) if source.url else source for source in sources)
