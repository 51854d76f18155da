"""When a rule applies, beside its pattern: the modifiers of ad blockers' rules, as far as a proxy or resolver can know the answer.

Source of the language: https://adguard.com/kb/general/ad-filtering/create-own-filters/#modifiers. A condition holds only if it is
known to hold: without Sec-Fetch-Dest a rule about scripts does not apply, without Referer a rule about third parties does not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntFlag

from hedgerow.blocklists.names import is_address, parse_host, registered_domain


class NotHonoured(Exception):
    """The list's author asks for something that cannot be done or known here; `str()` names the modifier."""


class Resource(IntFlag):
    """What a request is for."""

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


KNOWN = ~Resource.UNKNOWN
EVERYTHING = KNOWN | Resource.UNKNOWN
LOADED = EVERYTHING & ~Resource.DOCUMENT
"""What pages load, as opposed to a page that somebody opens."""

_DESTINATIONS = {
    "document": Resource.DOCUMENT, "main_frame": Resource.DOCUMENT,
    "iframe": Resource.SUBDOCUMENT, "frame": Resource.SUBDOCUMENT, "subdocument": Resource.SUBDOCUMENT, "fencedframe": Resource.SUBDOCUMENT,
    "image": Resource.IMAGE,
    "script": Resource.SCRIPT, "worker": Resource.SCRIPT, "sharedworker": Resource.SCRIPT, "serviceworker": Resource.SCRIPT,
    "audioworklet": Resource.SCRIPT, "paintworklet": Resource.SCRIPT,
    "style": Resource.STYLESHEET, "stylesheet": Resource.STYLESHEET, "xslt": Resource.STYLESHEET,
    "font": Resource.FONT,
    "audio": Resource.MEDIA, "video": Resource.MEDIA, "media": Resource.MEDIA,
    "object": Resource.OBJECT, "embed": Resource.OBJECT,
    "empty": Resource.XHR, "xhr": Resource.XHR, "xmlhttprequest": Resource.XHR, "fetch": Resource.XHR,
    "websocket": Resource.WEBSOCKET,
    "ping": Resource.PING, "beacon": Resource.PING,
    "": Resource.UNKNOWN,
}  # fmt: skip
_ENDINGS = {
    "js": Resource.SCRIPT, "css": Resource.STYLESHEET,
    "png": Resource.IMAGE, "jpg": Resource.IMAGE, "jpeg": Resource.IMAGE, "gif": Resource.IMAGE, "webp": Resource.IMAGE,
    "svg": Resource.IMAGE, "ico": Resource.IMAGE, "avif": Resource.IMAGE,
    "woff": Resource.FONT, "woff2": Resource.FONT, "ttf": Resource.FONT, "otf": Resource.FONT,
    "mp4": Resource.MEDIA, "webm": Resource.MEDIA, "mp3": Resource.MEDIA, "m4a": Resource.MEDIA,
}  # fmt: skip
_ENDING = re.compile(r"[^?]*/[^/?]*\.([a-z0-9]{2,5})(?:\?|$)")

_TYPES = {
    "document": Resource.DOCUMENT, "doc": Resource.DOCUMENT,
    "subdocument": Resource.SUBDOCUMENT, "frame": Resource.SUBDOCUMENT,
    "image": Resource.IMAGE, "background": Resource.IMAGE,
    "script": Resource.SCRIPT,
    "stylesheet": Resource.STYLESHEET, "css": Resource.STYLESHEET,
    "font": Resource.FONT,
    "media": Resource.MEDIA,
    "object": Resource.OBJECT, "object-subrequest": Resource.OBJECT,
    "xmlhttprequest": Resource.XHR, "xhr": Resource.XHR,
    "websocket": Resource.WEBSOCKET,
    "ping": Resource.PING, "beacon": Resource.PING,
    "other": Resource.OTHER,
}  # fmt: skip
_UNSEEN = frozenset({"popup", "popunder", "webrtc", "inline-script", "inline-font"})
"""Kinds that never reach a proxy as such. A rule that also names others is about those here; a rule about these alone is left out."""
_AS_BLOCK = frozenset({"redirect", "empty", "mp4", "rewrite", "reason"})
"""What a browser would put in the place of what is blocked, or tell about it: it is blocked here all the same."""
_SINKS = frozenset({"", "0.0.0.0", "::", "127.0.0.1", "::1", "nxdomain", "refused", "noerror", "servfail"})  # noqa: S104 (an answer)


