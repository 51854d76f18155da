"""Switches of a person's services and topics, with notes on what is enforced now where that differs from the switch.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.dashboards.protections import DeviceProtections
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Reason, Target, TargetKind
from hedgerow.policies.person_access import Access, PersonAccess, SubjectAccess
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.times.closing import Closure

_CLOSURES = {
    Reason.BEDTIME: message("bedtime"),
    Reason.PAUSE: message("paused"),
    Reason.BUDGET: message("time is used up"),
}
# The cause, open now, and with an end.
_STATES = {
    ("", False, False): message("closed now"),
    ("", False, True): message("closed until %(time)s"),
    ("", True, False): message("open now"),
    ("", True, True): message("open until %(time)s"),
    ("schedule", False, False): message("closed: %(schedule)s"),
    ("schedule", False, True): message("closed until %(time)s: %(schedule)s"),
    ("schedule", True, False): message("open: %(schedule)s"),
    ("schedule", True, True): message("open until %(time)s: %(schedule)s"),
    ("actor", True, False): message("open, allowed by %(actor)s"),
    ("actor", True, True): message("open until %(time)s, allowed by %(actor)s"),
    ("budget", False, True): message("closed until %(time)s: the minutes are used up"),
}
# On one device, and with an end.
_CLOSED = {
    (False, False): message("The internet is closed now (%(why)s)."),
    (False, True): message("The internet is closed until %(time)s (%(why)s)."),
    (True, False): message("The internet is closed on %(device)s (%(why)s)."),
    (True, True): message("The internet is closed on %(device)s until %(time)s (%(why)s)."),
}
# Open there, and with an end.
_ELSEWHERE = {
    (False, False): message("closed on %(device)s"),
    (False, True): message("closed on %(device)s until %(time)s"),
    (True, False): message("open on %(device)s"),
    (True, True): message("open on %(device)s until %(time)s"),
}
_GROUPS = {"app-stores": message("App stores"), "music": message("Music"), "vpn": message("VPN")}


def certificate_path(device: str) -> str:
    """Return the address of the page with the steps that make pages of this device be checked."""
    return f"/certificate?{urlencode({'device': device})}"


@dataclass(frozen=True, slots=True)
class Note:
    """A remark next to a switch, with the path of the page that helps, if any.

    `is_gap`: a closed switch has no effect yet.
    """

    text: str
    href: str = ""
    is_gap: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """A service or topic.

    `is_open` is the state at this moment, apart from a closure of the whole internet; `notes` say until when and why.
    `is_own`: by an own rule. `is_open_otherwise`: by the rules without schedules, permissions and spent budgets.
    """

    id: str
    title: str
    is_open: bool
    is_own: bool
    is_open_otherwise: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class SwitchGroup:
    """Switches of services of one kind. `id` is the group's name in the catalogue."""

    id: str
    title: str
    switches: tuple[Switch, ...]

    @property
    def noted(self) -> tuple[Switch, ...]:
        """Switches that are otherwise at this moment, without those that lack something."""
        return tuple(
            each
            for each in self.switches
            if each.notes and (each.is_open is not each.is_open_otherwise or not each.notes[0].href)
        )


def needs_pages(target: Target) -> bool:
    """Return whether a rule is about parts of a site, so that it works only where pages are inspected."""
    service = Services.load().by_id.get(target.name) if target.kind is TargetKind.SERVICE else None
    return target.kind is TargetKind.URL or (service is not None and not service.domains)


def part_of(item: str) -> str:
    """Return the part of a person's page that has the switch of a service or topic."""
    return "services" if item in Services.load().by_id else "topics"


