"""Home Assistant's view of children and home: discovery payloads, states and commands over MQTT. Pure.

Payloads follow the device-based discovery of Home Assistant (2024.11 and later): one message per device with all of its
components, under `homeassistant/device/ID/config`. Every topic of ours begins with `BASE/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hedgerow import __version__
from hedgerow.dashboards.control import BudgetRow, Status
from hedgerow.dashboards.coverage import oldest_age_hours
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.features.home_assistant.settings import BrokerRights
from hedgerow.journal.reader import RequestRow

DISCOVERY = "homeassistant/device"
HOME = "home"
EXTRA_MINUTES = 15
_TEXT_LIMIT = 255  # characters of a state in Home Assistant

type Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChildReading:
    """The values of a child in Home Assistant. `left` is the budget of all use; `services` tells which of the chosen
    ones are open now.
    """

    name: str
    is_paused: bool
    left: BudgetRow | None
    bedtime: float | None
    blocked_today: int
    request: RequestRow | None
    services: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Command:
    """A wish of Home Assistant: `what` of a child (`internet`, `service_tiktok`, `allow` …) and its payload."""

    child: str
    what: str
    payload: str


class Topics:
    """Topics and ids of one home. A child's id is made of the name, as topics and entities take no other letters."""

    def __init__(self, base: str, children: Iterable[str]) -> None:
        self.base = base
        self._names: dict[str, str] = {}
        for name in children:
            plain = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") or "child"
            ids = (plain, *(f"{plain}_{number}" for number in range(2, 1000)))
            self._names[next(each for each in ids if each not in {*self._names, HOME})] = name

    @property
    def status(self) -> str:
        return f"{self.base}/status"

    @property
    def commands(self) -> str:
        return f"{self.base}/+/+/set"

    @property
    def ids(self) -> Mapping[str, str]:
        """Names of children by their ids."""
        return self._names

    def state(self, id: str) -> str:
        return f"{self.base}/{id}/state"

    def config(self, id: str) -> str:
        return f"{DISCOVERY}/{self.base}_{id}/config"

    def command(self, topic: str, payload: bytes) -> Command | None:
        """Return what a message asks for; None if it is not a command of ours."""
        match = re.fullmatch(re.escape(self.base) + r"/([a-z0-9_]+)/([a-z0-9_-]+)/set", topic)
        if match is None or match[1] not in self._names or len(payload) > 20 or not payload.isascii():
            return None
        return Command(self._names[match[1]], match[2], payload.decode("ascii"))


def child_state(child: ChildReading, now: float) -> Payload:
    """Return the state of a child, of which each component shows one value. During a bedtime, the next one is
    unknown.
    """
    asked, bedtime = child.request, child.bedtime
    return {
        "internet": "OFF" if child.is_paused else "ON",
        "minutes_left": None if child.left is None else child.left.left,
        "bedtime": None if bedtime is None or bedtime <= now else datetime.fromtimestamp(bedtime, UTC).isoformat(),
        "blocked_today": child.blocked_today,
        "request_number": None if asked is None else asked.id,
        "request": None if asked is None else _request_text(asked),
        **{f"service_{service}": "ON" if is_open else "OFF" for service, is_open in child.services.items()},
    }


def _request_text(asked: RequestRow) -> str:
    what = title_of(asked.subject, language("en"))
    return f"{what}{f' “{asked.note}”' if asked.note else ''}"[:_TEXT_LIMIT]


def home_state(status: Status, now: float) -> Payload:
    """Return the state of the filter: a problem or none, the age of the oldest public list in hours, and the number of
    its processes.
    """
    stopped = status.stopped_workers(now)
    trouble = next(
        filter(
            None, (*(p.message for p in status.policy_problems[:1]), status.journal_problem, status.publish_problem)
        ),
        "",
    )
    text = trouble or ", ".join(each.name for each in stopped)
    return {
        "problem": "ON" if text else "OFF",
        "problem_text": text[:_TEXT_LIMIT] or None,
        "list_age": oldest_age_hours(status.lists, now),
        "processes": len(status.workers) - len(stopped),
    }


