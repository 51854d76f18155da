"""The policy file as people write it, before any name in it is looked up: `resolve` makes a Policy of it.

Each model is one mapping of the file. Unknown keys are errors. What a value means (a time, a domain, a profile) is checked in `resolve`,
where the whole file is known.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, WithJsonSchema, create_model, model_validator

from hedgerow.policies.model import Privacy, SafeSearch
from hedgerow.policies.network import BlockedAnswer, DnssecMode, ListSelection, ProxySignIn, UnopenedSeatAccess, UpstreamStrategy
from hedgerow.policies.transports import LISTENERS


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _empty_mappings(value: object) -> object:
    """`mia:` with nothing after it is a mapping without keys."""
    return {name: {} if entry is None else entry for name, entry in value.items()} if isinstance(value, dict) else value


def _one_or_more_each(value: object) -> object:
    return {name: _one_or_more(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def _spoken_bool(value: object) -> object:
    return {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value) if isinstance(value, str) else value


def _off_is_zero(value: object) -> object:
    return {"limit": 0} if value is False or (isinstance(value, str) and value.lower() in {"off", "no"}) else value


_TEXT = {"type": "string"}
_TEXT_OR_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_ITEM = {
    "anyOf": [
        _TEXT,
        {
            "type": "object",
            "properties": {"what": _TEXT, "until": _TEXT, "note": _TEXT},
            "required": ["what"],
            "additionalProperties": False,
        },
    ]
}
_TIMES = {"anyOf": [*_TEXT_OR_TEXTS["anyOf"], {"type": "object", "additionalProperties": _TEXT_OR_TEXTS}]}
_AMOUNT = {"anyOf": [_TEXT, {"type": "integer", "minimum": 0}]}
_BUDGET = {
    "anyOf": [
        *_AMOUNT["anyOf"],
        {"type": "object", "additionalProperties": {"anyOf": [*_AMOUNT["anyOf"], {"type": "object", "additionalProperties": _AMOUNT}]}},
    ]
}

Texts = Annotated[list[str], BeforeValidator(_one_or_more), WithJsonSchema(_TEXT_OR_TEXTS)]
TextsByName = Annotated[
    dict[str, list[str]], BeforeValidator(_one_or_more_each), WithJsonSchema({"type": "object", "additionalProperties": _TEXT_OR_TEXTS})
]
Rate = Annotated[StrictInt, Field(ge=0, le=10_000_000)]
Switch = Annotated[bool, BeforeValidator(_spoken_bool)]
RawTimes = Annotated[Any, WithJsonSchema(_TIMES)]
"""Text, a list of text, or a mapping of days to either."""


class RawModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, data: Any) -> Any:
        """A known key with nothing after it says nothing."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def _items(value: object) -> object:
    """An item is text; with more to say about it, a mapping."""
    listed = [value] if isinstance(value, str) else value
    return [item if isinstance(item, dict) else {"what": item} for item in listed] if isinstance(listed, list) else value


class RawItem(RawModel):
    """One item of `allow` or `block`."""

    what: str
    until: str | None = None
    note: str = ""


RawItems = Annotated[
    list[RawItem],
    BeforeValidator(_items),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _ITEM}]}),
]


class RawSchedule(RawModel):
    """Something that holds at certain times. `allow` and `block` take what they take elsewhere, and `internet` for all of it.

    What stands under `only` is open at these times and blocked at all others.
    """

    allow: RawItems = []
    block: RawItems = []
    only: RawItems = []
    when: RawTimes
    note: str = ""


class RawPageScan(RawModel):
    """`limit`: the score from which a page is blocked, 0 for never. `everywhere`: open all HTTPS of devices that trust the CA for it."""

    limit: Annotated[StrictInt, Field(ge=0, le=100_000)] | None = None
    everywhere: Switch | None = None


class RawTenants(RawModel):
    """Whose accounts may be used: domains of Google's and Microsoft's organisations; `directory`: the id of your own at Microsoft."""

    google: Texts = []
    microsoft: Texts = []
    directory: str | None = None


