"""Modifiers of ad blockers' rules: the conditions of a rule besides its pattern, as far as a proxy or a resolver can
check them.

Source of the language: https://adguard.com/kb/general/ad-filtering/create-own-filters/#modifiers. A condition is true
only if it is known to be true: without Sec-Fetch-Dest a rule about scripts does not apply, without Referer a rule about
third parties does not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntFlag

import msgspec

from hedgerow.blocklists.names import is_address, parse_host, registered_domain


class UnsupportedModifier(Exception):
    """A modifier that cannot be honoured; `str()` names it."""


class ResourceType(IntFlag):
    """The purpose of a request."""

    DOCUMENT = 1
    SUBDOCUMENT = 2
    IMAGE = 4
    SCRIPT = 8
    STYLESHEET = 16
    FONT = 32
    MEDIA = 64
    OBJECT = 128
    XHR = 256
    WEBSOCKET = 512
    PING = 1024
    OTHER = 2048
    UNKNOWN = 4096


KNOWN_RESOURCES = ~ResourceType.UNKNOWN
ALL_RESOURCES = KNOWN_RESOURCES | ResourceType.UNKNOWN
SUBRESOURCES = ALL_RESOURCES & ~ResourceType.DOCUMENT
"""Resources that pages load, as opposed to a page that somebody opens."""

_NUMBERS = {
    name: int(resource)
    for resource, names in (
        (ResourceType.DOCUMENT, "document main_frame"),
        (ResourceType.SUBDOCUMENT, "iframe frame subdocument fencedframe"),
        (ResourceType.IMAGE, "image"),
        (ResourceType.SCRIPT, "script worker sharedworker serviceworker audioworklet paintworklet"),
        (ResourceType.STYLESHEET, "style stylesheet xslt"),
        (ResourceType.FONT, "font"),
        (ResourceType.MEDIA, "audio video media"),
        (ResourceType.OBJECT, "object embed"),
        (ResourceType.XHR, "empty xhr xmlhttprequest fetch"),
        (ResourceType.WEBSOCKET, "websocket"),
        (ResourceType.PING, "ping beacon"),
    )
    for name in names.split()
}
"""The resources by Sec-Fetch-Dest, and by the names that browsers' extensions give them."""
_ENDINGS = {
    ending: int(resource)
    for resource, endings in (
        (ResourceType.SCRIPT, "js"),
        (ResourceType.STYLESHEET, "css"),
        (ResourceType.IMAGE, "png jpg jpeg gif webp svg ico avif"),
        (ResourceType.FONT, "woff woff2 ttf otf"),
        (ResourceType.MEDIA, "mp4 webm mp3 m4a"),
    )
    for ending in endings.split()
}
_ENDING = re.compile(r"[^?]*/[^/?]*\.([a-z0-9]{2,5})(?:\?|$)")

_TYPES = {
    "document": ResourceType.DOCUMENT,
    "doc": ResourceType.DOCUMENT,
    "subdocument": ResourceType.SUBDOCUMENT,
    "frame": ResourceType.SUBDOCUMENT,
    "image": ResourceType.IMAGE,
    "background": ResourceType.IMAGE,
    "script": ResourceType.SCRIPT,
    "stylesheet": ResourceType.STYLESHEET,
    "css": ResourceType.STYLESHEET,
    "font": ResourceType.FONT,
    "media": ResourceType.MEDIA,
    "object": ResourceType.OBJECT,
    "object-subrequest": ResourceType.OBJECT,
    "xmlhttprequest": ResourceType.XHR,
    "xhr": ResourceType.XHR,
    "websocket": ResourceType.WEBSOCKET,
    "ping": ResourceType.PING,
    "beacon": ResourceType.PING,
    "other": ResourceType.OTHER,
}
_NOT_PROXIED = frozenset({"popup", "popunder", "webrtc", "inline-script", "inline-font"})
"""Types that a proxy never sees as such.

A rule that also names others applies to those; a rule about these alone is left out.
"""
_SAME_AS_BLOCK = frozenset({"redirect", "empty", "mp4", "rewrite", "reason"})
"""Modifiers that name a substitute for a blocked resource, or a reason: the resource is blocked here all the same."""
_SINKS = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "::1", "nxdomain", "refused", "noerror", "servfail"})  # noqa: S104 (an answer)


