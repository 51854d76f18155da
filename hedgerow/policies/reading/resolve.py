"""From the raw file to a Policy: every name is looked up, every address read. Mistakes are added to the tree's problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.model import Conduct, Person, Policy, Profile
from hedgerow.policies.network import Network, UnopenedSeats
from hedgerow.policies.profiles import ProfileReader, builtin_profiles, profile_for_age
from hedgerow.policies.reading import network_settings
from hedgerow.policies.reading.devices import DevicesReader, known_profile
from hedgerow.policies.reading.holidays import Calendars, read_holidays
from hedgerow.policies.reading.list_entries import check_categories_used, list_source
from hedgerow.policies.reading.notices import read_notices
from hedgerow.policies.reading.rules import RulesReader
from hedgerow.policies.reading.schema import RawPerson, RawPolicy
from hedgerow.policies.reading.yaml_tree import Tree
from hedgerow.policies.services import Services

DEFAULT_PROFILE = "child-8-12"
MAX_CONDUCT = 10_000


def resolve(
    raw: RawPolicy, tree: Tree, path: Path | None, included: Sequence[str] = (), calendars: Path | None = None
) -> Policy:  # fmt: skip
    """The policy that `raw` describes, which holds only if the tree then has no problems. `included`: the files that it was read from;
    `calendars`: the folder with the copies of calendars that are given by URL."""
    sources = Calendars(path.parent if path is not None else Path(), calendars, list(included))
    listed = [list_source(tree, index, entry, path) for index, entry in enumerate(raw.lists)]
    lists = tuple(source for source in listed if source is not None)
    builtin = [category.name for category in builtin_categories()]
    categories = tuple(dict.fromkeys(builtin + [source.category for source in lists]))
    reader = RulesReader(tree, Services.load().by_id.keys(), categories)
    reader.zone = _zone(raw.network.timezone)
    profiles = ProfileReader(reader).read(raw.profiles, builtin_profiles())
    network = network_settings.read_network(raw.network, tree, profiles, DEFAULT_PROFILE)
    network = replace(network, holidays=read_holidays(tree, ("network", "holidays"), raw.network.holidays, sources))
    household = reader.read(raw, ())
    people = {}
    for name, entry in raw.people.items():
        reader.zone = _zone(entry.timezone or network.timezone)
        people[name] = _person(reader, name, entry, profiles, network)
        if entry.holidays is not None:
            own = read_holidays(tree, ("people", name, "holidays"), entry.holidays, sources)
            people[name] = replace(people[name], holidays=own)
    reader.zone = _zone(network.timezone)
    devices = DevicesReader(reader, profiles, network, people).read(raw)
    conduct = _conduct(tree, raw.code_of_conduct, sources)
    check_categories_used(tree, listed, builtin, reader.used)
    return Policy(
        network, people, devices, profiles, household, lists, categories, str(path) if path is not None else None,
        calendars=tuple(dict.fromkeys(sources.urls)),
        conduct=conduct,
        closes_unopened=tree.origin_of(("unopened_seats",)) if raw.unopened_seats is UnopenedSeats.CLOSED else None,
        files=tuple(dict.fromkeys(sources.files)),
        phrase_lists=tuple(_phrase_list(tree, index, name, path) for index, name in enumerate(raw.phrase_lists)),
        notices=read_notices(tree, reader.times, raw.notices),
    )  # fmt: skip


def _zone(name: str | None) -> ZoneInfo:
    """The zone of a name; a mistaken one is told where it is checked."""
    name = name or network_settings.local_timezone()
    return ZoneInfo(name if network_settings.is_timezone(name) else "UTC")


def _conduct(tree: Tree, name: str | None, sources: Calendars) -> Conduct | None:
    """The café's text, which is followed as the policy file is."""
    if name is None:
        return None
    file, path = (sources.base / name).absolute(), ("code_of_conduct",)
    sources.files.append(str(file))
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        tree.add_problem(path, f"'{file}' cannot be read as text: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
        return None
    if not text or len(text) > MAX_CONDUCT:
        tree.add_problem(path, f"'{file}' is {'empty' if not text else f'longer than {MAX_CONDUCT} characters'}")
    return Conduct(text, tree.origin_of(path))


def _phrase_list(tree: Tree, index: int, name: str, policy_path: Path | None) -> str:
    file = ((policy_path.parent if policy_path is not None else Path()) / name).absolute()
    if not file.is_file():
        tree.add_problem(("phrase_lists", index), f"there is no file '{file}'")
    return str(file)


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
