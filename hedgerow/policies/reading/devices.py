"""Reading of devices and seats: their owners, and the identifiers by which they are recognised."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hedgerow.policies.model import Device, DeviceId, Person, Profile
from hedgerow.policies.network import NetworkSettings, TunnelPeer
from hedgerow.policies.reading.network_settings import known_profile, read_device_address, read_own_upstreams
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES
from hedgerow.policies.reading.rules import RulesReader
from hedgerow.policies.reading.schema import RawDevice, RawPolicy, RawTunnelPeer
from hedgerow.policies.text.addresses import IpNetwork, format_network, parse_mac, parse_network
from hedgerow.policies.text.suggestions import did_you_mean, guess_mac, suggest, with_hint
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree

SEAT_PROFILE = "seat-child"

_HASH = re.compile(r"\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")  # 32 bytes
_WAYS = ("mac", "ip", "cidr", "client_id", "hostname", "proxy_user", "tunnel")


class _NameForm(NamedTuple):
    """A kind of name that devices claim, in lower case."""

    noun: str
    pattern: re.Pattern[str]
    advice: str


_CLIENT_ID = _NameForm(
    "client_id",
    re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
    "letters, digits and hyphens, such as 5d0c2ab81e6f4397a2d4f80b6c11e93a",
)
_HOST_NAME = _NameForm(
    "host name", re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"), "one without a domain, such as tablet"
)
_USER = _NameForm(
    "user name", re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"), "letters, digits, dots and hyphens"
)


class DevicesReader:
    """Reader of `devices`, `seats` and the unnamed devices of people. It reports duplicate identifiers."""

    def __init__(
        self, reader: RulesReader, profiles: dict[str, Profile], network: NetworkSettings, people: dict[str, Person]
    ) -> None:
        self._reader, self._tree = reader, reader.tree
        self._profiles, self._network, self._people = profiles, network, people
        self._owners: dict[str, list[str]] = {}
        self._taken: dict[tuple[str, object], str] = {}

    def read(self, raw: RawPolicy) -> dict[str, Device]:
        names = {*_listed(self._tree, "devices"), *_listed(self._tree, "seats")}
        unnamed: dict[str, KeyPath] = {}
        for person, entry in raw.people.items():
            for index, item in enumerate(entry.devices):
                self._own(person, ("people", person, "devices", index), item, names, unnamed)
        devices = {name: self._device(name, entry, "devices") for name, entry in raw.devices.items()}
        for name, seat in raw.seats.items():
            if name in devices:
                self._tree.add_problem(
                    ("seats", name), f"'{name}' is also listed under devices: list it once", key=True
                )
            if name in self._owners:
                self._tree.add_problem(
                    ("seats", name),
                    f"the seat '{name}' is listed as a device of {self._owners[name][0]}: a seat has no owner",
                    key=True,
                )
            devices[name] = self._device(name, seat, "seats")
        for item, path in unnamed.items():
            devices[item] = self._unnamed(item, path)
        return devices

    def _own(self, person: str, path: KeyPath, item: str, names: set[str], unnamed: dict[str, KeyPath]) -> None:
        if item not in names:
            address = parse_mac(item) or parse_network(item)
            if address is None:
                hint = suggest(item, names) or f' List it there, such as {item}: {{mac: "aa:bb:cc:dd:ee:ff"}}'
                message = f"unknown device '{item}': neither listed under devices nor a MAC or IP address.{hint}"
                self._tree.add_problem(path, message)
                return
            item = address if isinstance(address, str) else format_network(address)
            unnamed.setdefault(item, path)
        owners = self._owners.setdefault(item, [])
        if person in owners:
            self._tree.add_problem(path, f"the device '{item}' is listed twice")
            return
        owners.append(person)

    def _device(self, name: str, raw: RawDevice, section: str) -> Device:
        path = (section, name)
        macs = tuple(mac for index, text in enumerate(raw.mac) if (mac := self._mac((*path, "mac", index), text, name)))
        networks = tuple(
            network
            for key, texts in (("ip", raw.ip), ("cidr", raw.cidr))
            for index, text in enumerate(texts)
            if (network := self._address((*path, key, index), text, name, key))
        )
        client_id: tuple[str, ...] = ()
        if raw.client_id is not None:
            client_id = self._claim((*path, "client_id"), raw.client_id, name, _CLIENT_ID)
        hostnames = self._claims((*path, "hostname"), raw.hostname, name, _HOST_NAME)
        users = self._claims((*path, "proxy_user"), raw.proxy_user, name, _USER)
        if not self._has_identifier(name, section):
            ways = "no mac, ip, cidr, hostname, client_id, proxy_user or tunnel"
            self._tree.add_problem(path, f"'{name}' has {ways}, so it cannot be recognised", key=True)
        is_seat = section == "seats"
        profile = self._profile_of(name, (*path, "profile"), raw.profile or (SEAT_PROFILE if is_seat else None))
        person, sharers = self._users_of(name)
        return Device(
            DeviceId(name),
            profile,
            person,
            macs,
            networks,
            raw.trusts_ca,
            raw.never_inspect,
            self._reader.read(raw, path),
            origin=self._reader.origin(path, key=True),
            sharers=sharers,
            is_seat=is_seat,
            has_profile=is_seat or raw.profile is not None,
            client_id=next(iter(client_id), None),
            hostnames=hostnames,
            proxy_users=users,
            proxy_password=self._proxy_password(name, raw, section),
            kind=raw.kind,
            tunnel=self._tunnel((*path, "tunnel"), raw.tunnel, name),
            upstream=read_own_upstreams(self._tree, (*path, "upstream"), raw.upstream, self._network.resolver),
        )

    def _has_identifier(self, name: str, section: str) -> bool:
        """Return whether the file gives an identifier, even one that could not be read and is reported already."""
        entry = _listed(self._tree, section).get(name)
        return isinstance(entry, dict) and any(entry.get(way) not in (None, "", []) for way in _WAYS)

    def _proxy_password(self, name: str, raw: RawDevice, section: str) -> str | None:
        """Return the password's hash, as `hedgerow proxy-password` prints it. A user name without it proves nothing."""
        path, text = (section, name, "proxy_password"), raw.proxy_password
        if text is None:
            if raw.proxy_user:
                say = (
                    f"'{name}' has a proxy_user but no proxy_password, so it cannot sign in: create one with `hedgerow"
                    " proxy-password`"
                )
                self._tree.add_problem((section, name, "proxy_user"), say)
            return None
        if not raw.proxy_user:
            self._tree.add_problem(
                path, f"'{name}' has a proxy_password but no proxy_user: add the name under which it signs in"
            )
        if _HASH.fullmatch(text) is None:
            self._tree.add_problem(path, "not a hash from `hedgerow proxy-password`: it begins with $argon2id$")
            return None
        return text

    def _tunnel(self, path: KeyPath, raw: RawTunnelPeer | None, device: str) -> TunnelPeer | None:
        """Return the device's end of the tunnel; None, with a problem, if it cannot be one."""
        if raw is None:
            return None
        tunnel = self._network.tunnel
        if tunnel is None:
            self._tree.add_problem(
                path, f"'{device}' has a tunnel, but network has none: add network: tunnel: {{endpoint: home.example}}"
            )
            return None
        if _KEY.fullmatch(raw.key) is None:
            self._tree.add_problem(
                (*path, "key"),
                "not a public key of WireGuard: 44 characters of base64, as `hedgerow away add` writes them",
            )
            return None
        if raw.number not in tunnel.places:
            places = f"{tunnel.places.start} to {tunnel.places.stop - 1}"
            self._tree.add_problem((*path, "number"), f"{raw.number} is not a place in the tunnel's subnets: {places}")
            return None
        self._take((*path, "key"), "tunnel key", raw.key, device, "tunnel key")
        self._take((*path, "number"), "tunnel number", raw.number, device, f"tunnel number {raw.number}")
        networks = tunnel.addresses(raw.number)
        for network in networks:
            self._take(path, "address", network, device, f"address {format_network(network)}")
        return TunnelPeer(raw.key, networks)

    def _users_of(self, name: str) -> tuple[str | None, tuple[str, ...]]:
        """Return a device's person, or all people who share it."""
        owners = self._owners.get(name, [])
        return (owners[0], ()) if len(owners) == 1 else (None, tuple(owners))

    def _claim(self, path: KeyPath, text: str, device: str, form: _NameForm) -> tuple[str, ...]:
        """Return a name that the device claims, in lower case; nothing, with a problem, if it is invalid."""
        if form.pattern.fullmatch(text.lower()) is None:
            self._tree.add_problem(path, f"'{text}' is not a valid {form.noun}: use {form.advice}")
            return ()
        self._take(path, form.noun, text.lower(), device, f"{form.noun} {text.lower()}")
        return (text.lower(),)

    def _claims(self, path: KeyPath, texts: list[str], device: str, form: _NameForm) -> tuple[str, ...]:
        return tuple(
            name for index, text in enumerate(texts) for name in self._claim((*path, index), text, device, form)
        )

    def _take(self, path: KeyPath, key: str, value: object, device: str, shown: str) -> None:
        other = self._taken.setdefault((key, value), device)
        if other != device:
            self._tree.add_problem(path, f"'{device}' and '{other}' have the same {shown}")

    def _unnamed(self, item: str, path: KeyPath) -> Device:
        mac = self._mac(path, item, item) if parse_mac(item) else None
        network = None if mac else self._address(path, item, item, "cidr")
        macs, networks = (() if mac is None else (mac,)), (() if network is None else (network,))
        person, sharers = self._users_of(item)
        profile = self._profile_of(item, path, None)
        return Device(
            DeviceId(item), profile, person, macs, networks, origin=self._reader.origin(path), sharers=sharers
        )

    def _profile_of(self, name: str, path: KeyPath, own: str | None) -> str:
        of_owners = [self._people[owner].profile for owner in self._owners.get(name, []) if owner in self._people]
        inherited = next(
            (each for each in BUILTIN_PROFILE_NAMES if each in of_owners),
            next(iter(of_owners), self._network.unknown_devices),
        )
        return known_profile(self._tree, path, own, self._profiles) or inherited

    def _mac(self, path: KeyPath, text: str, device: str) -> str | None:
        mac = parse_mac(text)
        if mac is None:
            say = f"'{text}' is not a MAC address, such as aa:bb:cc:dd:ee:ff"
            self._tree.add_problem(path, with_hint(say, did_you_mean(guess_mac(text))))
            return None
        self._take(path, "mac", mac, device, f"MAC address {mac}")
        return mac

    def _address(self, path: KeyPath, text: str, device: str, key: str) -> IpNetwork | None:
        network = read_device_address(self._tree, path, text, key)
        if network is None:
            return None
        shown = format_network(network)
        self._take(path, "address", network, device, f"address {shown}")
        if not any(network.version == lan.version and network.subnet_of(lan) for lan in self._network.lan):  # type: ignore[arg-type]
            self._tree.add_problem(
                path, f"{shown} is outside network.lan, so '{device}' would be refused: add it there"
            )
        return network


def _listed(tree: YamlTree, section: str) -> dict[str, Any]:
    """Return a section of the file as it was written; empty if it is not a mapping."""
    listed = tree.value.get(section) if isinstance(tree.value, dict) else None
    return listed if isinstance(listed, dict) else {}
