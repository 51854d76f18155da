"""Home Assistant over MQTT: states go out, commands come in, under the rights that the policy gives the broker.

The broker authenticates whoever sends a command. Whatever the broker does, filtering goes on: it may be away, refuse
the password, or bring commands that it kept from yesterday, which are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import time

from aiomqtt import Client, Message, MqttError, Will

from hedgerow.backoff import pause_after
from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.actions.orders import BonusOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.rules import switch_edits
from hedgerow.dashboards.scopes import TOKEN_SCOPES
from hedgerow.dashboards.words.labels import midnight_before, title_of, zone
from hedgerow.dashboards.words.languages import language, message
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.home_assistant.payloads import (
    EXTRA_MINUTES,
    HOME,
    ChildReading,
    Command,
    Payload,
    Topics,
    child_config,
    child_state,
    home_config,
    home_state,
)
from hedgerow.features.home_assistant.settings import Broker, BrokerRights
from hedgerow.files import error_text
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.model import DeviceId, GrantDuration, Person, Policy
from hedgerow.policies.time_model import PauseKind
from hedgerow.task_state import Area
from hedgerow.watched_tasks import note_unexpected

log = logging.getLogger("hedgerow.control")

ACTOR = "Home Assistant"
MAX_CHILDREN = 50
_INTERVAL_S = 5.0
_LATER_MINUTES = 30
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
_TIMEOUT_S, _LAST_WORD_S = 10.0, 0.5
_QUEUED = 100  # messages that wait; a broker that brings more loses them


class MqttBridge:
    """The connection to the broker that the policy names."""

    def __init__(self, core: Core) -> None:
        self._control, self._times, self._reader, self._editor = core.control, core.times, core.reader, core.editor
        self._password = core.settings.state / "mqtt-password"
        self._sent: dict[str, bytes] = {}
        self._wanted = asyncio.Event()
        self._problem = ""

    async def run(self) -> None:
        """Keep a connection to the broker of the policy in force, until cancelled."""
        failures = 0
        while True:
            broker = self._control.policy().settings(Broker)
            if broker is None:
                await asyncio.sleep(_FIRST_RETRY_S)  # until it is stopped, or the key is there again
                continue
            try:
                await self._serve(broker)
                failures = 0
            except (MqttError, OSError, ValueError) as error:
                text = error_text(error) if isinstance(error, OSError) else str(error)
                if text != self._problem:
                    log.warning("Home Assistant's broker %s can't be used: %s", broker.host, text)
                self._problem = text
                failures += 1
                await asyncio.sleep(pause_after(failures, first=_FIRST_RETRY_S, longest=_LONGEST_RETRY_S))

    async def _serve(self, broker: Broker) -> None:
        """Serve until the policy names another broker. Raises MqttError, OSError and ValueError."""
        topics = self._topics(broker)
        client = Client(
            broker.host,
            broker.port,
            username=broker.user or None,
            password=self._read_password() if broker.user else None,
            tls_context=_tls(broker),
            will=Will(topics.status, "offline", 1, retain=True),
            timeout=_TIMEOUT_S,
            identifier=f"hedgerow-{broker.base}",
            max_queued_incoming_messages=_QUEUED,
        )
        async with client:
            if self._problem:
                log.info("Home Assistant's broker %s can be used again", broker.host)
            self._problem = ""
            self._sent.clear()
            await client.publish(topics.status, "online", 1, retain=True)
            await client.subscribe(topics.commands, 1)
            receiving = asyncio.create_task(self._receive(client, broker))
            try:
                while self._control.policy().settings(Broker) == broker and not receiving.done():
                    await self._publish(client, broker)
                    self._wanted.clear()
                    waiting = asyncio.create_task(self._wanted.wait())
                    await asyncio.wait({waiting, receiving}, timeout=_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                if receiving.done():
                    receiving.result()
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
                # The broker publishes its will only for those who vanish.
                with contextlib.suppress(MqttError, TimeoutError):
                    async with asyncio.timeout(_LAST_WORD_S):
                        await client.publish(topics.status, "offline", 1, retain=True)

    async def _publish(self, client: Client, broker: Broker) -> None:
        """Publish changes: devices that Home Assistant should know, their states, and devices that are gone."""
        topics, reader = self._topics(broker), language(broker.language)
        children = await self._children(broker)
        payloads: dict[str, Payload] = {topics.config(HOME): home_config(topics, reader)}
        ids = {name: id for id, name in topics.ids.items()}
        for child in children:
            id = ids[child.name]
            # The state is first: no button answers a request before it is shown.
            payloads[topics.state(id)] = child_state(child, time.time())
            payloads[topics.config(id)] = child_config(topics, id, child, broker.may, reader)
        payloads[topics.state(HOME)] = home_state(self._control.status(), time.time())
        for topic in [each for each in self._sent if each not in payloads]:
            await client.publish(topic, b"", 1, retain=True)
            del self._sent[topic]
        for topic, payload in payloads.items():
            encoded = json.dumps(payload, ensure_ascii=False).encode()
            if self._sent.get(topic) != encoded:
                await client.publish(topic, encoded, 1, retain=True)
                self._sent[topic] = encoded

    async def _children(self, broker: Broker) -> list[ChildReading]:
        policy, now = self._control.policy(), time.time()
        people = _children_of(policy)
        owners = {device.id: device.person for device in policy.devices.values() if device.person}
        midnight = midnight_before(now, zone(policy.network.timezone))
        requests, pauses, hours = await asyncio.to_thread(
            lambda: (self._reader.requests(), self._reader.pauses(now), self._reader.hours(midnight, owners))
        )
        blocked: dict[str, int] = {}
        for row in hours:
            owner = owners.get(DeviceId(row.device), "")
            blocked[owner] = blocked.get(owner, 0) + row.blocked
        times = self._control.person_times([person.name for person in people])
        budgets = {row.whose: row for row in self._times.budgets() if not row.subject and row.limit is not None}
        paused = {each.person for each in pauses if each.kind is PauseKind.ALL}
        asked = {request.person: request for request in reversed(requests)}
        return [
            ChildReading(
                name,
                name in paused,
                budgets.get(name),
                times[name].bedtime,
                blocked.get(name, 0),
                asked.get(name),
                self._services(name, broker),
            )
            for name in (person.name for person in people)
        ]

    def _services(self, child: str, broker: Broker) -> dict[str, bool]:
        subjects = self._control.person_access(child).subjects if broker.services else {}
        return {each: subjects[each].now.is_open for each in broker.services if each in subjects}

    async def _receive(self, client: Client, broker: Broker) -> None:
        async for received in client.messages:
            await self._take(received, broker)
            self._wanted.set()

    async def _take(self, received: Message, broker: Broker) -> None:
        payload = received.payload if isinstance(received.payload, bytes) else b""
        if received.retain:
            log.info(
                "Home Assistant's broker kept a command from earlier, which is ignored: %s", str(received.topic)[:100]
            )
            return
        command = self._topics(broker).command(str(received.topic), payload)
        try:
            if command is None or not await self._carry_out(command, broker):
                log.warning(
                    "Home Assistant's broker sent something that is not a command: %s", str(received.topic)[:100]
                )
        except InvalidInput as error:
            log.warning("Home Assistant wants something that can't be done: %s", error)
        except Exception:
            note_unexpected("A command of Home Assistant failed")

    async def _carry_out(self, command: Command, broker: Broker) -> bool:
        """Carry out a command. Returns False if there is no such command, or none within the broker's rights. Raises
        `InvalidInput`.
        """
        child, control = command.child, self._control
        if broker.may is BrokerRights.READ:
            return False
        may_switch = broker.may is BrokerRights.MANAGE
        match command.what, command.payload:
            case "internet", "ON":
                await control.resume(ACTOR, person=child)
            case "internet", "OFF":
                await control.pause(ACTOR, person=child)
            case "more_time", "PRESS":
                await self._times.add_minutes(BonusOrder(name=child, minutes=EXTRA_MINUTES), actor=ACTOR)
            case "later_bedtime", "PRESS":
                await control.postpone_bedtime(child, _LATER_MINUTES, ACTOR)
            case ("allow" | "deny") as answer, number if number.isdecimal():
                await self._answer(child, int(number), answer == "allow")
            case what, ("ON" | "OFF") as state if may_switch and what.removeprefix("service_") in broker.services:
                await self._switch(child, what.removeprefix("service_"), broker=broker, is_open=state == "ON")
            case _:
                return False
        return True

    async def _answer(self, child: str, number: int, is_allowed: bool) -> None:
        """Answer the request of this number, which the button had when it was pressed. Raises `InvalidInput` if it is
        not open.
        """
        requests = await asyncio.to_thread(self._reader.requests)
        asked = next((each for each in requests if each.id == number and each.person == child), None)
        if asked is None:
            raise InvalidInput("%(name)s has no open request with this number.", name=child)
        if not is_allowed:
            await self._control.deny(asked.id, ACTOR)
        elif not asked.chore and self._control.dangers(asked.access_subject(self._control.policy())):
            raise InvalidInput("%(what)s needs a second look: allow it on the page Today.", what=asked.subject)
        else:
            await self._control.approve(asked.id, GrantDuration.HOUR, ACTOR)

    async def _switch(self, child: str, service: str, *, broker: Broker, is_open: bool) -> None:
        if is_open and self._control.dangers(AccessSubject(service, child)):
            raise InvalidInput(
                "%(what)s needs a second look: open it on the page of %(name)s.", what=service, name=child
            )
        policy = self._control.policy()
        edits = switch_edits(
            policy, child, service, allows=is_open, by_default=self._control.is_open_by_default(child, service)
        )
        text = message("%(what)s open for %(name)s.") if is_open else message("%(what)s closed for %(name)s.")
        reader = language(broker.language)
        author = Principal(ACTOR, TOKEN_SCOPES["manage"])
        await self._editor.change(author, reader.gettext(text, what=title_of(service, reader), name=child), *edits)

    def _topics(self, broker: Broker) -> Topics:
        return Topics(broker.base, [person.name for person in _children_of(self._control.policy())])

    def _read_password(self) -> str:
        try:
            return self._password.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"its password can't be read from {self._password}: {error_text(error)}") from None


def _children_of(policy: Policy) -> list[Person]:
    return [person for person in policy.people.values() if policy.profiles[person.profile].is_for_children][
        :MAX_CHILDREN
    ]


def _tls(broker: Broker) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=broker.ca or None) if broker.is_encrypted else None


def bridge_service(core: Core) -> ControlService:
    """Return the service that keeps a connection to the broker."""
    return ControlService(name="home assistant", area=Area.CONNECTIONS, run=MqttBridge(core).run)