@dataclass(frozen=True, slots=True)
class Names:
    """Names that count and names that do not, from `a|~b`; both empty: any."""

    wanted: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.wanted or self.unwanted)

    def admit(self, known: frozenset[str]) -> bool:
        """Whether one of the names under which something is known is wanted, and none is unwanted."""
        return bool(known) and known.isdisjoint(self.unwanted) and (not self.wanted or not known.isdisjoint(self.wanted))

    def admit_host(self, host: str) -> bool:
        """The same for a host with its parents and its entity forms (`google.*`): the longest name that is listed decides."""
        if not host:
            return False
        for name in forms_of_host(host):
            if name in self.unwanted:
                return False
            if name in self.wanted:
                return True
        return not self.wanted


ANY = Names()


@functools.lru_cache(maxsize=4096)
def forms_of_host(host: str) -> tuple[str, ...]:
    """The host, its parents, and the same with `*` for their public suffix, longest first.

    >>> forms_of_host("www.google.co.uk")
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


class Party(IntFlag):
    """Who asks whom: FIRST and THIRD compare registered domains, the strict ones whole hosts."""

    FIRST = 1
    THIRD = 2
    STRICT_FIRST = 4
    STRICT_THIRD = 8


NO_RESOURCE, NO_PARTY = Resource(0), Party(0)


@functools.lru_cache(maxsize=4096)
def parties(host: str, initiator: str) -> Party:
    """Which relations hold between a request's host and its initiator; none if the initiator is not known."""
    if not initiator:
        return Party(0)
    first = host == initiator or registered_domain(host) == registered_domain(initiator)
    return (Party.FIRST if first else Party.THIRD) | (Party.STRICT_FIRST if host == initiator else Party.STRICT_THIRD)


@dataclass(frozen=True, slots=True)
class Conditions:
    """`types` are the resources named, None if none is; `excluded` those named with `~`. `party` holds all that must hold. `rewrite` is
    the address or the host that a name is answered with, in place of a block."""

    types: Resource | None = None
    excluded: Resource = NO_RESOURCE
    party: Party = NO_PARTY
    initiators: Names = ANY
    targets: Names = ANY
    dns_types: Names = ANY
    clients: Names = ANY
    tags: Names = ANY
    methods: Names = ANY
    rewrite: str = ""
    match_case: bool = False
    important: bool = False
    badfilter: bool = False
    is_all: bool = False

    @property
    def covers_whole_host(self) -> bool:
        """Whether a rule `||host^` with these conditions is about every request to the host, so that it may be refused a name."""
        always = Conditions(important=self.important, badfilter=self.badfilter, match_case=self.match_case, is_all=self.is_all)
        return self == always

    @property
    def is_about_asker(self) -> bool:
        """Whether something hangs on who asks, or is about questions for names only."""
        return bool(self.dns_types or self.clients or self.tags or self.rewrite)

    def types_in(self, by_default: Resource) -> Resource:
        """The resources that the rule is about, where a rule that names none is about `by_default`."""
        if self.is_all:
            return EVERYTHING
        # Of what is not known, it is not known that it is none of the excluded.
        named = by_default if self.types is None else self.types
        return named & ~self.excluded & (KNOWN if self.excluded else EVERYTHING)


NONE = Conditions()


@dataclass(slots=True)
class _Draft:
    """Conditions while their modifiers are read one by one."""

    values: dict[str, object] = field(default_factory=dict)
    types: Resource = NO_RESOURCE
    excluded: Resource = NO_RESOURCE
    party: Party = NO_PARTY
    unseen: list[str] = field(default_factory=list)
    denied: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=8192)
def parse_conditions(options: str) -> Conditions:
    """The conditions of a rule's modifiers, `third-party,domain=a.example`. Raises NotHonoured for any that cannot be kept to."""
    if not options:
        return NONE
    draft = _Draft()
    for option in re.split(r"(?<!\\),", options):
        _read(option.strip(), draft)
    if draft.unseen and not draft.types:
        raise NotHonoured(draft.unseen[0])
    if draft.denied:
        targets = draft.values.get("targets", Names())
        assert isinstance(targets, Names)
        draft.values["targets"] = Names(targets.wanted, targets.unwanted | draft.denied)
    return Conditions(types=draft.types or None, excluded=draft.excluded, party=draft.party, **draft.values)  # type: ignore[arg-type]


