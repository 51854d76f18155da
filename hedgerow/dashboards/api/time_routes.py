"""JSON for scripts about time: how budgets stand, minutes given on top, and who sits where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.dashboards.api.giver import Giver
from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.policies.model import Bonus, Sitting
from hedgerow.policies.times.endings import Ending

_NAME_LIMIT = 253


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """How one budget stands: `subject` is empty for all use. None as `limit`: nothing limits it today. `until`: it begins anew then."""

    whose: str
    subject: str
    used: int
    limit: int | None
    left: int | None
    until: float


class TimeControl(Protocol):
    """The running Hedgerow, as far as time is given and taken. Raises `Unfit` for unknown names, `NoSuchEntry` where nobody sits."""

    def budgets(self) -> tuple[BudgetRow, ...]:
        """All budgets, from memory."""
        ...

    def endings(self, device: str) -> tuple[Ending, ...]:
        """What ends at a device within the next minutes, the nearest first; nothing for a device that there is not."""
        ...

    def sittings(self) -> tuple[Sitting, ...]:
        """Who sits at seats and shared devices now."""
        ...

    async def accept(self, sitting_id: str) -> None:
        """The guest of a sitting accepts the code of conduct; nothing where that is over."""
        ...

    def seat_since(self, device: str) -> float:
        """Since when who sits at a seat sits there, 0 for what is no seat: what was before is somebody else's. Waits for the disk."""
        ...

    async def give_time(self, name: str, subject: str, minutes: int, giver: str) -> Bonus:
        """Gives a person or a device minutes on top, today."""
        ...

    async def sit(self, device: str, giver: str, *, person: str | None, band: str | None, minutes: float | None, name: str) -> Sitting:
        """Opens a seat for a child or an adult, or signs a person in at a device that several share."""
        ...

    async def stand_up(self, device: str, minutes: float | None) -> None:
        """Ends a sitting now, or lets it end in so many minutes."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BonusOrder(_Body):
    """Minutes for a person or a device; `subject` is a category or a service that has a budget of its own."""

    name: str = Field(min_length=1, max_length=_NAME_LIMIT)
    subject: str = Field("", max_length=_NAME_LIMIT)
    minutes: int = Field(ge=1, le=24 * 60)


class SitOrder(_Body):
    """Who sits down: a guest of an age band at a seat, or a person at a device that several share."""

    band: Literal["child", "adult"] | None = None
    person: str | None = Field(None, max_length=_NAME_LIMIT)
    minutes: float | None = Field(None, gt=0, le=60 * 24)
    name: str = Field("", max_length=100)


class EndOrder(_Body):
    """In how many minutes from now it ends; without, at once."""

    minutes: float | None = Field(None, gt=0, le=60 * 24)


Device = Annotated[str, Path(max_length=_NAME_LIMIT)]


def make_time_api(control: TimeControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)

    @api.get("/budgets")
    async def budgets() -> tuple[BudgetRow, ...]:
        return control.budgets()

    @api.post("/bonus", status_code=201)
    async def bonus(giver: Giver, order: BonusOrder) -> Bonus:
        return await control.give_time(order.name, order.subject, order.minutes, giver)

    @api.get("/endings/{device}")
    async def endings(device: Device) -> tuple[Ending, ...]:
        return control.endings(device)

    @api.get("/sittings")
    async def sittings() -> tuple[Sitting, ...]:
        return control.sittings()

    @api.post("/sittings/{device}", status_code=201)
    async def sit(giver: Giver, device: Device, order: SitOrder) -> Sitting:
        return await control.sit(device, giver, person=order.person, band=order.band, minutes=order.minutes, name=order.name)

    @api.post("/sittings/{device}/end", status_code=204)
    async def stand_up(device: Device, order: EndOrder) -> None:
        await control.stand_up(device, order.minutes)

    return api