def child_config(topics: Topics, id: str, child: ChildReading, rights: BrokerRights, reader: Language) -> Payload:
    """Return the discovery message of a child, with the components that the broker's rights allow.

    The buttons that answer a request send its number, so that they answer the one that is shown.
    """
    say, part, has_budget = reader.gettext, _Components(topics, id), child.left is not None
    asked = "none" if child.request is None else str(child.request.id)
    part.add(
        "binary_sensor" if rights is BrokerRights.READ else "switch",
        "internet",
        say(message("Internet")),
        icon="mdi:web",
    )
    if has_budget:
        time = {"unit_of_measurement": "min", "device_class": "duration", "state_class": "measurement"}
        part.add("sensor", "minutes_left", say(message("Minutes left")), **time)
    part.add("sensor", "bedtime", say(message("Bedtime tonight")), device_class="timestamp", icon="mdi:bed-clock")
    part.add(
        "sensor",
        "blocked_today",
        say(message("Blocked today")),
        state_class="total_increasing",
        icon="mdi:shield-check",
    )
    part.add("sensor", "request", say(message("Last request")), icon="mdi:hand-back-right")
    if rights is not BrokerRights.READ:
        if has_budget:
            part.add(
                "button",
                "more_time",
                say(message("%(minutes)d minutes more"), minutes=EXTRA_MINUTES),
                icon="mdi:timer-plus",
            )
        part.add("button", "later_bedtime", say(message("Bedtime half an hour later")), icon="mdi:weather-night")
        part.add(
            "button", "allow", say(message("Allow the request for an hour")), icon="mdi:check", payload_press=asked
        )
        part.add("button", "deny", say(message("Deny the request")), icon="mdi:close", payload_press=asked)
    for service in child.services:
        platform = "switch" if rights is BrokerRights.MANAGE else "binary_sensor"
        part.add(platform, f"service_{service}", title_of(service, reader), icon="mdi:apps")
    return part.config(topics.ids[id], say(message("Child")), via=f"{topics.base}_{HOME}")


def home_config(topics: Topics, reader: Language) -> Payload:
    """Return the discovery message of the home."""
    say, part = reader.gettext, _Components(topics, HOME)
    part.add("binary_sensor", "problem", say(message("Trouble")), device_class="problem")
    part.add("sensor", "problem_text", say(message("What is wrong")), icon="mdi:alert-circle-outline")
    age = {"unit_of_measurement": "h", "device_class": "duration", "state_class": "measurement"}
    part.add("sensor", "list_age", say(message("Age of the lists")), **age)
    part.add("sensor", "processes", say(message("Running processes")), state_class="measurement", icon="mdi:cog")
    return part.config("Hedgerow", say(message("Filter")))


class _Components:
    """The components of one device."""

    def __init__(self, topics: Topics, id: str) -> None:
        self._topics, self._id = topics, id
        self._parts: dict[str, Payload] = {}

    def add(self, platform: str, what: str, name: str, **options: str) -> None:
        part: Payload = {
            "platform": platform,
            "unique_id": f"{self._topics.base}_{self._id}_{what}",
            "name": name,
            **options,
        }
        if platform != "button":
            part["value_template"] = f"{{{{ value_json['{what}'] }}}}"
        if platform in ("button", "switch"):
            part["command_topic"] = f"{self._topics.base}/{self._id}/{what}/set"
        self._parts[what] = part

    def config(self, name: str, model: str, via: str = "") -> Payload:
        about = {
            "identifiers": [f"{self._topics.base}_{self._id}"],
            "name": name,
            "manufacturer": "Hedgerow",
            "model": model,
        }
        return {
            "device": about | {"sw_version": __version__} | ({"via_device": via} if via else {}),
            "origin": {"name": "Hedgerow", "sw_version": __version__},
            "availability_topic": self._topics.status,
            "state_topic": self._topics.state(self._id),
            "components": self._parts,
        }
