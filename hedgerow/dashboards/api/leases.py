"""API of DHCP leases, reported by the DHCP servers of networks behind routers."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import Path
from pydantic import Field

from hedgerow.dashboards.api.schema import StrictModel
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.network.discovery import Lease
from hedgerow.policies.text.addresses import parse_ip, parse_mac

_LATEST = 4e9  # in the year 2096


class LeaseControl(Protocol):
    """The reported leases of the running Hedgerow."""

    def leases(self) -> tuple[Lease, ...]:
        """Return the leases that have not ended."""

    def report(self, lease: Lease) -> None:
        """Put a lease in place of an earlier one of its address. Raises `InvalidInput` if there are too many."""

    def remove(self, address: str) -> None:
        """Remove the lease of an address. Raises `NoSuchEntry`."""


class NewLease(StrictModel):
    """The device that has an address, and until when, in seconds since the epoch; null for good."""

    mac: str = Field(max_length=17)
    until: float | None = Field(None, ge=0, le=_LATEST)


type Address = Annotated[str, Path(max_length=45)]


def add_lease_routes(api: ScopedRouter, control: LeaseControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/leases", READ)
    async def leases() -> tuple[Lease, ...]:
        """Return the reported leases."""
        return control.leases()

    @api.serve("PUT", "/leases/{address}", MANAGE, status_code=204)
    async def report(address: Address, lease: NewLease) -> None:
        """Report that a device has an IP address. It is known by its MAC address there, unless this machine sees another one itself."""
        mac = parse_mac(lease.mac)
        if mac is None:
            raise InvalidInput("Use a MAC address, such as aa:bb:cc:dd:ee:ff.").at("mac")
        control.report(Lease(mac, _parse(address), until=lease.until))

    @api.serve("DELETE", "/leases/{address}", MANAGE, status_code=204)
    async def remove(address: Address) -> None:
        """Report that an address is free."""
        control.remove(_parse(address))


def _parse(address: str) -> str:
    parsed = parse_ip(address)
    if parsed is None:
        raise InvalidInput("Use an IP address, such as 192.168.1.5.")
    return str(parsed)
