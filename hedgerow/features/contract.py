"""The contract of a feature: what it may give, and the parts of the core that its services may use.

Everything here is data. A feature names functions that import its modules and return what they have. A feature that the
policy does not use costs its `__init__`, the declarations of its keys and metrics, and its pages once they are loaded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from hedgerow.task_state import Area, StatusRow
from hedgerow.watched_tasks import Run

if TYPE_CHECKING:
    from hedgerow.app.bundles import LatestBundle
    from hedgerow.app.control.access_rule import AccessRule
    from hedgerow.app.control.shared_policy import OwnAnswer
    from hedgerow.app.control.snapshots.policy_of_today import GrowthOf
    from hedgerow.app.control.snapshots.publisher import PolicyFile
    from hedgerow.app.control.snapshots.sites_seen import SitesSeenFile
    from hedgerow.app.doctor.findings import Finding, Installation
    from hedgerow.app.settings import Settings
    from hedgerow.app.snapshot import LoadedSnapshot
    from hedgerow.blocklists.rules import Problem
    from hedgerow.dashboards.accounts import Accounts
    from hedgerow.dashboards.actions.operations import SessionControl, TimeControl
    from hedgerow.dashboards.control import Control
    from hedgerow.dashboards.edits.policy_editor import PolicyEditor
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.metrics import Metric, Metrics
    from hedgerow.dashboards.notices import Notice
    from hedgerow.dashboards.push import NoticeButton
    from hedgerow.dashboards.words.languages import Language
    from hedgerow.journal.access_store import GrantStore
    from hedgerow.journal.event_receiver import MessageBatch
    from hedgerow.journal.event_sender import MetricSeries
    from hedgerow.journal.reader import JournalReader, RequestRow
    from hedgerow.journal.recorder import RecordedMessage, Recorder
    from hedgerow.journal.store import Store
    from hedgerow.journal.usage import UsageStore
    from hedgerow.network.nft_sets import SetWriter
    from hedgerow.policies.model import Policy
    from hedgerow.policies.reading.feature_keys import FeatureKey, ScoreKey
    from hedgerow.policies.text.addresses import IpNetwork
    from hedgerow.policies.time_model import Bonus
    from hedgerow.proxy.scanners.scanner import ScoringScanner

type Handler = Callable[[MessageBatch, Any], Awaitable[object] | None]
"""Take a message of a worker, given the batch that it is part of. The next one waits until it is done."""

type Check = Callable[[Installation], Iterator[Finding]]
"""Yield the findings of `hedgerow doctor` about an installation, and change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlService:
    """A part of control, or of the gateway, that runs as long as its process does, or while the policy uses its
    feature.

    It may fail without the others. `run` runs until it is cancelled, or until it has nothing to do if it `may_end`.
    `handles` says who takes which messages of workers, by their type or by the name of the gauge that they set.
    `copies` gets what is recorded in the journal, from any thread. `prune` is awaited once an hour, with the
    time in seconds since the epoch, and deletes what is out of date. `status` returns what people should know now.
    `leases` returns the MAC addresses that it knows by IP address, for the next snapshot, `growth` what is decided
    about the profiles of people who grow up, and `hold` the policy without what may not be in force yet: the same
    object for the same policy while nothing changes, from any thread. `part` is what routes of the feature use.
    `refresh` is called when other machines have changed the store. `policy_problems` returns what is wrong with the
    policy, and is shown with the mistakes of its file. `close` is awaited when the process ends, after the last
    record, and when the policy no longer uses the feature.
    """

    name: str
    area: Area
    run: Run
    may_end: bool = False
    handles: Mapping[type | str, Handler] = field(default_factory=lambda: MappingProxyType({}))
    copies: Callable[[list[RecordedMessage]], None] | None = None
    prune: Callable[[float], Awaitable[object]] | None = None
    status: Callable[[], Iterable[StatusRow]] = tuple
    leases: Callable[[], Mapping[str, str]] | None = None
    growth: GrowthOf | None = None
    hold: Callable[[Policy], Policy] | None = None
    part: object = None
    refresh: Callable[[], None] | None = None
    policy_problems: Callable[[], tuple[Problem, ...]] = tuple
    close: Callable[[], Awaitable[None]] | None = None


