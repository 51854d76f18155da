"""Resolution of a raw policy: every name is looked up, and lists, notices and files are read."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import hedgerow
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.formats import FORMATS
from hedgerow.blocklists.names import is_public_suffix, parse_host, parse_url
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import parse_refresh_interval, public_sources, shown_url
from hedgerow.files import read_named_file
from hedgerow.policies.growing import age_on, parse_born, profile_for_age
from hedgerow.policies.growth_steps import Born
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import ListSource, Person, Policy, Profile
from hedgerow.policies.network import NetworkSettings, UnopenedSeatAccess
from hedgerow.policies.notices import DEFAULT_TOPICS, RECEIVER_NAME, ClockTime, NoticeTopic, Receiver
from hedgerow.policies.reading import network_settings
from hedgerow.policies.reading.devices import DevicesReader
from hedgerow.policies.reading.feature_keys import read_feature_keys, reports_for
from hedgerow.policies.reading.holidays import CalendarSources, read_holidays
from hedgerow.policies.reading.profiles import ProfilesReader, builtin_profiles
from hedgerow.policies.reading.rules import RulesReader
from hedgerow.policies.reading.schema import CONDITIONS, FEATURE_KEYS, RawList, RawPerson, RawPolicy, RawReceiver
from hedgerow.policies.reading.times import TimesReader
from hedgerow.policies.seats import CodeOfConduct
from hedgerow.policies.targets import correctable_topics
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.text.suggestions import suggest
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree
from hedgerow.policies.times.schedule import DAY_GROUPS, DAY_NAMES, parse_clock, parse_days


def read_list_source(tree: YamlTree, index: int, raw: RawList, policy_path: Path | None) -> ListSource | None:
    """Read the list at `index`; None, with a problem, if it is incomplete.

    Relative paths start at the policy file's folder.
    """
    refresh = _refresh(tree, ("lists", index, "refresh"), raw.refresh)
    if raw.source is not None:
        return _public_list_source(tree, index, raw, raw.source, refresh)
    path: KeyPath = ("lists", index)
    line, _ = tree.place_of(path)
    if raw.category is None:
        # A category that could not be read was left out and is reported already.
        if not any(problem.line == line for problem in tree.problems):
            tree.add_problem(path, "'category' is missing: add one, or name a public list as {source: NAME}")
        return None
    if (raw.url is None) == (raw.path is None):
        tree.add_problem(path, "a list needs either a url or a path")
    if raw.url is not None and (not raw.url.startswith(("http://", "https://")) or parse_url(raw.url) is None):
        tree.add_problem((*path, "url"), f"'{raw.url}' is not an http or https URL")
    formats = ["auto", *(known.name for known in FORMATS)]
    if raw.format is not None and raw.format not in formats:
        tree.add_problem(
            (*path, "format"),
            f"unknown format '{raw.format}'.{suggest(raw.format, formats)} Formats: {', '.join(formats)}.",
        )
    if not raw.category.replace("-", "").replace("_", "").isalnum() or raw.category != raw.category.lower():
        tree.add_problem(
            (*path, "category"), f"'{raw.category}' is not a valid category: use lower-case letters, digits and hyphens"
        )
    base = policy_path.parent if policy_path is not None else Path()
    file = str((base / raw.path).absolute()) if raw.path is not None else None
    name = raw.name or (shown_url(raw.url) if raw.url else raw.path or raw.category)
    return ListSource(
        name, raw.category, file, raw.url, raw.format or "auto", Origin(tree.text_of(path)[0], line), refresh
    )


def _public_list_source(
    tree: YamlTree, index: int, raw: RawList, name: str, refresh: float | None
) -> ListSource | None:
    path: KeyPath = ("lists", index)
    for key in ("url", "path", "format", "name", "category"):
        if getattr(raw, key) is not None:
            tree.add_problem((*path, key), f"a public list defines its own {key}: leave it out", key=True)
    known = public_sources().get(name)
    if known is None:
        hint = suggest(name, public_sources())
        tree.add_problem(
            (*path, "source"), f"unknown public list '{name}'.{hint} List them with `hedgerow lists public`."
        )
        return None
    line, _ = tree.place_of(path)
    return ListSource(
        name,
        known.category,
        None,
        known.url,
        known.format,
        Origin(tree.text_of(path)[0], line),
        refresh or known.refresh,
    )


def _refresh(tree: YamlTree, path: KeyPath, text: str | None) -> float | None:
    try:
        return None if text is None else parse_refresh_interval(text)
    except ValueError as error:
        tree.add_problem(path, str(error))
        return None


def read_corrections(
    tree: YamlTree, raw: Mapping[str, Sequence[str]], categories: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Read the corrections: the topics that each site, with everything beneath it, is not of."""
    found: dict[str, frozenset[str]] = {}
    for topic, sites in raw.items():
        if topic not in correctable_topics(categories):
            hint = suggest(topic, categories)
            tree.add_problem(("corrections", topic), f"'{topic}' is not a topic that can be corrected.{hint}", key=True)
            continue
        for index, text in enumerate(sites):
            host = parse_host(text)
            if host is None or "." not in host or is_public_suffix(host):
                tree.add_problem(("corrections", topic, index), f"'{text}' is not a site, such as example.org")
            else:
                found[host] = found.get(host, frozenset()) | {topic}
    return found


