"""Built-in profiles (`policies/profiles/*.yaml`), and reading of those that a policy file changes or adds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Profile, Rules, Target
from hedgerow.policies.reading.rules import RulesReader
from hedgerow.policies.reading.schema import SCORE_KEYS, RawItem, RawProfile
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.suggestions import suggest

_ADULT_PROFILES = ("adult", "seat-adult", "guest")
BUILTIN_PROFILE_NAMES = (
    "child-under-8",
    "child-8-12",
    "teen-13-15",
    "teen-16-17",
    "adult",
    "seat-child",
    "seat-adult",
    "guest",
)


@cache
def _builtin_profiles() -> tuple[Profile, ...]:
    categories = [category.name for category in builtin_categories()]
    found = []
    for name in BUILTIN_PROFILE_NAMES:
        file_name = f"{name}.yaml"
        tree = yaml_tree.read_tree(
            (Path(__file__).parents[1] / "profiles" / file_name).read_bytes(), f"profiles/{file_name}"
        )
        scores = {key.name: key.kind(limit=key.profiles[name]) for key in SCORE_KEYS if name in key.profiles}
        raw = RawProfile.model_validate(tree.value).model_copy(update=scores)
        reader = RulesReader(tree, Services.load().by_id.keys(), categories)
        found.append(
            Profile(
                name,
                raw.title,
                reader.read(raw, ()),
                raw.why,
                raw.source,
                reader.origin(()),
                name not in _ADULT_PROFILES,
            )
        )
        if tree.problems:
            raise ValueError("\n".join(map(str, tree.problems)))
    return tuple(found)


def builtin_profiles() -> dict[str, Profile]:
    """Return the profiles that ship with Hedgerow, the youngest first."""
    return {profile.name: profile for profile in _builtin_profiles()}


class ProfilesReader:
    """Reader of the profiles of a policy, each on top of the one that it extends."""

    def __init__(self, reader: RulesReader) -> None:
        self._reader, self._tree = reader, reader.tree
        self._done: dict[str, Profile] = {}

    def read(self, raw: dict[str, RawProfile], builtin: dict[str, Profile]) -> dict[str, Profile]:
        """Return all profiles. One with a built-in name changes that profile; any other must extend one."""
        profiles = dict(builtin)
        for name in raw:
            self._resolve(name, raw, builtin, ())
        return profiles | self._done

    def _resolve(
        self, name: str, raw: dict[str, RawProfile], builtin: dict[str, Profile], above: tuple[str, ...]
    ) -> Profile:
        if name in self._done:
            return self._done[name]
        entry, path = raw[name], ("profiles", name)
        base_name = entry.extends or (name if name in builtin else None)
        base = Profile(name, name, Rules())
        if base_name is None:
            message = f"the profile '{name}' needs `extends`: one of {', '.join(builtin)}"
            self._tree.add_problem(path, message, key=True)
        elif base_name in (*above, name) and not (base_name == name and name in builtin):
            self._tree.add_problem(
                (*path, "extends"), f"the profile '{name}' extends itself: {' → '.join((*above, name, base_name))}"
            )
        elif base_name != name and base_name in raw:
            base = self._resolve(base_name, raw, builtin, (*above, name))
        elif base_name in builtin:
            base = builtin[base_name]
        else:
            hint = suggest(base_name, [*builtin, *raw])
            self._tree.add_problem((*path, "extends"), f"unknown profile '{base_name}'.{hint}")
        profile = self._merged_with_base(name, entry, base, path)
        self._done[name] = profile
        return profile

    def _merged_with_base(self, name: str, raw: RawProfile, base: Profile, path: yaml_tree.KeyPath) -> Profile:
        own = self._reader.read(raw.model_copy(update={"allow": [], "block": []}), path)
        # `own` holds those of `always`
        allow = (*self._changed(base.rules.allow, raw.allow, (*path, "allow"), base.name), *own.allow)
        block = self._changed(base.rules.block, raw.block, (*path, "block"), base.name)
        rules = Rules(
            tuple(target for target in allow if not _overrides(target, block, base.rules.block)),
            tuple(target for target in block if not _overrides(target, allow, base.rules.allow)),
            own.bedtime or base.rules.bedtime,
            own.safe_search or base.rules.safe_search,
            own.youtube or base.rules.youtube,
            own.privacy or base.rules.privacy,
            own.budget if own.budget is not None else base.rules.budget,
            (*(each for each in base.rules.schedules if each.name not in raw.schedules), *own.schedules),
            own.retention if own.retention is not None else base.rules.retention,
            own.content.over(base.rules.content),
        )
        title = raw.title or (base.title if name == base.name else name)
        return replace(
            base,
            name=name,
            title=title,
            rules=rules,
            why=raw.why or base.why,
            source=raw.source or base.source,
            origin=self._reader.origin(path, key=True),
        )

    def _changed(
        self, base: tuple[Target, ...], items: list[RawItem], path: yaml_tree.KeyPath, base_name: str
    ) -> tuple[Target, ...]:
        """Add the items `x` and `+x` to those of the base, and remove `-x`."""
        more = [(index, item) for index, item in enumerate(items) if item.what[:1] != "-"]
        added = self._reader.targets([(index, _named(item, item.what.removeprefix("+"))) for index, item in more], path)
        kept = list(base)
        for index, item in enumerate(items):
            if item.what[:1] != "-":
                continue
            for target in self._reader.targets([(index, _named(item, item.what[1:]))], path):
                if target.name == ILLEGAL:
                    self._tree.add_problem((*path, index), f"'{ILLEGAL}' cannot be removed: every profile blocks it")
                left = [other for other in kept if (other.kind, other.name) != (target.kind, target.name)]
                if len(left) == len(kept):
                    self._tree.add_problem(
                        (*path, index), f"'{base_name}' does not have '{target.name}', so it cannot be removed"
                    )
                kept = left
        return (*kept, *added)


def _named(item: RawItem, what: str) -> RawItem:
    return item.model_copy(update={"what": what})


def _overrides(target: Target, others: tuple[Target, ...], inherited: tuple[Target, ...]) -> bool:
    """Return whether the other list newly names the same thing, which overrides an inherited item."""
    return any((other.kind, other.name) == (target.kind, target.name) and other not in inherited for other in others)
