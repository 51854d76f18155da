"""API of DHCP leases, reported by the DHCP servers of networks behind routers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field

from hedgerow.dashboards.api.schema import StrictModel
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.extensions import Extensions
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import LEASES, MANAGE, READ, ScopedRouter
from hedgerow.features.reported_leases import FEATURE
from hedgerow.features.reported_leases.table import LeaseTable
from hedgerow.network.discovery import Lease
from hedgerow.policies.text.addresses import parse_client_address, parse_mac

_LATEST = 4e9  # in the year 2096


class NewLease(StrictModel):
    """The device that has an address, and until when, in seconds since the epoch; null for good."""

    mac: str = Field(max_length=17)
    until: float | None = Field(None, ge=0, le=_LATEST)


type Address = Annotated[str, Path(max_length=45)]


def add_lease_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes."""

    async def table() -> LeaseTable:
        return await context.running_part(LeaseTable, FEATURE.name)

    @api.serve("GET", "/leases", READ)
    async def leases() -> tuple[Lease, ...]:
        """Return the reported leases."""
        return (await table()).leases()

    @api.serve("PUT", "/leases/{address}", LEASES, MANAGE, status_code=204)
    async def report(address: Address, lease: NewLease) -> None:
        """Report that a device has an IP address.

        It is known by its MAC address there, unless this machine sees another one itself.
        """
        mac = parse_mac(lease.mac)
        if mac is None or int(mac[:2], 16) & 1:  # of a group of devices (IEEE 802, section 8.2.2)
            raise InvalidInput("Use a MAC address, such as aa:bb:cc:dd:ee:ff.").at("mac")
        (await table()).report(Lease(mac, _parse(address), until=lease.until))

    @api.serve("DELETE", "/leases/{address}", LEASES, MANAGE, status_code=204)
    async def remove(address: Address) -> None:
        """Report that an address is free."""
        (await table()).remove(_parse(address))


def _parse(address: str) -> str:
    parsed = parse_client_address(address)
    if parsed is None or "%" in address or parsed.is_multicast or parsed.is_unspecified:
        raise InvalidInput("Use an IP address, such as 192.168.1.5.")
    return str(parsed)


EXTENSIONS = Extensions(api_routes=(add_lease_routes,))