class NameCondition(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Names from `a|~b`. If both sets are empty, any name will do."""

    wanted: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.wanted or self.unwanted)

    def admit(self, name: str) -> bool:
        """Return whether a name is wanted; an empty one, which is unknown, never is."""
        return bool(name) and name not in self.unwanted and (not self.wanted or name in self.wanted)

    def admit_host(self, host: str) -> bool:
        """Return whether a host is wanted.

        Of it, its parents and its entity forms (`google.*`), the longest listed name decides.
        """
        if not host:
            return False
        if not self.wanted:
            return self.unwanted.isdisjoint(host_forms(host))
        if not self.unwanted:
            return not self.wanted.isdisjoint(host_forms(host))
        for name in host_forms(host):
            if name in self.unwanted:
                return False
            if name in self.wanted:
                return True
        return False


ANY_NAME = NameCondition()


@functools.lru_cache(maxsize=4096)
def host_forms(host: str) -> tuple[str, ...]:
    """Return the host, its parents, and their forms with `*` for the public suffix, longest first.

    >>> host_forms("www.google.co.uk")
    ('www.google.co.uk', 'www.google.*', 'google.co.uk', 'google.*', 'co.uk', 'uk')
    """
    registered = registered_domain(host)
    suffix = registered.partition(".")[2]
    forms = []
    name = host
    while name:
        forms.append(name)
        if suffix and name.endswith(registered):
            forms.append(f"{name.removesuffix(suffix)}*")
        name = name.partition(".")[2]
    return tuple(forms)


class PartyRelation(IntFlag):
    """The relation of a request's host to its initiator:

    FIRST and THIRD compare registered domains, the strict ones whole hosts.
    """

    FIRST = 1
    THIRD = 2
    STRICT_FIRST = 4
    STRICT_THIRD = 8


NO_RESOURCE, NO_PARTY = ResourceType(0), PartyRelation(0)


_SAME_HOST = int(PartyRelation.FIRST | PartyRelation.STRICT_FIRST)
_SAME_SITE = int(PartyRelation.FIRST | PartyRelation.STRICT_THIRD)
_OTHER_SITE = int(PartyRelation.THIRD | PartyRelation.STRICT_THIRD)


@functools.lru_cache(maxsize=4096)
def party_relations(host: str, initiator: str) -> int:
    """Return the `PartyRelation` between a request's host and its initiator as a number; 0 if the initiator
    is unknown.
    """
    if not initiator:
        return 0
    if host == initiator:
        return _SAME_HOST
    return _SAME_SITE if registered_domain(host) == registered_domain(initiator) else _OTHER_SITE


@dataclass(frozen=True, slots=True)
class RuleModifiers:
    """The conditions of a rule.

    `types` are the resources named, None if none is; `excluded` those named with `~`. All relations in `party` must
    match. `rewrite` is the address or host that a name is answered with instead of a block.
    """

    types: ResourceType | None = None
    excluded: ResourceType = NO_RESOURCE
    party: PartyRelation = NO_PARTY
    initiators: NameCondition = ANY_NAME
    targets: NameCondition = ANY_NAME
    dns_types: NameCondition = ANY_NAME
    methods: NameCondition = ANY_NAME
    rewrite: str = ""
    match_case: bool = False
    important: bool = False
    badfilter: bool = False
    is_all: bool = False

    @property
    def applies_to_whole_host(self) -> bool:
        """A rule `||host^` with these conditions is about every request to the host, so that DNS may refuse
        the name.
        """
        always = RuleModifiers(
            important=self.important, badfilter=self.badfilter, match_case=self.match_case, is_all=self.is_all
        )
        return self == always

    @property
    def is_dns_rule(self) -> bool:
        """The rule is about DNS questions only: it names record types, or the answer to give."""
        return bool(self.dns_types or self.rewrite)

    def types_in(self, by_default: ResourceType) -> ResourceType:
        """Return the resources that the rule is about; a rule that names none is about `by_default`."""
        if self.is_all:
            return ALL_RESOURCES
        # An unknown resource may be an excluded one.
        named = by_default if self.types is None else self.types
        return named & ~self.excluded & (KNOWN_RESOURCES if self.excluded else ALL_RESOURCES)


NO_MODIFIERS = RuleModifiers()


@dataclass(slots=True)
class _ModifierDraft:
    """Conditions while their modifiers are parsed one by one."""

    values: dict[str, object] = field(default_factory=dict)
    types: ResourceType = NO_RESOURCE
    excluded: ResourceType = NO_RESOURCE
    party: PartyRelation = NO_PARTY
    not_proxied: list[str] = field(default_factory=list)
    denied: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=8192)
def parse_modifiers(options: str) -> RuleModifiers:
    """Parse a rule's modifiers, such as `third-party,domain=a.example`. Raises UnsupportedModifier."""
    if not options:
        return NO_MODIFIERS
    draft = _ModifierDraft()
    for option in re.split(r"(?<!\\),", options):
        _read_modifier(option.strip(), draft)
    if draft.not_proxied and not draft.types:
        raise UnsupportedModifier(draft.not_proxied[0])
    if draft.denied:
        targets = draft.values.get("targets", NameCondition())
        assert isinstance(targets, NameCondition)
        draft.values["targets"] = NameCondition(targets.wanted, targets.unwanted | draft.denied)
    return RuleModifiers(types=draft.types or None, excluded=draft.excluded, party=draft.party, **draft.values)  # type: ignore[arg-type]


def _read_modifier(option: str, draft: _ModifierDraft) -> None:
    text, equals, value = option.partition("=")
    name = text.lower()
    bare = name.removeprefix("~")
    if not equals and bare in _TYPES:
        if bare == name:
            draft.types |= _TYPES[bare]
        else:
            draft.excluded |= _TYPES[bare]
    elif bare in _NOT_PROXIED:
        draft.not_proxied += [name] if bare == name else []
    elif not equals and name in _PARTY_MODIFIERS:
        draft.party |= _PARTY_MODIFIERS[name]
    elif not equals and name in _FLAG_MODIFIERS:
        draft.values[_FLAG_MODIFIERS[name]] = True
    elif equals and value and name in _NAME_MODIFIERS:
        field_name, parse = _NAME_MODIFIERS[name]
        draft.values[field_name] = parse(name, value)
    elif name == "denyallow" and value:
        draft.denied = _host_names(name, value).wanted
    elif name == "dnsrewrite" and value:
        draft.values["rewrite"] = _rewrite_of(value)
    elif name not in _SAME_AS_BLOCK:
        raise UnsupportedModifier(bare)


_PARTY_MODIFIERS = {
    "third-party": PartyRelation.THIRD,
    "3p": PartyRelation.THIRD,
    "~first-party": PartyRelation.THIRD,
    "~1p": PartyRelation.THIRD,
    "first-party": PartyRelation.FIRST,
    "1p": PartyRelation.FIRST,
    "~third-party": PartyRelation.FIRST,
    "~3p": PartyRelation.FIRST,
    "strict1p": PartyRelation.STRICT_FIRST,
    "strict-first-party": PartyRelation.STRICT_FIRST,
    "strict3p": PartyRelation.STRICT_THIRD,
    "strict-third-party": PartyRelation.STRICT_THIRD,
}
_FLAG_MODIFIERS = {"important": "important", "badfilter": "badfilter", "match-case": "match_case", "all": "is_all"}


def _host_names(modifier: str, value: str) -> NameCondition:
    wanted, unwanted = set[str](), set[str]()
    for part in value.split("|"):
        name = part.removeprefix("~")
        entity = name.endswith(".*")
        host = parse_host(name.removesuffix(".*"))
        if host is None:
            raise UnsupportedModifier(f"{modifier}=/…/" if "/" in value else f"{modifier}= with what is no host")
        (unwanted if part.startswith("~") else wanted).add(f"{host}.*" if entity else host)
    return NameCondition(frozenset(wanted), frozenset(unwanted))


def _rewrite_of(value: str) -> str:
    """Return the target of `ADDRESS`, `HOST` or `RCODE;TYPE;VALUE`; empty for a block.

    Source: https://adguard-dns.io/kb/general/dns-filtering-syntax/#dnsrewrite-modifier
    """
    rcode, *rest = value.lower().split(";")
    kind, target = (rest[0], rest[-1]) if rest else ("", rcode)
    if target in _SINKS or (rest and rcode in _SINKS and rcode != "noerror"):
        return ""
    host = parse_host(target)
    matches_type = {
        "": True,
        "a": is_address(target) and ":" not in target,
        "aaaa": ":" in target,
        "cname": not is_address(target),
    }
    if host is None or not matches_type.get(kind, False):
        raise UnsupportedModifier(f"dnsrewrite={rcode};{kind}"[:60] if rest else "dnsrewrite")
    return host


def _plain_names(modifier: str, value: str) -> NameCondition:
    del modifier
    parts = [part.strip().strip("'\"").replace("\\", "") for part in re.split(r"(?<!\\)\|", value)]
    wanted = {part.lower() for part in parts if not part.startswith("~")}
    unwanted = {part[1:].strip("'\"").lower() for part in parts if part.startswith("~")}
    return NameCondition(frozenset(wanted), frozenset(unwanted))


_NAME_MODIFIERS: dict[str, tuple[str, Callable[[str, str], NameCondition]]] = {
    "domain": ("initiators", _host_names),
    "from": ("initiators", _host_names),
    "to": ("targets", _host_names),
    "dnstype": ("dns_types", _plain_names),
    "method": ("methods", _plain_names),
}


_OTHER, _UNKNOWN = int(ResourceType.OTHER), int(ResourceType.UNKNOWN)


def resource_number(destination: str, url: str) -> int:
    """Return the number of a request's `ResourceType`: by its Sec-Fetch-Dest, else by the ending of the (lower-case)
    URL's path.
    """
    if destination:
        return _NUMBERS.get(destination, _OTHER)
    ending = _ENDING.match(url)
    return _ENDINGS.get(ending[1], _UNKNOWN) if ending else _UNKNOWN