@dataclass(frozen=True, slots=True)
class SwitchWords:
    """Words for switches in one language.

    `clock` formats an instant; `protections` are those of the person's devices.
    """

    reader: Language
    clock: Callable[[float], str]
    protections: Mapping[str, DeviceProtections]

    def topics(self, access: PersonAccess) -> tuple[Switch, ...]:
        """Return the switches of all topics that can be opened."""
        names = (
            topic.name for topic in builtin_categories() if topic.kind is CategoryKind.BLOCK and topic.name != ILLEGAL
        )
        return tuple(self._switch(name, access) for name in names)

    def services(self, access: PersonAccess) -> tuple[SwitchGroup, ...]:
        """Return the switches of all services by group, sorted by title."""
        groups: dict[str, list[Switch]] = {}
        for id, service in Services.load().by_id.items():
            groups.setdefault(service.group, []).append(self._switch(id, access))
        titles = {group: self.reader.gettext(text) for group, text in _GROUPS.items()}
        return tuple(
            sorted(
                (
                    # Most groups are also topics.
                    SwitchGroup(group, titles.get(group) or title_of(group, self.reader), tuple(switches))
                    for group, switches in groups.items()
                ),
                key=lambda group: group.title,
            )
        )

    def closures(self, access: PersonAccess) -> tuple[str, ...]:
        """Return a sentence for each closure of the whole internet, of the person or of one of their devices."""
        said = [] if access.closed is None else [self._closure(access.closed, "")]
        return (*said, *(self._closure(closed, device) for device, closed in access.devices_closed))

    def _switch(self, id: str, access: PersonAccess) -> Switch:
        subject = access.subjects[id]
        return Switch(
            id,
            title_of(id, self.reader),
            subject.now.is_open,
            subject.is_own,
            subject.standing.is_open,
            tuple(self._notes(id, subject, access)),
        )

    def _notes(self, id: str, subject: SubjectAccess, access: PersonAccess) -> Iterable[Note]:
        if subject.now.is_open is not subject.standing.is_open:
            yield Note(self._state(subject.now, differs=True), "schedules" if subject.now.schedule else "")
        elif subject.now.until is not None:
            yield Note(self._state(subject.now, differs=False))
        elif (cause := self._other_rule(id, subject.standing)) is not None:
            yield cause
        if access.closed is not None and subject.is_always_open:
            yield Note(self.reader.gettext("open even now"))
        for device in subject.always_on:
            yield Note(self.reader.gettext("open even now on %(device)s", device=device), "/devices")
        for device, there in subject.elsewhere:
            yield Note(self._elsewhere(device, there), "/devices")
        if not subject.standing.is_open:
            yield from self.gaps(subject)

    def _state(self, now: Access, *, differs: bool) -> str:
        """Say until when a subject is open or closed, and why: by a schedule or, where it differs from the switch, also
        by a permission or a spent budget.
        """
        end = "" if now.until is None else self.clock(now.until)
        cause = "schedule" if now.schedule else ""
        if differs:
            cause = "budget" if end and now.decision.reason is Reason.BUDGET else "actor" if now.actor else cause
        text = _STATES.get((cause, now.is_open, bool(end))) or _STATES["", now.is_open, bool(end)]
        return self.reader.gettext(text, time=end, schedule=now.schedule, actor=now.actor)

    def _other_rule(self, id: str, standing: Access) -> Note | None:
        """Name the rule for something else that decides, unless it is a topic's: most services are closed
        with theirs.
        """
        decision = standing.decision
        if decision.what == id or decision.reason not in (Reason.RULE, Reason.SERVICE, Reason.EXCEPTION):
            return None
        text = (
            message("open by the rule for %(what)s") if standing.is_open else message("closed by the rule for %(what)s")
        )
        href = (
            "sites"
            if "." in decision.what
            else f"{part_of(decision.what)}?switch={decision.what}#switch-{decision.what}"
        )
        return Note(self.reader.gettext(text, what=title_of(decision.what, self.reader)), href)

    def _elsewhere(self, device: str, there: Access) -> str:
        end = "" if there.until is None else self.clock(there.until)
        return self.reader.gettext(_ELSEWHERE[there.is_open, bool(end)], device=device, time=end)

    def gaps(self, subject: SubjectAccess) -> Iterable[Note]:
        """Say why a closed switch does not block yet: no list of the topic, or devices on which pages cannot be told
        apart.
        """
        if not subject.has_list:
            yield Note(self.reader.gettext("blocks nothing yet: no list says which sites these are"), "/lists", True)
        if subject.begins is not None:
            end = self.clock(subject.begins)
            yield Note(
                self.reader.gettext("begins %(time)s: until then Hedgerow learns which sites are used here", time=end),
                is_gap=True,
            )
        if subject.needs_pages and (note := self.uninspected()) is not None:
            yield note

    def uninspected(self) -> Note | None:
        """Name the devices on which rules about parts of a site do not work yet."""
        missing = [device for device, each in self.protections.items() if not each.certificate.is_live]
        if not self.protections:
            return Note(
                self.reader.gettext("works only on devices whose pages are checked"),
                "/certificate",
                is_gap=True,
            )
        if not missing:
            return None
        text = message("does not work yet on %(devices)s: pages are not checked there")
        return Note(self.reader.gettext(text, devices=self.reader.listed(missing)), certificate_path(missing[0]), True)

    def _closure(self, closed: Closure | None, device: str) -> str:
        gettext = self.reader.gettext
        if closed is None:
            return gettext("The internet is open on %(device)s.", device=device)
        why = gettext(_CLOSURES[closed.reason]) if closed.reason in _CLOSURES else closed.what
        end = "" if closed.until is None else self.clock(closed.until)
        return gettext(_CLOSED[bool(device), bool(end)], device=device, time=end, why=why)
