"""The gateway as the people in charge chose it, and control's part in it: the table follows the rulesets.

The choice lies in the state directory as `gateway.json`; where there is none, nothing of nftables is touched. Hedgerow's end leaves the
table in place: children stay on the path, which then leads nowhere, and whoever is open is not concerned.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from hedgerow.app.files import write_atomically
from hedgerow.app.settings import EVERYWHERE, Settings
from hedgerow.app.snapshot import View
from hedgerow.network import gateway as nftables
from hedgerow.network.gateway_rules import Doors, Gateway
from hedgerow.network.standing import Census, take_census
from hedgerow.policies.model import DeviceId

log = logging.getLogger("hedgerow.gateway")

TICK_S = 0.5
LOOK_EVERY_S = 2.0  # a reload of the machine's own firewall may flush everything, and people try things by hand


@dataclass(frozen=True, slots=True)
class Choice:
    """What `hedgerow gateway apply` was told. `lan` are interfaces."""

    lan: Annotated[tuple[str, ...], Field(min_length=1)]
    strict: bool = False
    allow_ipsec: bool = False
    allow_ssh: bool = False

    def save(self, state: Path) -> None:
        write_atomically(choice_file(state), _ADAPTER.dump_json(self, indent=1), 0o644)  # root chooses, the service reads

    @staticmethod
    def load(state: Path) -> Choice | None:
        """None where nobody chose a gateway; raises OSError or ValueError where it can't be read."""
        try:
            return _ADAPTER.validate_json(choice_file(state).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ValueError(f"{choice_file(state)} can't be read: choose again, with hedgerow gateway apply --lan") from error


_ADAPTER = TypeAdapter(Choice)


def choice_file(state: Path) -> Path:
    return state / "gateway.json"


def note_form(state: Path) -> str:
    """Writes down in what form the table was put in place, for `is_as_put`, and returns it; empty for none.

    A disk that takes nothing is no reason to do without the gateway: then nobody can tell later.
    """
    form = _form()
    with contextlib.suppress(OSError):
        _form_file(state).unlink(missing_ok=True)
        write_atomically(_form_file(state), _digest(form), 0o644)
    return form


def is_as_put(state: Path, found: nftables.InPlace) -> bool:
    """Whether the table is as Hedgerow put it in place, as far as that is known: an emptied one lets everything pass."""
    if _is_noted(state, found):
        return True
    time.sleep(TICK_S)  # control may just be putting it anew, and writes it down afterwards
    now = nftables.look()
    return now is not None and _is_noted(state, now)


def _is_noted(state: Path, found: nftables.InPlace) -> bool:
    try:
        return _form_file(state).read_bytes() == _digest(found.form)
    except FileNotFoundError:
        return True


def forget(state: Path) -> None:
    """Forgets the choice: control then leaves nftables alone. Raises OSError."""
    choice_file(state).unlink(missing_ok=True)
    _form_file(state).unlink(missing_ok=True)


def _form_file(state: Path) -> Path:
    return state / "gateway-form"


def _digest(form: str) -> bytes:
    return hashlib.sha256(form.encode("utf-8")).hexdigest().encode("ascii")


def gateway_of(choice: Choice, settings: Settings, ports: tuple[int, ...]) -> Gateway:
    """What the table is made for, on this machine as it is now; `ports` are those that the proxy serves.

    Raises OSError, and GatewayError where DNS listens elsewhere.
    """
    from hedgerow.network import interfaces  # here and not above: most machines have no gateway to carry its weight for

    if settings.dns.host not in EVERYWHERE:
        raise nftables.GatewayError(
            f"DNS is served at {settings.dns} only: the gateway needs it at every address, such as --dns 0.0.0.0:53."
        )
    one_armed = bool(interfaces.to_the_internet() & set(choice.lan))
    pages = settings.transparent.port if settings.transparent and settings.transparent.host in EVERYWHERE else None
    return Gateway(choice.lan, Doors(settings.dns.port, pages, ports), one_armed, choice.strict, choice.allow_ipsec, choice.allow_ssh)


def census_of(view: View, now: float) -> Census:
    """Who stands how, a budget of a device without a name included."""
    accounts = (spent.account.partition(":") for spent in view.snapshot.spent)
    return take_census(view.rulesets, now, [DeviceId(id) for kind, _, id in accounts if kind == "device"])


class GatewayKeeper:
    """Keeps the table in place and in step, from the control process. `view` tells what is in force, None before the start is over."""

    def __init__(self, settings: Settings, view: Callable[[], View | None]) -> None:
        self._settings = settings
        self._view = view
        self._in_force: tuple[Gateway, Census] | None = None
        self._form = ""
        self._choice: Choice | None = None
        self._looked = 0.0
        self._said = ""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._step()
                self._said = ""
            except (nftables.GatewayError, OSError, ValueError) as error:
                self._in_force = None
                if str(error) != self._said:
                    log.error("The gateway is not as it should be: %s", error)
                self._said = str(error)
            await asyncio.sleep(TICK_S)

    async def _step(self) -> None:
        choice, view = Choice.load(self._settings.state), self._view()
        if choice is None or view is None:
            self._in_force = None
            return
        census, in_force = census_of(view, time.time()), self._in_force
        # Looked at before it follows another census too: what somebody else did meanwhile must not count as ours afterwards.
        is_same = in_force is not None and choice == self._choice and census.is_same(in_force[1])
        if in_force is None or not is_same or self._is_time_to_look():
            in_force = await asyncio.to_thread(self._make_sure, choice, census, view.policy.network.ports)
        if not census.is_same(in_force[1]):
            await asyncio.to_thread(self._follow, census)
        self._in_force, self._choice = (in_force[0], census), choice

    def _is_time_to_look(self) -> bool:
        return time.monotonic() - self._looked > LOOK_EVERY_S

    def _make_sure(self, choice: Choice, census: Census, ports: tuple[int, ...]) -> tuple[Gateway, Census]:
        """Puts the table in place where it is not, is not as we left it, or is made for something else, such as another way to the
        internet."""
        gateway = gateway_of(choice, self._settings, ports)
        if self._in_force is None or self._in_force[0] != gateway or _form() != self._form:
            nftables.apply(gateway, census)
            self._form = note_form(self._settings.state)
            log.info("gateway in place on %s", ", ".join(choice.lan))
            if not choice_file(self._settings.state).exists():
                nftables.remove()  # somebody removed the gateway at this very moment
            self._in_force = (gateway, census)
        self._looked = time.monotonic()
        return self._in_force

    def _follow(self, census: Census) -> None:
        nftables.follow(census)
        self._form = note_form(self._settings.state)


def _form() -> str:
    """The form of the table in place; empty for none."""
    found = nftables.look()
    return found.form if found else ""
