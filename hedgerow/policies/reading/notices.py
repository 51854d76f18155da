"""Reads the `notices` part of a policy file. Mistakes are added to the tree's problems."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hedgerow.policies.languages import LANGUAGES
from hedgerow.policies.notices import USUAL, Moment, Receiver, Topic
from hedgerow.policies.reading import yaml_tree
from hedgerow.policies.reading.schema import RawReceiver
from hedgerow.policies.reading.suggestions import suggest
from hedgerow.policies.reading.times import TimesReader
from hedgerow.policies.reading.yaml_tree import Tree
from hedgerow.policies.times.days import DAY_GROUPS, DAY_NAMES, parse_days
from hedgerow.policies.times.schedule import parse_clock

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""What a receiver may be called: the file with the address has that name."""


def read_notices(tree: Tree, times: TimesReader, raw: Mapping[str, RawReceiver]) -> dict[str, Receiver]:
    """Everybody who is told of something, by name."""
    return {name: _receiver(tree, times, name, entry) for name, entry in raw.items()}


def _receiver(tree: Tree, times: TimesReader, name: str, raw: RawReceiver) -> Receiver:
    path = ("notices", name)
    if NAME.fullmatch(name) is None:
        tree.add_problem(path, f"'{name}': a receiver's name has small letters, digits and hyphens, such as mother", key=True)
    return Receiver(
        name,
        USUAL if raw.about is None else _topics(tree, (*path, "about"), raw.about),
        None if raw.quiet is None else times.schedule(raw.quiet, (*path, "quiet")),
        None if raw.digest is None else _moment(tree, (*path, "digest"), raw.digest, weekly=False),
        None if raw.report is None else _moment(tree, (*path, "report"), raw.report, weekly=True),
        "en" if raw.language is None else _language(tree, (*path, "language"), raw.language),
    )


def _language(tree: Tree, path: yaml_tree.Path, text: str) -> str:
    if text not in LANGUAGES:
        tree.add_problem(path, f"'{text}' is not a language that Hedgerow speaks. There are {', '.join(LANGUAGES)}.")
    return text


def _topics(tree: Tree, path: yaml_tree.Path, texts: list[str]) -> tuple[Topic, ...]:
    found = []
    for index, text in enumerate(texts):
        if text in tuple(Topic):
            found.append(Topic(text))
        else:
            known = [topic.value for topic in Topic]
            message = f"'{text}' is nothing that there are notices about.{suggest(text, known)} There are {', '.join(known)}."
            tree.add_problem((*path, index), message)
    return tuple(dict.fromkeys(found))


def _moment(tree: Tree, path: yaml_tree.Path, text: str, weekly: bool) -> Moment | None:
    """`18:00` or `sun 18:00`."""
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
    return Moment(next(iter(days), None), minute)
