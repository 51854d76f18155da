"""Schema of the policy file as people write it; `resolve` makes a Policy of it.

Each model is a mapping of the file. Unknown keys are errors. `resolve`, which knows the whole file, checks times, domains and profiles.
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
    """Read `mia:` without a value as an empty mapping."""
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
        """Ignore a known key without a value."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def _items(value: object) -> object:
    """Read an item of text as a mapping."""
    listed = [value] if isinstance(value, str) else value
    return [item if isinstance(item, dict) else {"what": item} for item in listed] if isinstance(listed, list) else value


class RawItem(RawModel):
    """An item of `allow` or `block`."""

    what: str
    until: str | None = None
    note: str = ""


RawItems = Annotated[
    list[RawItem],
    BeforeValidator(_items),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _ITEM}]}),
]


class RawSchedule(RawModel):
    """Rules for certain times. `allow` and `block` also take `internet`. Items of `only` are open at these times and blocked at others."""

    allow: RawItems = []
    block: RawItems = []
    only: RawItems = []
    when: RawTimes
    note: str = ""


class RawPageScan(RawModel):
    """`limit`: the score above which a page is blocked, 0 for never. `everywhere`: decrypt all HTTPS of trusting devices for it."""

    limit: Annotated[StrictInt, Field(ge=0, le=100_000)] | None = None
    everywhere: Switch | None = None


class RawTenants(RawModel):
    """Organisations whose accounts are allowed, by domain. `directory`: the id of your own directory at Microsoft."""

    google: Texts = []
    microsoft: Texts = []
    directory: str | None = None


class RawRules(RawModel):
    """Rules of the whole network, a profile, a person or a device. Items of `always` are open even at bedtime and with a spent budget."""

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
    """PEM files of a certificate that other devices trust."""

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
    """A café's seat: a device that guests use in turn."""


class RawList(RawModel):
    source: str | None = None
    category: str | None = None
    url: str | None = None
    path: str | None = None
    format: str | None = None
    name: str | None = None
    refresh: str | None = None


class RawReceiver(RawModel):
    """A receiver of notices: topics (default: all), language, quiet hours, and times of the digest and the weekly report."""

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
