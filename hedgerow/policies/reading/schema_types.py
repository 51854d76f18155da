"""Types of the schema of the policy file: the base of its models, and values that may be written in several ways."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, WithJsonSchema, model_validator


class KeyScope(StrEnum):
    """Scope of whoever may change a key of the policy. Every key declares one, and `key_scopes` reads them.

    A key is the admin's if it decides who is an admin, where secrets or records are sent, which networks are served, or
    whose word about an address counts, if it binds others who manage sites, or if it names a file.
    """

    MANAGE = "manage"
    MANAGE_DATES = "manage, files: admin"
    ADMIN = "admin"

    def __call__(self, schema: dict[str, Any]) -> None:
        """Note the scope in the JSON Schema of a key, as pydantic calls what `json_schema_extra` has."""
        if self is not KeyScope.MANAGE:
            schema["x-hedgerow-scope"] = self.value


def managed(default: Any = ..., *, description: str, **limits: Any) -> Any:
    """Declare a key that whoever manages the policy may change. Without a default, it is required."""
    return Field(default, description=description, json_schema_extra=KeyScope.MANAGE, **limits)


def managed_dates(default: Any = ..., *, description: str) -> Any:
    """Declare a list of dates and URLs that whoever manages the policy may change, and to which admins may
    add files.
    """
    return Field(default, description=description, json_schema_extra=KeyScope.MANAGE_DATES)


def reserved(default: Any = ..., *, description: str) -> Any:
    """Declare a key that only an admin may change."""
    return Field(default, description=description, json_schema_extra=KeyScope.ADMIN)


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def empty_mappings(value: object) -> object:
    """Read `mia:` without a value as an empty mapping."""
    return {name: {} if entry is None else entry for name, entry in value.items()} if isinstance(value, dict) else value


def _one_or_more_each(value: object) -> object:
    return {name: _one_or_more(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def spoken_bool(value: object) -> object:
    return (
        {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value)
        if isinstance(value, str)
        else value
    )


def off(value: object, *zeros: str) -> object:
    """Read `off` and the like as a mapping in which the keys `zeros` are 0."""
    return (
        dict.fromkeys(zeros, 0)
        if value is False or (isinstance(value, str) and value.lower() in {"off", "no"})
        else value
    )


def switch_is_enabled(value: object) -> object:
    spoken = spoken_bool(value)
    return {"enabled": spoken} if isinstance(spoken, bool) else value


_TEXT = {"type": "string"}
_TEXT_OR_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_TIMES = {"anyOf": [*_TEXT_OR_TEXTS["anyOf"], {"type": "object", "additionalProperties": _TEXT_OR_TEXTS}]}
_AMOUNT = {"anyOf": [_TEXT, {"type": "integer", "minimum": 0}]}
AMOUNTS = {
    "type": "object",
    "additionalProperties": {"anyOf": [*_AMOUNT["anyOf"], {"type": "object", "additionalProperties": _AMOUNT}]},
}
BUDGET = {"anyOf": [*_AMOUNT["anyOf"], AMOUNTS]}

Texts = Annotated[list[str], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]
TextsByName = Annotated[
    dict[str, list[str]], BeforeValidator(_one_or_more_each, json_schema_input_type=dict[str, str | list[str]])
]
Rate = Annotated[StrictInt, Field(ge=0, le=10_000_000)]
Switch = Annotated[bool, BeforeValidator(spoken_bool)]
RawTimes = Annotated[Any, WithJsonSchema(_TIMES)]
"""Text, a list of text, or a mapping of days to either."""


class RawModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        """Refuse a model with a key that declares no scope."""
        missing = [
            name for name, field in cls.model_fields.items() if not isinstance(field.json_schema_extra, KeyScope)
        ]
        if missing:
            raise TypeError(f"{cls.__name__} has keys without a scope: {', '.join(missing)}")

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, data: Any) -> Any:
        """Ignore a known key without a value."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