class RawRules(RawModel):
    """What can be said at every level: for the whole network, a profile, a person and a device.

    What stands under `always` is allowed, and open at bedtimes and after the last minute of a budget too.
    """

    always: RawItems = []
    allow: RawItems = []
    block: RawItems = []
    bedtime: RawTimes = None
    budget: Annotated[Any, WithJsonSchema(_BUDGET)] = None
    schedules: Annotated[dict[str, RawSchedule], BeforeValidator(_empty_mappings)] = {}
    safe_search: SafeSearch | None = None
    youtube: SafeSearch | None = None
    privacy: Privacy | None = None
    retention: Annotated[StrictInt, Field(ge=0, le=3650)] | None = None
    pass_through: Switch | None = None
    page_scan: Annotated[RawPageScan, BeforeValidator(_off_is_zero)] | None = None
    block_searches: Texts = []
    block_files: Texts | None = None
    tenants: RawTenants | None = None


_LISTEN_FIELDS: dict[str, Any] = dict.fromkeys(LISTENERS, (str | None, None))
RawListen = create_model("RawListen", __base__=RawModel, **_LISTEN_FIELDS)


class RawCertificate(RawModel):
    """PEM files, for a server name that others can check."""

    chain: str
    key: str


class RawQueryLimit(RawModel):
    per_client: Rate | None = None
    total: Rate | None = None
    exempt: Texts | None = None


class RawNetwork(RawModel):
    timezone: str | None = None
    country: str | None = None
    unknown_devices: str | None = None
    lan: Texts | None = None
    listen: RawListen = RawListen()
    server_name: str | None = None
    certificate: RawCertificate | None = None
    reachable: Texts = []
    ports: list[StrictInt] | None = None
    upstream: Texts = []
    upstream_strategy: UpstreamStrategy | None = None
    forward: TextsByName = {}
    records: TextsByName = {}
    blocked_answer: BlockedAnswer | None = None
    block_page: Texts = []
    dnssec: DnssecMode | None = None
    client_subnet: str | None = None
    forwarders: Texts = []
    query_limit: RawQueryLimit = RawQueryLimit()
    lists: ListSelection | None = None
    holidays: Texts = []
    proxy_sign_in: ProxySignIn | None = None


class RawPerson(RawRules):
    age: Annotated[StrictInt, Field(ge=0, le=130)] | None = None
    profile: str | None = None
    timezone: str | None = None
    devices: Texts = []
    holidays: Texts | None = None


class RawDevice(RawRules):
    mac: Texts = []
    ip: Texts = []
    cidr: Texts = []
    client_id: str | None = None
    hostname: Texts = []
    proxy_user: Texts = []
    proxy_password: str | None = None
    profile: str | None = None
    trusts_ca: Switch = False
    never_inspect: Switch = False


class RawProfile(RawRules):
    extends: str | None = None
    title: str = ""
    why: str = ""
    source: str = ""


class RawSeat(RawDevice):
    """A café's seat: a device at which guests sit down one after another."""


class RawList(RawModel):
    source: str | None = None
    category: str | None = None
    url: str | None = None
    path: str | None = None
    format: str | None = None
    name: str | None = None
    refresh: str | None = None


class RawReceiver(RawModel):
    """Somebody who gets notices: about what (all, unless said), in which language, when not, and when the digest and the weekly report."""

    about: Texts | None = None
    language: str | None = None
    quiet: RawTimes = None
    digest: str | None = None
    report: str | None = None


class RawPolicy(RawRules):
    network: RawNetwork = RawNetwork()
    people: Annotated[dict[str, RawPerson], BeforeValidator(_empty_mappings)] = {}
    devices: Annotated[dict[str, RawDevice], BeforeValidator(_empty_mappings)] = {}
    profiles: Annotated[dict[str, RawProfile], BeforeValidator(_empty_mappings)] = {}
    lists: list[RawList] = []
    seats: Annotated[dict[str, RawSeat], BeforeValidator(_empty_mappings)] = {}
    include: Texts = []
    code_of_conduct: str | None = None
    unopened_seats: UnopenedSeatAccess | None = None
    phrase_lists: Texts = []
    notices: Annotated[dict[str, RawReceiver], BeforeValidator(_empty_mappings)] = {}
