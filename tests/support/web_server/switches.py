"""The switches of a person's page, read as a person reads them, and what `decide` says of the same services
and topics.
"""

from __future__ import annotations

import functools
import html
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source, starter_sources
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Device, Grant, Pause, Policy, Request, RequestKind, Verdict
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.time_model import SpentBudget

TOPICS = tuple(each.name for each in builtin_categories() if each.kind is CategoryKind.BLOCK and each.name != ILLEGAL)
SUBJECTS = (*TOPICS, *Services.load().by_id)
_SWITCH = re.compile(
    r'<li id="switch-([\w-]+)"[^>]*><button role="switch" aria-checked="(true|false)"'
    r' name="(open|close)"[^>]*>(.*?)</button>(.*?)</li>',
    re.S,
)
_NOTE = re.compile(r"<(a|span)\b[^>]*>([^<]*)</\1>")
_CLOSURES = re.compile(r'id="closures">(.*?)</p>', re.S)


@dataclass(frozen=True)
class ShownSwitch:
    """A switch with its remarks. `button` is the field of the form that a tap sends."""

    id: str
    is_on: bool
    is_own: bool
    button: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ShownSwitches:
    """All switches of a page, and its sentences about closures of the internet."""

    by_id: dict[str, ShownSwitch]
    closures: str

    @staticmethod
    def of(browser: httpx.Client, name: str) -> ShownSwitches:
        """Read the switches of a person, which are on two pages."""
        answers = [browser.get(f"/people/{name}/{part}") for part in ("topics", "services?group=all")]
        assert all(answer.status_code == 200 for answer in answers), answers
        return ShownSwitches.read("".join(answer.text for answer in answers))

    @staticmethod
    def read(page: str) -> ShownSwitches:
        found = {}
        for id, checked, button, label, rest in _SWITCH.findall(page):
            notes = tuple(html.unescape(text) for _, text in _NOTE.findall(rest))
            found[id] = ShownSwitch(id, checked == "true", "own rule" in label, button, notes)
        said = _CLOSURES.search(page)
        return ShownSwitches(found, html.unescape(said[1]) if said else "")

    def is_closed(self, device: str | None = None) -> bool:
        """Tell whether the page says that the internet is closed, for the person or on a device."""
        everywhere = re.search(r"The internet is closed (?:now|until [^(]+) \(", self.closures) is not None
        if device is None:
            return everywhere
        if f"The internet is open on {device}." in self.closures:
            return False
        return everywhere or f"The internet is closed on {device} " in self.closures

    def is_open(self, subject: str, device: str | None = None) -> bool:
        """Tell what the page says about a subject at this moment, for the person or on a device."""
        switch = self.by_id[subject]
        elsewhere = (
            _first_word(switch.notes, rf"(open|closed) on {re.escape(device)}(?: until .*)?$") if device else None
        )
        if self.is_closed(device):
            here = device is not None and f"open even now on {device}" in switch.notes
            return here or ("open even now" in switch.notes and elsewhere != "closed")
        if elsewhere is not None:
            return elsewhere == "open"
        now = _first_word(switch.notes, r"(open|closed)(?! on | even )")
        return now == "open" if now is not None else switch.is_on


def _first_word(notes: Iterable[str], pattern: str) -> str | None:
    return next((match[1] for note in notes if (match := re.match(pattern, note))), None)


@functools.cache
def _lists() -> tempfile.TemporaryDirectory[str]:
    """Compile the starter lists, and a list with one host for each topic."""
    folder = tempfile.TemporaryDirectory()
    sources = [*starter_sources()]
    for topic in TOPICS:
        path = Path(folder.name) / f"{topic}.txt"
        path.write_text(f"{site_of(topic)}\n")
        sources.append(Source(f"one-{topic}", topic, path))
    compile_generation(sources, Path(folder.name) / "generation")
    return folder


def site_of(topic: str) -> str:
    """Return a host that belongs to this topic alone."""
    return f"only-{topic}.example"


def worker_view(
    policy: Policy,
    now: float,
    grants: tuple[Grant, ...] = (),
    pauses: tuple[Pause, ...] = (),
    spent: tuple[SpentBudget, ...] = (),
) -> LoadedSnapshot:
    """Return a worker's snapshot, with a site for each topic."""
    return LoadedSnapshot(Snapshot(1, now, policy, Path(_lists().name) / "generation", grants, pauses, spent))


def decided(view: LoadedSnapshot, device: Device, now: float) -> dict[str, bool]:
    """Return by subject whether `decide` lets a device have it."""
    ruleset = view.rulesets.ruleset(device, now)
    return {
        subject: decide(ruleset, view.catalogue, request_for(subject, device)).verdict is not Verdict.BLOCK
        for subject in SUBJECTS
    }


def request_for(subject: str, device: Device) -> Request:
    """Return a request for a site of a service or topic."""
    service = Services.load().by_id.get(subject)
    if service is not None and not service.domains:
        host, _, path = service.urls[0].partition("/")
        return Request(device.id, RequestKind.HTTP, host, url=f"https://{host}/{path}")
    host = service.domains[0] if service is not None else site_of(subject)
    return Request(device.id, RequestKind.DNS, host, dns_type="A")
