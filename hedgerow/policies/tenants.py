"""Whose accounts may be used at services that ask for that in a field of each request (`tenants.yaml`). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hedgerow.policies.data import read_data


@dataclass(frozen=True, slots=True)
class Tenants:
    """Domains of Google's organisations, and domains or ids of Microsoft's with the id of the directory that says so."""

    google: tuple[str, ...] = ()
    microsoft: tuple[str, ...] = ()
    directory: str = ""

    def fields_for(self, host: str) -> tuple[tuple[str, str], ...]:
        """The fields of a request to `host`, which take the place of the client's own.

        >>> Tenants(google=("school.example", "club.example")).fields_for("accounts.google.com")
        (('X-GoogApps-Allowed-Domains', 'school.example,club.example'),)
        """
        found = next((service for domain in _suffixes(host) if (service := _services().get(domain)) is not None), None)
        if found is None:
            return ()
        tenants = {"google": self.google, "microsoft": self.microsoft}[found[0]]
        if not tenants:
            return ()
        values = {"tenants": ",".join(tenants), "directory": self.directory}
        return tuple((name, text.format(**values)) for name, text in found[1])


def _suffixes(host: str) -> list[str]:
    labels = host.split(".")
    return [".".join(labels[index:]) for index in range(len(labels) - 1)]


@cache
def _services() -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    found = {}
    for service in read_data("tenants.yaml").values():
        for host in service["hosts"]:
            found[str(host)] = (str(service["kind"]), tuple((str(name), str(text)) for name, text in service["fields"].items()))
    return found