def check_categories_used(
    tree: YamlTree, lists: Sequence[ListSource | None], builtin: Sequence[str], used: Container[str]
) -> None:
    """Add a problem for a custom category that no rule names, and for two lists with one name."""
    names: set[str] = set()
    for index, source in enumerate(lists):
        if source is None:
            continue
        if source.category not in builtin and source.category not in used:
            hint = suggest(source.category, builtin)
            message = f"the category '{source.category}' is not built in, and no rule names it.{hint}"
            tree.add_problem(("lists", index, "category"), message)
        if source.name in names:
            tree.add_problem(("lists", index), f"two lists are called '{source.name}': rename one of them")
        names.add(source.name)


def read_notices(tree: YamlTree, times: TimesReader, raw: Mapping[str, RawReceiver]) -> dict[str, Receiver]:
    """Read the receivers of notices, by name."""
    return {name: _receiver(tree, times, name, entry) for name, entry in raw.items()}


def _receiver(tree: YamlTree, times: TimesReader, name: str, raw: RawReceiver) -> Receiver:
    path = ("notices", name)
    if RECEIVER_NAME.fullmatch(name) is None:
        tree.add_problem(
            path, f"'{name}' is not a valid name: use lower-case letters, digits and hyphens, such as mother", key=True
        )
    return Receiver(
        name,
        DEFAULT_TOPICS if raw.about is None else _topics(tree, (*path, "about"), raw.about),
        None if raw.quiet is None else times.schedule(raw.quiet, (*path, "quiet")),
        None if raw.digest is None else _clock_time(tree, (*path, "digest"), raw.digest, weekly=False),
        None if raw.report is None else _clock_time(tree, (*path, "report"), raw.report, weekly=True),
        "en" if raw.language is None else _language(tree, (*path, "language"), raw.language),
    )


def _language(tree: YamlTree, path: KeyPath, text: str) -> str:
    if text not in LANGUAGES:
        tree.add_problem(path, f"'{text}' is not a language of Hedgerow. Languages: {', '.join(LANGUAGES)}.")
    return text


def _topics(tree: YamlTree, path: KeyPath, texts: list[str]) -> tuple[NoticeTopic, ...]:
    found = []
    for index, text in enumerate(texts):
        if text in tuple(NoticeTopic):
            found.append(NoticeTopic(text))
        else:
            known = [topic.value for topic in NoticeTopic]
            message = f"'{text}' is not a topic of notices.{suggest(text, known)} Topics: {', '.join(known)}."
            tree.add_problem((*path, index), message)
    return tuple(dict.fromkeys(found))


def _clock_time(tree: YamlTree, path: KeyPath, text: str, weekly: bool) -> ClockTime | None:
    """Read `18:00`, or with `weekly` `sun 18:00`."""
    day, _, clock = text.rpartition(" ")
    try:
        minute = parse_clock(clock) % (24 * 60)
        days = parse_days(day, DAY_GROUPS).ordinary if day else frozenset[int]()
    except ValueError as error:
        tree.add_problem(path, f"{error}")
        return None
    if len(days) != weekly or bool(day) != weekly:
        example = f"a day and a time, such as {DAY_NAMES[6]} 18:00" if weekly else 'a time of day, such as "18:00"'
        tree.add_problem(path, f"'{text}' is not {example}")
        return None
    return ClockTime(next(iter(days), None), minute)


DEFAULT_PROFILE = "child-8-12"
MAX_CONDUCT = 10_000


