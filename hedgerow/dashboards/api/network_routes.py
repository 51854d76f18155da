"""JSON that changes what the network is made of: its settings, its devices, its lists; under /api/v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.dashboards.api.control import Control, Unfit
from hedgerow.dashboards.pages.devices import giving_edits, naming_edits, trust_edit
from hedgerow.dashboards.pages.lists import adding_edit, removing_edit
from hedgerow.dashboards.pages.site import visitor_of
from hedgerow.dashboards.policy_desk import PolicyDesk
from hedgerow.dashboards.policy_text import put, remove
from hedgerow.policies.model import Policy


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The network's settings, as far as pages and scripts change them; `country` is an ISO 3166 code, empty where it is not said."""

    country: str
    timezone: str
    unknown_devices: str


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device that the policy names; `trusts_ca`: its pages may be looked into."""

    device: str
    person: str | None
    trusts_ca: bool


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NetworkChange(_Body):
    """What is left out stays."""

    country: str | None = Field(None, max_length=2)
    timezone: str | None = Field(None, min_length=1, max_length=60)
    unknown_devices: str | None = Field(None, max_length=60)


class NewDevice(_Body):
    """A device that was seen as a MAC or an address, and what it is called from now on."""

    seen_as: str = Field(min_length=2, max_length=60)
    name: str = Field(min_length=1, max_length=40)
    person: str | None = Field(None, max_length=60)


class DeviceChange(_Body):
    """What is left out stays; an empty `person` is nobody."""

    person: str | None = Field(None, max_length=60)
    trusts_ca: bool | None = None


class NewList(_Body):
    """One of the public lists by its name, or one's own by its address and category."""

    source: str | None = Field(None, max_length=200)
    url: str | None = Field(None, max_length=2000)
    category: str | None = Field(None, max_length=60)


type DeviceName = Annotated[str, Path(max_length=253)]


def add_network(api: APIRouter, control: Control, desk: PolicyDesk) -> None:
    """Adds the routes."""
    _add_settings(api, control, desk)
    _add_devices(api, control, desk)
    _add_lists(api, desk, control)


def _add_settings(api: APIRouter, control: Control, desk: PolicyDesk) -> None:
    def view() -> NetworkView:
        network = control.policy().network
        return NetworkView(network.country or "", network.timezone, network.unknown_devices)

    @api.get("/settings")
    async def settings() -> NetworkView:
        return view()

    @api.put("/settings")
    async def set_settings(request: Request, change: NetworkChange) -> NetworkView:
        said = change.model_dump(exclude_none=True)
        edits = [put(("network", name), value or None) for name, value in said.items()]
        await desk.change(visitor_of(request).name, "Network settings", *edits)
        return view()


def _add_devices(api: APIRouter, control: Control, desk: PolicyDesk) -> None:
    @api.post("/devices", status_code=201)
    async def name_device(request: Request, new: NewDevice) -> NamedDevice:
        edits = naming_edits(control.policy(), new.seen_as, new.name, new.person or "")
        await desk.change(visitor_of(request).name, f"Name a device: {new.name}", *edits)
        return _named(control.policy(), " ".join(new.name.split()))

    @api.put("/devices/{device}")
    async def change_device(request: Request, device: DeviceName, change: DeviceChange) -> NamedDevice:
        policy = control.policy()
        _named(policy, device)
        edits = giving_edits(policy, device, change.person) if change.person is not None else []
        if change.trusts_ca is not None:
            edits.append(trust_edit(policy, device, change.trusts_ca))
        await desk.change(visitor_of(request).name, f"Change {device}", *edits)
        return _named(control.policy(), device)

    @api.delete("/devices/{device}", status_code=204)
    async def forget_device(request: Request, device: DeviceName) -> None:
        policy = control.policy()
        _named(policy, device)
        edits = [*giving_edits(policy, device, ""), remove(("devices", device))]
        await desk.change(visitor_of(request).name, f"Forget the device {device}", *edits)


def _add_lists(api: APIRouter, desk: PolicyDesk, control: Control) -> None:
    @api.post("/lists", status_code=204)
    async def add_list(request: Request, new: NewList) -> None:
        if (new.source is None) == (new.url is None) or (new.url is not None) != (new.category is not None):
            raise Unfit("A list is a `source`, or a `url` with its `category`.")
        name = new.source or new.url or ""
        edit = adding_edit(new.source or "", new.url or "", new.category or "")
        await desk.change(visitor_of(request).name, f"Add the list {name}", edit)

    @api.post("/lists/accept", status_code=204)
    async def accept_list(name: Annotated[str, Query(max_length=2000)]) -> None:
        """Takes the newer copy of a list that is held back into use."""
        await control.accept_list(name)

    @api.delete("/lists", status_code=204)
    async def remove_list(request: Request, name: Annotated[str, Query(max_length=2000)]) -> None:
        """By the name that it has in `GET /lists`."""
        edit = removing_edit(control.policy(), name)
        await desk.change(visitor_of(request).name, f"Remove the list {name}", edit)


def _named(policy: Policy, device: str) -> NamedDevice:
    if device not in policy.devices:
        raise Unfit("There is no device '%(device)s' in the policy.", device=device)
    found = policy.devices[device]
    return NamedDevice(device, found.person, found.trusts_ca)
