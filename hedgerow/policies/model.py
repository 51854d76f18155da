"""The nouns of a policy: who asks, what holds for them, what was decided and why.

Everything here is frozen: a worker swaps one reference and goes on. What is absent: files, clocks, sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from hedgerow.blocklists.rules import Origin

DeviceId = NewType("DeviceId", str)
"""A device's name in the policy file, or the address of a device that nobody has named."""


class Kind(StrEnum):
    """At which point, and so with how much knowledge, a request is judged."""

    DNS = "dns"  # a name is asked for
    TUNNEL = "tunnel"  # a CONNECT or a ClientHello: host and port, no URL
    HTTP = "http"  # a plain or an inspected request: the whole URL


class Verdict(StrEnum):
    ALLOW = "allow"
    BLOCK = "block"
    REWRITE = "rewrite"  # DNS: answer with `target` instead; HTTP: the request is changed as safe search demands
    INSPECT = "inspect"  # TUNNEL only: allowed as a host, and its URLs must be looked at


class Reason(StrEnum):
    """Why: one for each step of `decide`, in its order."""

    LIFELINE = "lifeline"
    PAUSE = "pause"
    BEDTIME = "bedtime"
    BUDGET = "budget"
    GRANT = "grant"
    EXCEPTION = "exception"  # an `allow` of the device, the person or the household
    RULE = "rule"  # a `block` of the device, the person or the household: a host or a URL
    BYPASS = "bypass"  # a way round the filter
    SERVICE = "service"
    CATEGORY = "category"
    SAFE_SEARCH = "safe-search"
    DEFAULT = "default"


class SafeSearch(StrEnum):
    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants, as far as the enforcement point can tell.

    `host` is canonical: lower case, A-labels, no trailing dot; or an IP address as text. `url` is given for HTTP only.
    `resource` is the value of Sec-Fetch-Dest, `initiator` the host of the page that asks (from Referer or Origin).
    """

    device: DeviceId
    kind: Kind
    host: str
    port: int = 0
    url: str | None = None
    method: str = "GET"
    resource: str = ""
    initiator: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why; it explains itself.

    `what` names the category, service, schedule or grant that decided; `rule` says where it is written; `until` is the
    instant (seconds since the epoch, UTC) after which the decision may differ, None when nothing is scheduled to change it.
    `target` is the name that a REWRITE answers with.
    """

    verdict: Verdict
    reason: Reason
    what: str = ""
    rule: Origin | None = None
    until: float | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A temporary exception that somebody gave: `subject` is a host, URL pattern, service or category that is allowed.

    `device` or `person` says for whom; both None means everybody. Instants are seconds since the epoch; `ends` None is for good.
    """

    id: str
    subject: str
    giver: str
    starts: float
    ends: float | None = None
    device: DeviceId | None = None
    person: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One decision as it may be remembered, after the person's privacy was applied (`policies.observe`).

    `count` says how often the same decision fell since the last report of it; `host` and `url` are empty where privacy hides them.
    """

    when: float
    device: DeviceId
    person: str | None
    profile: str
    kind: Kind
    verdict: Verdict
    reason: Reason
    what: str = ""
    host: str = ""
    url: str = ""
    rule: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Somebody asks for what was blocked."""

    when: float
    device: DeviceId
    person: str | None
    host: str
    url: str = ""
    reason: str = ""
    note: str = field(default="")