def resolve(
    raw: RawPolicy,
    tree: YamlTree,
    path: Path | None,
    included: Sequence[str] = (),
    calendars: Path | None = None,
    *,
    is_elsewhere: bool = False,
) -> Policy:
    """Return the policy that `raw` describes, valid only if the tree has no problems afterwards.

    `included` are files that it was read from, `calendars` the folder with copies of downloaded calendars. With
    `is_elsewhere`, the files that it names are another machine's.
    """
    sources = CalendarSources(
        path.parent if path is not None else Path(), calendars, list(included), is_elsewhere=is_elsewhere
    )
    listed = [read_list_source(tree, index, entry, path) for index, entry in enumerate(raw.lists)]
    lists = tuple(source for source in listed if source is not None)
    builtin = [category.name for category in builtin_categories()]
    categories = tuple(dict.fromkeys(builtin + [source.category for source in lists]))
    reader = RulesReader(tree, Services.load().by_id.keys(), categories)
    reader.zone = _zone(raw.network.timezone)
    profiles = ProfilesReader(reader).read(raw.profiles, builtin_profiles())
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
    conduct = _code_of_conduct(tree, raw.code_of_conduct, sources)
    check_categories_used(tree, listed, builtin, reader.used)
    policy = Policy(
        network,
        people,
        devices,
        profiles,
        household,
        lists,
        categories,
        str(path) if path is not None else None,
        calendars=tuple(dict.fromkeys(sources.urls)),
        conduct=conduct,
        closes_unopened=tree.origin_of(("unopened_seats",))
        if raw.unopened_seats is UnopenedSeatAccess.CLOSED
        else None,
        files=tuple(dict.fromkeys(sources.files)),
        empty=tuple(tree.empty),
        phrase_lists=tuple(_phrase_list(tree, index, name, sources) for index, name in enumerate(raw.phrase_lists)),
        notices=read_notices(tree, reader.times, raw.notices),
        corrections=read_corrections(tree, raw.corrections, categories),
    )
    features = read_feature_keys(raw, tree, FEATURE_KEYS, policy, reader.times)
    return replace(policy, features=features, reports=reports_for(features, FEATURE_KEYS))


def _zone(name: str | None) -> ZoneInfo:
    """Return a time zone by name; an unknown one, reported elsewhere, is UTC."""
    name = name or network_settings.local_timezone()
    return ZoneInfo(name if network_settings.is_timezone(name) else "UTC")


def _code_of_conduct(tree: YamlTree, name: str | None, sources: CalendarSources) -> CodeOfConduct | None:
    """Read the café's text. Its file is watched like the policy file."""
    if name is None or sources.is_elsewhere:
        return None
    file, path = (sources.base / name).absolute(), ("code_of_conduct",)
    sources.files.append(str(file))
    try:
        text = read_named_file(file).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        tree.add_problem(path, f"'{file}' cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}")
        return None
    if not text or len(text) > MAX_CONDUCT:
        tree.add_problem(path, f"'{file}' is {'empty' if not text else f'longer than {MAX_CONDUCT} characters'}")
    return CodeOfConduct(text, tree.origin_of(path))


def _phrase_list(tree: YamlTree, index: int, name: str, sources: CalendarSources) -> str:
    file = (sources.base / name).absolute()
    if not sources.is_elsewhere and not file.is_file():
        tree.add_problem(("phrase_lists", index), f"the file '{file}' does not exist")
    return str(file)


def _person(
    reader: RulesReader, name: str, raw: RawPerson, profiles: dict[str, Profile], network: NetworkSettings
) -> Person:
    path = ("people", name)
    tree = reader.tree
    if raw.timezone is not None:
        network_settings.check_timezone(tree, (*path, "timezone"), raw.timezone)
    if raw.age is not None and raw.profile is not None:
        tree.add_problem((*path, "profile"), f"{name} has both an age and a profile: leave out one", key=True)
    # A clock without a battery shows less than when Hedgerow was built, and nobody was born in its future.
    today = datetime.fromtimestamp(max(time.time(), Path(hedgerow.__file__).stat().st_mtime), reader.zone).date()
    born = None if raw.born is None else _born(tree, path, name, raw, today)
    age = raw.age if born is None else age_on(born, today)
    profile = network_settings.known_profile(tree, (*path, "profile"), raw.profile, profiles)
    if profile is None:
        profile = network.unknown_devices if age is None else profile_for_age(age)
    conditions = tuple(each for each in CONDITIONS if getattr(raw, each))
    return Person(
        name,
        profile,
        age,
        raw.timezone,
        reader.read(raw, path),
        reader.origin(path, key=True),
        conditions=conditions,
        upstream=network_settings.read_own_upstreams(tree, (*path, "upstream"), raw.upstream, network.resolver),
        born=born,
    )


def _born(tree: YamlTree, path: KeyPath, name: str, raw: RawPerson, today: date) -> Born | None:
    """Read a month of birth; None, with a problem, together with an age or a profile, or if it can't be right."""
    assert raw.born is not None
    for key, other in (("age", raw.age), ("profile", raw.profile)):
        if other is not None:
            tree.add_problem((*path, key), f"{name} has both `born` and `{key}`: leave out one", key=True)
            return None
    try:
        return parse_born(raw.born, today)
    except ValueError as error:
        tree.add_problem((*path, "born"), str(error))
        return None
