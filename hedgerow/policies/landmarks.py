"""What is known of hosts whatever the policy says: helplines, services, search engines, and what is never inspected.

One index for the whole process, shared by all rulesets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hedgerow.policies.data import read_data
from hedgerow.policies.lifelines import Lifelines
from hedgerow.policies.safe_search import Engines
from hedgerow.policies.services import Services


@dataclass(frozen=True, slots=True)
class Landmark:
    """What a host and everything beneath it is. `shared` names services that need the host without owning it; `yields`: an allowed one of
    them has it from a blocked owner."""

    lifeline: bool = False
    never_inspect: bool = False
    unsafe_search: bool = False
    services: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    yields: bool = False


class Landmarks:
    """`by_host` finds the landmark of a domain; look up a host and each of its parents."""

    def __init__(self, services: Services, lifelines: Lifelines, engines: Engines, never_inspect: Iterable[str]) -> None:
        self.services = services
        self.engines = engines
        owned, shared = defaultdict(list), defaultdict(list)
        for service in services.by_id.values():
            for host in service.domains:
                owned[host].append(service.id)
            for host in service.shared:
                shared[host].append(service.id)
        yielded = {host for service in services.by_id.values() for host in service.yields}
        kept_closed = frozenset(never_inspect)
        hosts = owned.keys() | shared.keys() | lifelines.hosts | engines.without_safe_mode | kept_closed
        self.by_host = {
            host: Landmark(
                lifeline=host in lifelines.hosts,
                never_inspect=host in kept_closed,
                unsafe_search=host in engines.without_safe_mode,
                services=tuple(owned[host]) if host in owned else (),
                shared=tuple(shared[host]) if host in shared else (),
                yields=host in yielded,
            )
            for host in hosts
        }

    @staticmethod
    @cache
    def load() -> Landmarks:
        """Those that come with Hedgerow."""
        groups = read_data("never_inspect.yaml").values()
        return Landmarks(Services.load(), Lifelines.load(), Engines.load(), (host for group in groups for host in group))
