"""JSON for scripts about time: how budgets stand, minutes given on top, and who sits where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.dashboards.api.access import Actor
from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import Session
from hedgerow.policies.time_model import Bonus

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
    """The running Hedgerow, as far as time is given and taken. Raises `InvalidInput` for unknown names, `NoSuchEntry` where nobody sits."""

    def budgets(self) -> tuple[BudgetRow, ...]:
        """All budgets, from memory."""
        ...

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        """What ends at a device within the next minutes, the nearest first; nothing for a device that there is not."""
        ...

    def sessions(self) -> tuple[Session, ...]:
        """Who sits at seats and shared devices now."""
        ...

    async def accept(self, sitting_id: str) -> None:
        """The guest of a sitting accepts the code of conduct; nothing where that is over."""
        ...

    def session_start(self, device: str) -> float:
        """Since when who sits at a seat sits there, 0 for what is no seat: what was before is somebody else's. Waits for the disk."""
        ...

    async def add_minutes(self, name: str, subject: str, minutes: int, actor: str) -> Bonus:
        """Gives a person or a device minutes on top, today."""
        ...

    async def start_session(
        self, device: str, actor: str, *, person: str | None, band: str | None, minutes: float | None, name: str
    ) -> Session:
        """Opens a seat for a child or an adult, or signs a person in at a device that several share."""
        ...

    async def end_session(self, device: str, minutes: float | None) -> None:
        """Ends a sitting now, or lets it end in so many minutes."""
        ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BonusOrder(_Body):
    """Minutes for a person or a device; `subject` is a category or a service that has a budget of its own."""

    name: str = Field(min_length=1, max_length=_NAME_LIMIT)
    subject: str = Field("", max_length=_NAME_LIMIT)
    minutes: int = Field(ge=1, le=24 * 60)


class SeatOrder(_Body):
    """Who sits down: a guest of an age band at a seat, or a person at a device that several share."""

    band: Literal["child", "adult"] | None = None
    person: str | None = Field(None, max_length=_NAME_LIMIT)
    minutes: float | None = Field(None, gt=0, le=60 * 24)
    name: str = Field("", max_length=100)


class SeatEndOrder(_Body):
    """In how many minutes from now it ends; without, at once."""

    minutes: float | None = Field(None, gt=0, le=60 * 24)


Device = Annotated[str, Path(max_length=_NAME_LIMIT)]


def make_time_api(control: TimeControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)

    @api.get("/budgets")
    async def budgets() -> tuple[BudgetRow, ...]:
        return control.budgets()

    @api.post("/bonus", status_code=201)
    async def bonus(actor: Actor, order: BonusOrder) -> Bonus:
        return await control.add_minutes(order.name, order.subject, order.minutes, actor)

    @api.get("/endings/{device}")
    async def endings(device: Device) -> tuple[UpcomingEnd, ...]:
        return control.endings(device)

    @api.get("/sittings")
    async def sessions() -> tuple[Session, ...]:
        return control.sessions()

    @api.post("/sittings/{device}", status_code=201)
    async def start_session(actor: Actor, device: Device, order: SeatOrder) -> Session:
        return await control.start_session(device, actor, person=order.person, band=order.band, minutes=order.minutes, name=order.name)

    @api.post("/sittings/{device}/end", status_code=204)
    async def end_session(device: Device, order: SeatEndOrder) -> None:
        await control.end_session(device, order.minutes)

    return api
