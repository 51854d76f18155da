"""Simulated apps: for each service of the catalogue, a client that works only while all of its usual hosts can be
reached.

An app does not know which of its hosts the catalogue names. Its hosts are those of `usual_hosts.yaml`, and names that
the catalogue's own patterns cover. `Reach` says whether the device reaches a host: by a decision, by DNS, or through
the proxy. Deliberately absent: the apps' protocols. An app whose names resolve and whose connections are joined has
what a filter can give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from small_internet import SmallInternet
from small_internet.clients import Address, curl, kdig
from small_internet.records import parse_zone
from small_internet.zones import WILDCARD_NUMBER

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.names import is_beneath, registered_domain
from hedgerow.policies.access_subject import opens_too
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import Service, Services
from hedgerow.policies.model import Device, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Rulesets

BLOCKED = ["0.0.0.0"]
_PREFIXES = ("www.", "api.", "cdn7.")

type Reach = Callable[[str], bool]
"""Return whether the app's device reaches a host."""


@dataclass(frozen=True, slots=True)
class SimulatedApp:
    """An app on a device, with the hosts that it needs: its pages, API, media and CDN."""

    id: str
    hosts: tuple[str, ...]

    def unreached(self, reach: Reach) -> list[str]:
        """Return the hosts without which the app does not work."""
        return [host for host in self.hosts if not reach(host)]

    def works(self, reach: Reach) -> bool:
        return not self.unreached(reach)

    def is_stopped(self, reach: Reach) -> bool:
        """Return whether nothing of the app can be reached, but for what other services need too."""
        of_others = frozenset(opens_too(self.id))
        return not any(reach(host) for host in self.hosts if not is_beneath(host, of_others))


@cache
def usual_hosts() -> dict[str, tuple[str, ...]]:
    """Return the real hosts that were collected, by the service's id."""
    collected = yaml.safe_load((Path(__file__).parent / "usual_hosts.yaml").read_text(encoding="utf-8"))
    return {id: tuple(hosts) for id, hosts in collected.items()}


def app_of(service: Service) -> SimulatedApp:
    """Return the app of a service. One that is only a part of a site, told by its URLs, has the hosts of that site."""
    patterns = (prefix + domain for domain in service.domains for prefix in _PREFIXES)
    parts = (pattern.partition("/")[0] for pattern in service.urls)
    hosts = dict.fromkeys(
        (*service.domains, *patterns, *opens_too(service.id), *usual_hosts().get(service.id, ()), *parts)
    )
    return SimulatedApp(service.id, tuple(hosts))


def simulated_apps() -> dict[str, SimulatedApp]:
    """Return the apps of all services that DNS can tell apart, by the service's id."""
    return {id: app_of(service) for id, service in Services.load().by_id.items() if service.domains}


def app(id: str, hosts: Iterable[str] | None = None) -> SimulatedApp:
    """Return the app of one service, or with only some of its hosts."""
    found = app_of(Services.load().by_id[id])
    return found if hosts is None else SimulatedApp(id, tuple(hosts))


def by_decision(rulesets: Rulesets, catalogue: Catalogue, device: Device, now: float) -> Reach:
    """Return the reach of a device under some rules, as both enforcement points decide."""
    ruleset = rulesets.ruleset(device, now)

    def reach(host: str) -> bool:
        asked = (
            Request(device.id, RequestKind.DNS, host, dns_type="A"),
            Request(device.id, RequestKind.TUNNEL, host, 443),
        )
        return all(decide(ruleset, catalogue, each).verdict is not Verdict.BLOCK for each in asked)

    return reach


def serve(internet: SmallInternet, app: SimulatedApp) -> None:
    """Give the app's hosts an address in the small internet, and an origin that answers there."""
    for domain in dict.fromkeys(map(registered_domain, app.hosts)):
        address = f"{internet.prefix}.{WILDCARD_NUMBER}"
        internet.nameserver.add_zone(parse_zone(domain, f"* A {address}\n@ A {address}"))


def by_dns(server: Address, source: str) -> Reach:
    """Return the reach of a device by DNS: the name of the host resolves to an address."""

    def reach(host: str) -> bool:
        answer = kdig(server, host, source=source)
        assert answer is not None, f"no answer about {host}"
        return answer.data("A") not in ([], BLOCKED)

    return reach


def by_proxy(proxy: Address, source: str, internet: SmallInternet) -> Reach:
    """Return the reach of a device through the proxy: its tunnel to the host is joined."""

    def reach(host: str) -> bool:
        return curl(internet.url(host), proxy=proxy, source=source, ca=internet.authority.root).connect_status == 200

    return reach
