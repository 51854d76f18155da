"""Ages from which services are open without a rule of the household, and the reasons. Profiles enforce them; this states them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hedgerow.policies.host_facts import Services
from hedgerow.policies.text.data_files import read_data

AGE_BANDS = {0: "child-under-8", 8: "child-8-12", 13: "teen-13-15", 16: "teen-16-17", 18: "adult"}
"""Built-in profiles by the lowest age of each."""


@dataclass(frozen=True, slots=True)
class ServiceAge:
    """The youngest band, a key of `AGE_BANDS`, in which a service is open, and the reason."""

    open_from: int
    why: str


@cache
def service_ages() -> dict[str, ServiceAge]:
    """Return the age of each service, by its id. An exception replaces the age of the service's group."""
    data = read_data("service_ages.yaml")
    groups, exceptions = data["groups"], data["services"]
    stated = {service.id: exceptions.get(service.id) or groups[service.group] for service in Services.load().by_id.values()}
    return {id: ServiceAge(int(entry["from"]), str(entry["why"])) for id, entry in stated.items()}
