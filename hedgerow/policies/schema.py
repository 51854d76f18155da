"""The policy file as people write it, before any name in it is looked up: `resolve` makes a Policy of it.

Each model is one mapping of the file. Unknown keys are errors. What a value means (a time, a domain, a profile) is checked in `resolve`,
where the whole file is known.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from hedgerow.policies.model import Lists, Privacy, SafeSearch


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _nothing_said(value: object) -> object:
    """`mia:` with nothing after it is a mapping without keys."""
    return {name: {} if entry is None else entry for name, entry in value.items()} if isinstance(value, dict) else value


def _spoken_bool(value: object) -> object:
    return {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value) if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_one_or_more)]
Switch = Annotated[bool, BeforeValidator(_spoken_bool)]


class Raw(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, data: Any) -> Any:
        """A known key with nothing after it says nothing."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


class RawRules(Raw):
    """What can be said at every level: for the whole network, a profile, a person and a device."""

    allow: Texts = []
    block: Texts = []
    bedtime: Any = None  # text, or a mapping of days to text or lists of text
    safe_search: SafeSearch | None = None
    youtube: SafeSearch | None = None
    privacy: Privacy | None = None


class RawListen(Raw):
    dns: str | None = None
    proxy: str | None = None
    web: str | None = None


class RawNetwork(Raw):
    timezone: str | None = None
    country: str | None = None
    unknown_devices: str | None = None
    lan: Texts | None = None
    listen: RawListen = RawListen()
    reachable: Texts = []
    ports: list[StrictInt] | None = None
    upstream: Texts = []
    lists: Lists | None = None


class RawPerson(RawRules):
    age: Annotated[StrictInt, Field(ge=0, le=130)] | None = None
    profile: str | None = None
    timezone: str | None = None
    devices: Texts = []


class RawDevice(RawRules):
    mac: Texts = []
    ip: Texts = []
    cidr: Texts = []
    profile: str | None = None
    trusts_ca: Switch = False
    never_inspect: Switch = False


class RawProfile(RawRules):
    extends: str | None = None
    title: str = ""
    why: str = ""
    source: str = ""


class RawList(Raw):
    source: str | None = None
    category: str | None = None
    url: str | None = None
    path: str | None = None
    format: str | None = None
    name: str | None = None
    refresh: str | None = None


class RawPolicy(RawRules):
    network: RawNetwork = RawNetwork()
    people: Annotated[dict[str, RawPerson], BeforeValidator(_nothing_said)] = {}
    devices: Annotated[dict[str, RawDevice], BeforeValidator(_nothing_said)] = {}
    profiles: Annotated[dict[str, RawProfile], BeforeValidator(_nothing_said)] = {}
    lists: list[RawList] = []
