"""Additions of features, as one value: actions, cards at named places, pages, presets, and words for conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hedgerow.dashboards.actions.action import Action
from hedgerow.dashboards.edits.times import Preset
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.dashboards.words.languages import Language
from hedgerow.policies.model import Person, Policy


class Place(StrEnum):
    """Named places of the core's pages, with the value that their cards are read for."""

    TODAY = "today"  # nothing
    TODAY_START = "today start"  # nothing; what somebody should do, before all else
    EVERYBODY = "everybody"  # nothing; of *Today*, what applies to all children or everybody
    EVERYBODY_PAUSE = "everybody pause"  # nothing; buttons of the form there, which has `minutes`
    REQUESTS = "requests"  # nothing; a sequence of what else children ask for, among the requests
    REQUEST = "request"  # the RequestRow of a site or app; an answer
    GUIDE_CONNECT = "guide connect"  # the address of this machine to which the browser connected
    GUIDE_END = "guide end"  # nothing; its heading, with what is missing
    PERSON = "person"  # the Person; above the tiles
    SERVICE = "service"  # the id of a service or topic; next to its switch
    PERSON_TIME = "person time"  # the same; after the daily limits
    PERSON_DEVICES = "person devices"  # the Person; their devices in a line
    DEVICES = "devices"  # True if the form for a first seat is wanted; after the devices
    DEVICE = "device"  # the Device of the policy
    DEVICE_CHANGE = "device change"  # the same, among its settings; lines
    SETTINGS = "settings"  # nothing
    NOTICES = "notices"  # nothing; ways to get notices
    SETTINGS_LINKS = "settings links"  # nothing; links in a line
    POLICY_MISTAKES = "policy mistakes"  # nothing; a part of the trouble
    ACCOUNT = "account"  # the AccountRow, in the list of admins
    SIGN_IN = "sign in"  # nothing
    CHECK = "check"  # the address of this machine to which the browser connected; what to do after a no
    NOT_IN_CHARGE = "not in charge"  # the DeviceView of a device without a name; what it is told of itself
    COUNTER = "counter"  # nothing; links in a line
    OWN_PAGE_START = "own page start"  # the same; a part of its first section
    OWN_PAGE = "own page"  # the DeviceView of the device that opens it


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A part of a page of the core, with a template of its own:

    `FEATURE/templates/NAME.html` in the folder of features.

    `read` takes the `PageContext` and the place's value, and returns the template's `card`, or None to leave it out. It
    runs in a thread.
    """

    place: Place
    template: str
    read: Callable[[Any, Any], object | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionWords:
    """Messages about a condition of schedules: the grant that lifts it, and until when they apply to me or
    for others.
    """

    lifted: str
    mine: str
    theirs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NavLink:
    """A link of the navigation, after the page `after`. `label` is a message, `icon` a symbol of `static/icons.svg`.

    It is for principals with one of these scopes, if `is_shown` of the `PolicyIndex`.
    """

    path: str
    label: str
    icon: str
    scopes: frozenset[AccessScope]
    is_shown: Callable[[Any], bool] = lambda _index: True
    after: str = "/"


type PresetMaker = Callable[[Policy, Person, Language], Preset]
"""Make the preset of a feature for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """The additions of one feature, or of all. `page_groups` are classes of `PageGroup`.

    `api_routes` add what is not an action to the API: they take its `ScopedRouter` and the `PageContext`.
    `actors` return the name in which a `Principal` acts, given the `PageContext`, or an empty text.
    `gauges` are metrics that are read for each scrape, from the `PageContext`, in a thread. `live` returns a value for
    each part of a page that `live.js` brings up to date when the value changes, also for a part of the core. It is read
    in a thread, once per second while somebody looks.
    """

    actions: Sequence[Action] = ()
    cards: Sequence[Card] = ()
    page_groups: Sequence[Callable[[Any], Any]] = ()
    api_routes: Sequence[Callable[[Any, Any], None]] = ()
    nav: Sequence[NavLink] = ()
    actors: Sequence[Callable[[Any, Any], str]] = ()
    gauges: Mapping[str, Callable[[Any], Mapping[tuple[str, ...], float]]] = field(default_factory=dict)
    live: Mapping[str, Callable[[Any], object]] = field(default_factory=dict)
    presets: Sequence[PresetMaker] = ()
    conditions: Mapping[str, ConditionWords] = field(default_factory=dict)

    def __add__(self, other: Extensions) -> Extensions:
        return Extensions(
            actions=(*self.actions, *other.actions),
            cards=(*self.cards, *other.cards),
            page_groups=(*self.page_groups, *other.page_groups),
            api_routes=(*self.api_routes, *other.api_routes),
            nav=(*self.nav, *other.nav),
            actors=(*self.actors, *other.actors),
            gauges={**self.gauges, **other.gauges},
            live={**self.live, **other.live},
            presets=(*self.presets, *other.presets),
            conditions={**self.conditions, **other.conditions},
        )
