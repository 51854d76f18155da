"""API of the files by which devices keep their rules away from home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from hedgerow.dashboards.api.schema import Author
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.features.away.edits import close_tunnel_edit
from hedgerow.features.away.files import AwayDocument, AwayFile, TunnelFile, TunnelShape, away_document, open_tunnel
from hedgerow.features.away.tunnel import tunnel_of
from hedgerow.features.away.wireguard import PeerActivity
from hedgerow.policies.model import Device

type WifiNames = Annotated[list[Annotated[str, Query(max_length=32)]], Query(max_length=20)]
"""Names of networks (SSIDs)."""

_FILE = {
    200: {
        "description": "The file",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def add_away_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route of files for encrypted DNS."""
    control = context.control

    @api.serve("GET", "/devices/{device}/away/{form}", MANAGE, response_class=Response, responses=_FILE)
    async def away(device: str, form: AwayFile, home_wifi: WifiNames = []) -> Response:  # noqa: B006  FastAPI copies it
        return away_response(away_document(control, form, device, home_wifi))


@dataclass(frozen=True, slots=True)
class TunnelOrder:
    """A wanted end of the tunnel home.

    `only_dns`: names and the block page only. `home_wifi`: networks in which Apple devices close it.
    """

    format: TunnelFile = TunnelFile.WG_QUICK
    only_dns: bool = False
    home_wifi: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=20)] = ()


@dataclass(frozen=True, slots=True)
class TunnelState:
    """A device's end of the tunnel home.

    `handshake` is the instant of the last one, null before the first; bytes are as seen from home.
    """

    device: str
    addresses: tuple[str, ...]
    handshake: float | None
    received: int
    sent: int


def add_tunnel_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes of the tunnel home."""
    control, tunnel, editor = context.control, context.part(tunnel_of), context.editor

    @api.serve("GET", "/tunnels", READ)
    async def tunnels() -> list[TunnelState]:
        """Return the devices that have an end of the tunnel."""
        return [
            _state_of(device, tunnel.activity(device))
            for device in control.policy().devices.values()
            if device.tunnel is not None
        ]

    @api.serve("POST", "/devices/{device}/tunnel", MANAGE, response_class=Response, responses=_FILE)
    async def open_(device: str, order: TunnelOrder, author: Author) -> Response:
        """Give a device an end of the tunnel, or a new key for it, and return the only copy of its file."""
        shape = TunnelShape(order.only_dns, order.home_wifi)
        return away_response(
            await open_tunnel(
                control, tunnel.home(), editor, author, f"Tunnel for {device}", device, order.format, shape
            )
        )

    @api.serve("DELETE", "/devices/{device}/tunnel", MANAGE, status_code=204)
    async def close(device: str, author: Author) -> None:
        """Take a device's end of the tunnel away."""
        await editor.change(author, f"No tunnel for {device}", close_tunnel_edit(control.policy(), device))


def _state_of(device: Device, activity: PeerActivity) -> TunnelState:
    assert device.tunnel is not None
    addresses = tuple(str(network.network_address) for network in device.tunnel.networks)
    return TunnelState(device.id, addresses, activity.handshake, activity.received, activity.sent)


def away_response(document: AwayDocument) -> Response:
    """Return a file to save. It has the device's id, so nothing keeps a copy."""
    headers = {"Content-Disposition": f'attachment; filename="{document.name}"', "Cache-Control": "no-store"}
    return Response(document.data, media_type=document.content_type, headers=headers)
