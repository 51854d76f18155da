"""From the raw file to a Policy: every name is looked up, every address read. Mistakes are added to the tree's problems."""

from __future__ import annotations

from pathlib import Path

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies import network_settings, yaml_tree
from hedgerow.policies.list_entries import check_categories_used, list_source
from hedgerow.policies.model import Device, DeviceId, Network, Person, Policy, Profile
from hedgerow.policies.network_settings import Networks
from hedgerow.policies.profiles import ProfileReader, builtin_profiles, profile_for_age
from hedgerow.policies.rules_reader import RulesReader
from hedgerow.policies.schema import RawDevice, RawPerson, RawPolicy
from hedgerow.policies.services import Services
from hedgerow.policies.targets import suggest
from hedgerow.policies.yaml_tree import Tree

DEFAULT_PROFILE = "child-8-12"


def resolve(raw: RawPolicy, tree: Tree, path: Path | None) -> Policy:
    """The policy that `raw` describes. It holds only if the tree then has no problems."""
    listed = [list_source(tree, index, entry, path) for index, entry in enumerate(raw.lists)]
    lists = tuple(source for source in listed if source is not None)
    builtin = [category.name for category in builtin_categories()]
    categories = tuple(dict.fromkeys(builtin + [source.category for source in lists]))
    reader = RulesReader(tree, Services.load().by_id.keys(), categories)
    profiles = ProfileReader(reader, tree.value).read(raw.profiles, builtin_profiles())
    network = network_settings.read_network(raw.network, tree, profiles, DEFAULT_PROFILE)
    household = reader.read(raw, ())
    people = {name: _person(reader, name, entry, profiles, network) for name, entry in raw.people.items()}
    devices = _Devices(reader, profiles, network, people).read(raw)
    check_categories_used(tree, listed, builtin, reader.used)
    return Policy(network, people, devices, profiles, household, lists, categories, str(path) if path is not None else None)


def _person(reader: RulesReader, name: str, raw: RawPerson, profiles: dict[str, Profile], network: Network) -> Person:
    path = ("people", name)
    tree = reader.tree
    if raw.timezone is not None:
        network_settings.check_timezone(tree, (*path, "timezone"), raw.timezone)
    if raw.age is not None and raw.profile is not None:
        tree.add_problem((*path, "profile"), f"{name} has an age and a profile: leave out one of them", key=True)
    profile = known_profile(tree, (*path, "profile"), raw.profile, profiles)
    if profile is None:
        profile = network.unknown_devices if raw.age is None else profile_for_age(raw.age)
    return Person(name, profile, raw.age, raw.timezone, reader.read(raw, path), reader.origin(path, key=True))


def known_profile(tree: Tree, path: yaml_tree.Path, name: str | None, profiles: dict[str, Profile]) -> str | None:
    """`name` if there is such a profile; otherwise None, with a problem unless nothing was said."""
    if name is None or name in profiles:
        return name
    tree.add_problem(path, f"unknown profile '{name}'.{suggest(name, profiles)} There are {', '.join(profiles)}.")
    return None


class _Devices:
    """Reads `devices`, and the devices that people have without naming them, and finds those that overlap."""

    def __init__(self, reader: RulesReader, profiles: dict[str, Profile], network: Network, people: dict[str, Person]) -> None:
        self._reader, self._tree = reader, reader.tree
        self._profiles, self._network, self._people = profiles, network, people
        self._owners: dict[str, str] = {}
        self._macs: dict[str, str] = {}
        self._networks: dict[object, str] = {}

    def read(self, raw: RawPolicy) -> dict[str, Device]:
        listed = self._tree.value.get("devices") if isinstance(self._tree.value, dict) else None
        names = set(listed) if isinstance(listed, dict) else set()
        unnamed: dict[str, yaml_tree.Path] = {}
        for person, entry in raw.people.items():
            for index, item in enumerate(entry.devices):
                self._own(person, ("people", person, "devices", index), item, names, unnamed)
        devices = {name: self._device(name, entry) for name, entry in raw.devices.items()}
        for item, path in unnamed.items():
            devices[item] = self._unnamed(item, path)
        return devices

    def _own(self, person: str, path: yaml_tree.Path, item: str, names: set[str], unnamed: dict[str, yaml_tree.Path]) -> None:
        if item not in names:
            address = network_settings.parse_mac(item) or network_settings.parse_network(item)
            if address is None:
                message = f"unknown device '{item}': neither named under devices nor a MAC or IP address.{suggest(item, names)}"
                self._tree.add_problem(path, message)
                return
            item = address if isinstance(address, str) else network_settings.shown_network(address)
            unnamed.setdefault(item, path)
        owner = self._owners.setdefault(item, person)
        if owner != person:
            self._tree.add_problem(path, f"the device '{item}' is {owner}'s already: a device has one person")

    def _device(self, name: str, raw: RawDevice) -> Device:
        path = ("devices", name)
        macs = tuple(mac for index, text in enumerate(raw.mac) if (mac := self._mac((*path, "mac", index), text, name)))
        networks = tuple(
            network
            for key, texts in (("ip", raw.ip), ("cidr", raw.cidr))
            for index, text in enumerate(texts)
            if (network := self._address((*path, key, index), text, name, key))
        )
        if not (raw.mac or raw.ip or raw.cidr):
            self._tree.add_problem(path, f"'{name}' has neither mac, ip nor cidr: it would never be recognised", key=True)
        return Device(
            DeviceId(name), self._profile_of(name, (*path, "profile"), raw.profile), self._owners.get(name), macs, networks,
            raw.trusts_ca, raw.never_inspect, self._reader.read(raw, path), origin=self._reader.origin(path, key=True),
        )  # fmt: skip

    def _unnamed(self, item: str, path: yaml_tree.Path) -> Device:
        mac = network_settings.parse_mac(item)
        macs = (self._mac(path, item, item),) if mac else ()
        network = None if mac else self._address(path, item, item, "cidr")
        networks = (network,) if network is not None else ()
        profile = self._profile_of(item, path, None)
        known_macs = tuple(found for found in macs if found)
        return Device(DeviceId(item), profile, self._owners[item], known_macs, networks, origin=self._reader.origin(path))

    def _profile_of(self, name: str, path: yaml_tree.Path, own: str | None) -> str:
        owner = self._owners.get(name)
        inherited = self._people[owner].profile if owner in self._people else self._network.unknown_devices
        return known_profile(self._tree, path, own, self._profiles) or inherited

    def _mac(self, path: yaml_tree.Path, text: str, device: str) -> str | None:
        mac = network_settings.parse_mac(text)
        if mac is None:
            self._tree.add_problem(path, f"'{text}' is not a MAC address, such as aa:bb:cc:dd:ee:ff")
            return None
        other = self._macs.setdefault(mac, device)
        if other != device:
            self._tree.add_problem(path, f"'{device}' and '{other}' have the same MAC address {mac}")
        return mac

    def _address(self, path: yaml_tree.Path, text: str, device: str, key: str) -> Networks | None:
        network = network_settings.read_device_address(self._tree, path, text, key)
        if network is None:
            return None
        other = self._networks.setdefault(network, device)
        shown = network_settings.shown_network(network)
        if other != device:
            self._tree.add_problem(path, f"'{device}' and '{other}' have the same address {shown}")
        if not any(network.version == lan.version and network.subnet_of(lan) for lan in self._network.lan):  # type: ignore[arg-type]
            self._tree.add_problem(path, f"{shown} is outside network.lan, so '{device}' would be refused: add it there")
        return network