class Snapshots(Protocol):
    """The rules in force, and the part of the journal that changes them.

    `view` is the snapshot, None before the first. `sites_seen` are those that are known here. `ledger` has requests,
    grants and pauses, `usage` sessions and minutes.
    """

    view: LoadedSnapshot | None
    policy_file: PolicyFile
    sites_seen: SitesSeenFile
    reader: JournalReader
    ledger: GrantStore
    usage: UsageStore

    @property
    def policy(self) -> Policy:
        """The policy in force."""

    def request(self) -> None:
        """Have a snapshot published soon."""

    async def put_in_force(self) -> None:
        """Have a snapshot published, and wait until all workers apply it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts of control that a feature's services may use. `erase` erases the past of a person, from a thread."""

    settings: Settings
    snapshots: Snapshots
    store: Store
    reader: JournalReader
    recorder: Recorder
    metrics: Metrics
    control: Control
    times: TimeControl
    editor: PolicyEditor
    accounts: Accounts
    notify: Callable[[Sequence[Notice]], None]
    reload_policy: Callable[[], None]
    bundle: LatestBundle
    own_answer: Callable[[], OwnAnswer]
    erase: Callable[[str], object]
    clock: Callable[[], float] = time.time
    made: dict[Callable[[Core], Any], Any] = field(default_factory=dict)
    making: threading.RLock = field(default_factory=threading.RLock)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.snapshots.policy

    def part[Part](self, make: Callable[[Core], Part]) -> Part:
        """Return a feature's own part of control, which is made when it is first asked for, from any thread."""
        with self.making:
            if make not in self.made:
                self.made[make] = make(self)
            part: Part = self.made[make]
            return part


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCore:
    """The parts of the gateway's process that a feature's services there may use.

    `view` returns the snapshot in force, None during start-up. `guarded_tunnel` returns the addresses of the tunnel
    home that the installed table knows, none while there is no table. `report` takes totals and levels of metrics, and
    `writer` writes elements of the table's sets.
    """

    settings: Settings
    view: Callable[[], LoadedSnapshot | None]
    guarded_tunnel: Callable[[], tuple[IpNetwork, ...]]
    report: Callable[[Mapping[MetricSeries, float]], None]
    writer: SetWriter

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        view = self.view()
        return view.policy if view is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A report of a device, such as a chore that is done, and who says yes to it."""

    request: RequestRow
    actor: str
    policy: Policy
    store: Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """Minutes for what was reported. `write` answers the report with them, and writes entries of the counter too."""

    bonus: Bonus
    write: Callable[..., None]


def _nothing(_core: Core) -> Sequence[ControlService]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """An optional capability. Whatever it does not give is left at its default.

    `name` is its folder's, and `summary` one sentence without a full stop. `needs` are the names of features that it
    imports.

    `conditions` are texts about what `unless` may name in a schedule, each named as the key of a person that sets it.
    `extensions` returns what it adds to the pages. `confirm` returns what a report earns, and None for another
    feature's. It runs in a thread. `notice_buttons` returns the buttons of a notice in a browser by its key, none for
    another feature's.

    `access_rule` returns the rule that every change of access passes, and `sessions` what begins, changes and ends
    sessions, while it is in use. At most one feature in use has each of them.

    `policy_keys` returns the keys of the policy file that it owns. It is in use while the policy has a value for one of
    them, or while `uses` says so of the rest of the policy, and if it `uses_store`, while the journal is in a store for
    several sites. One that `is_permanent` is always in use. With a `state_file`, it is also in use while that file is
    in the state directory. `services` returns what runs in control while it is in use, and `gateway_services` what runs
    in the gateway's process. These also run from a start on at which `gateway_leftovers` finds something of a run that
    was killed, and remove it. `checks` are the doctor's, and `metrics` its rows in the table of metrics.

    `score_keys` returns its keys of rules, in use while a scope has one switched on. `scanners` has, by their names,
    what returns the scanner for inspectors, or None if a library for it is not installed.

    `listeners` are the places of what opens the listeners of DNS transports, by their names in
    `hedgerow.policies.transports`. Each takes what `open_encrypted_server` takes, and returns an `EncryptedServer`.

    `commands` are the places of its commands by their words, such as `seat audit`, each as MODULE:NAME in its folder. A
    NAME of `app` is a group of commands.
    """

    name: str
    summary: str
    needs: tuple[str, ...] = ()
    policy_keys: Callable[[], Sequence[FeatureKey]] = tuple
    conditions: Mapping[str, str] = field(default_factory=dict)
    uses: Callable[[Policy], bool] = lambda _policy: False
    uses_store: bool = False
    is_permanent: bool = False
    state_file: str = ""
    score_keys: Callable[[], Sequence[ScoreKey]] = tuple
    scanners: Mapping[str, Callable[[], ScoringScanner | None]] = field(default_factory=dict)
    services: Callable[[Core], Sequence[ControlService]] = _nothing
    gateway_services: Callable[[GatewayCore], Sequence[ControlService]] | None = None
    gateway_leftovers: Callable[[], bool] = lambda: False
    access_rule: Callable[[Core], AccessRule] | None = None
    sessions: Callable[[Core], SessionControl] | None = None
    extensions: Callable[[], Extensions | None] = lambda: None
    confirm: Callable[[Confirmation], Earned | None] | None = None
    notice_buttons: Callable[[Store, str, Language], Sequence[NoticeButton]] = lambda _store, _key, _reader: ()
    checks: Callable[[], Sequence[Check]] = tuple
    metrics: Callable[[], Sequence[Metric]] = tuple
    listeners: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def is_used(self, policy: Policy, store: str = "", state: Path | None = None) -> bool:
        """Return True if the policy has a value for one of the feature's keys, or if policy, store or state use it."""
        if self.is_permanent:
            return True
        if self.state_file and state is not None and (state / self.state_file).exists():
            return True
        has_keys = any(key.settings.KEY in policy.features for key in self.policy_keys())
        return (
            has_keys
            or self.uses(policy)
            or bool(_wanted_by(policy, self.scanners))
            or (self.uses_store and bool(store))
        )

    def part(self, place: str) -> Any:
        """Import a part of the feature, by its MODULE:NAME."""
        module, _, name = place.partition(":")
        return getattr(import_module(f"{__package__}.{self.name}.{module}"), name)


def scanners_of(features: Sequence[Feature], policy: Policy) -> tuple[ScoringScanner, ...]:
    """Return the scanners that a policy wants. Only their modules are imported."""
    wanted = (feature.scanners[key]() for feature in features for key in _wanted_by(policy, feature.scanners))
    return tuple(each for each in wanted if each is not None)


def _wanted_by(policy: Policy, keys: Iterable[str]) -> list[str]:
    from hedgerow.policies.effective_users import are_scored

    return [key for key in keys if are_scored(policy, key)]


def extensions_of(features: Sequence[Feature]) -> Extensions:
    """Return what all features add to the pages, in their order."""
    from hedgerow.dashboards.extensions import Extensions

    found = (feature.extensions() for feature in features)
    return sum((each for each in found if each is not None), Extensions())