def _read(option: str, draft: _Draft) -> None:
    text, equals, value = option.partition("=")
    name = text.lower()
    bare = name.removeprefix("~")
    if not equals and bare in _TYPES:
        if bare == name:
            draft.types |= _TYPES[bare]
        else:
            draft.excluded |= _TYPES[bare]
    elif bare in _UNSEEN:
        draft.unseen += [name] if bare == name else []
    elif not equals and name in _PARTIES:
        draft.party |= _PARTIES[name]
    elif not equals and name in _SWITCHES:
        draft.values[_SWITCHES[name]] = True
    elif equals and value and name in _NAMED:
        where, read = _NAMED[name]
        draft.values[where] = read(name, value)
    elif name == "denyallow" and value:
        draft.denied = _host_names(name, value).wanted
    elif name == "dnsrewrite" and value:
        draft.values["rewrite"] = _rewrite_of(value)
    elif name not in _AS_BLOCK:
        raise NotHonoured(bare)


_PARTIES = {
    "third-party": Party.THIRD, "3p": Party.THIRD, "~first-party": Party.THIRD, "~1p": Party.THIRD,
    "first-party": Party.FIRST, "1p": Party.FIRST, "~third-party": Party.FIRST, "~3p": Party.FIRST,
    "strict1p": Party.STRICT_FIRST, "strict-first-party": Party.STRICT_FIRST,
    "strict3p": Party.STRICT_THIRD, "strict-third-party": Party.STRICT_THIRD,
}  # fmt: skip
_SWITCHES = {"important": "important", "badfilter": "badfilter", "match-case": "match_case", "all": "is_all"}


def _host_names(modifier: str, value: str) -> Names:
    wanted, unwanted = set[str](), set[str]()
    for part in value.split("|"):
        name = part.removeprefix("~")
        entity = name.endswith(".*")
        host = parse_host(name.removesuffix(".*"))
        if host is None:
            raise NotHonoured(f"{modifier}=/…/" if "/" in value else f"{modifier}= with what is no host")
        (unwanted if part.startswith("~") else wanted).add(f"{host}.*" if entity else host)
    return Names(frozenset(wanted), frozenset(unwanted))


def _rewrite_of(value: str) -> str:
    """Where `ADDRESS`, `HOST` or `RCODE;TYPE;VALUE` leads; empty for nowhere, which is a block.

    Source: https://adguard-dns.io/kb/general/dns-filtering-syntax/#dnsrewrite-modifier
    """
    rcode, *rest = value.lower().split(";")
    kind, target = (rest[0], rest[-1]) if rest else ("", rcode)
    if target in _SINKS or (rest and rcode in _SINKS and rcode != "noerror"):
        return ""
    host = parse_host(target)
    is_meant = {"": True, "a": is_address(target) and ":" not in target, "aaaa": ":" in target, "cname": not is_address(target)}
    if host is None or not is_meant.get(kind, False):
        raise NotHonoured(f"dnsrewrite={rcode};{kind}"[:60] if rest else "dnsrewrite")
    return host


def _plain_names(modifier: str, value: str) -> Names:
    del modifier
    parts = [part.strip().strip("'\"").replace("\\", "") for part in re.split(r"(?<!\\)\|", value)]
    wanted = {part.lower() for part in parts if not part.startswith("~")}
    unwanted = {part[1:].strip("'\"").lower() for part in parts if part.startswith("~")}
    return Names(frozenset(wanted), frozenset(unwanted))


_NAMED: dict[str, tuple[str, Callable[[str, str], Names]]] = {
    "domain": ("initiators", _host_names),
    "from": ("initiators", _host_names),
    "to": ("targets", _host_names),
    "dnstype": ("dns_types", _plain_names),
    "client": ("clients", _plain_names),
    "ctag": ("tags", _plain_names),
    "method": ("methods", _plain_names),
}


_OTHER = int(Resource.OTHER)
_NUMBERS = {destination: int(resource) for destination, resource in _DESTINATIONS.items() if destination}


def number_of_resource(destination: str, url: str) -> int:
    """The number of the resource that a request is for: by its Sec-Fetch-Dest, else by how the (lower-case) URL's path ends."""
    if destination:
        return _NUMBERS.get(destination, _OTHER)
    ending = _ENDING.match(url)
    return int(_ENDINGS.get(ending[1], Resource.UNKNOWN) if ending else Resource.UNKNOWN)
