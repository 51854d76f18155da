"""Write the hashed hosts that no downloaded list may block by mistake: `hedgerow/blocklists/data/canaries.txt`.

    .venv/bin/python tools/canaries.py universities=world_universities_and_domains.json us-government=full.csv

The arguments name the stored files of the public sources in `SOURCES`. The checksums of these are compared, so that the
same bytes come out. The other hosts are the project's own: `tools/canaries.txt` and data that comes with Hedgerow.
A host must be a registered domain, so that nothing of strangers is kept open with it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from hedgerow.blocklists.canaries import canary_line, digest_of
from hedgerow.blocklists.names import load_public_suffixes, parse_host, registered_domain

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "tools" / "canaries.txt"
STARTER = ROOT / "hedgerow" / "blocklists" / "data" / "starter"
POLICIES = ROOT / "hedgerow" / "policies"
OUT = ROOT / "hedgerow" / "blocklists" / "data" / "canaries.txt"

_STARTER_TOPICS = {
    "education": "education",
    "health": "health",
    "kids": "children",
    "news": "news",
    "sexual-education": "sexual-education",
}
_NEVER_INSPECTED = {"banks": "bank", "health": "health", "government": "government"}


@dataclass(frozen=True, slots=True)
class Source:
    """A public source of facts, of which the first `taken` hosts by their hashes are canaries of `topic`."""

    name: str
    topic: str
    taken: int
    url: str
    licence: str
    sha256: str


SOURCES = (
    Source(
        "universities",
        "education",
        1150,
        "https://github.com/Hipo/university-domains-list",
        "MIT",
        "7cd554775f3a8a9e7fba876618f7c1ba816da81db00ae32652aa2a30e6ba28cd",
    ),
    Source(
        "us-government",
        "government",
        900,
        "https://github.com/cisagov/dotgov-data",
        "CC0 1.0",
        "2cf70e99bc8155438099a8d9258a2c1d5eb2e544c1241b9e932d5bbd4005cb0e",
    ),
)


def own_hosts() -> Iterator[tuple[str, str]]:
    """Yield the topic and the host of each line of the project's own files."""
    topic = ""
    for line in OWN.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            topic = line[2:]
        else:
            yield from ((topic, host) for host in line.split())
    for path in sorted(STARTER.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines() if path.stem in _STARTER_TOPICS else ():
            if line and not line.startswith("#"):
                yield _STARTER_TOPICS[path.stem], line.strip()
    for entry in yaml.safe_load((POLICIES / "lifelines.yaml").read_text(encoding="utf-8")):
        yield from (("helpline", host) for host in entry.get("hosts", ()))
    never = yaml.safe_load((POLICIES / "never_inspect.yaml").read_text(encoding="utf-8"))
    for group, topic in _NEVER_INSPECTED.items():
        yield from ((topic, host) for host in never[group])


def public_hosts(source: Source, path: Path) -> list[str]:
    """Return the hosts that are taken of a public source. Exits for another version of it."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        sys.exit(f"{source.name} is another version: its checksum is {found}")
    if path.suffix == ".json":
        names: Iterable[str] = (name for entry in json.loads(path.read_bytes()) for name in entry["domains"])
    else:
        with path.open(encoding="utf-8", newline="") as file:
            names = [row["Domain name"] for row in csv.DictReader(file)]
    sites = {host for host in map(parse_host, names) if host is not None and is_site(host)}
    return sorted(sites, key=digest_of)[: source.taken]


def is_site(host: str) -> bool:
    """Return whether a host is a registered domain, and not one under which others have their sites."""
    suffixes = load_public_suffixes()
    return registered_domain(host) == host and host not in suffixes.registries | suffixes.hosters


def render(hosts: dict[str, str]) -> str:
    """Return the file of canaries: `hosts` with the topic of each."""
    lines = [
        "# Hosts that no downloaded list may block by mistake, hashed (hedgerow/blocklists/canaries.py).",
        "# Written by tools/canaries.py; docs/lists.md names the sources. An asterisk: no model may learn from it.",
    ]
    for topic in sorted(set(hosts.values())):
        lines += [f"[{topic}]", *sorted(canary_line(host) for host, of in hosts.items() if of == topic)]
    return "\n".join(lines) + "\n"


def collect(paths: dict[str, Path]) -> dict[str, str]:
    """Return all canaries with their topics; the first source of a host decides."""
    hosts: dict[str, str] = {}
    for topic, host in own_hosts():
        if is_site(host):
            hosts.setdefault(host, topic)
    for source in SOURCES:
        if source.name not in paths:
            sys.exit(f"{source.name} is missing: {source.url}")
        for host in public_hosts(source, paths[source.name]):
            hosts.setdefault(host, source.topic)
    return hosts


def main() -> None:
    paths = {name: Path(path) for name, _, path in (argument.partition("=") for argument in sys.argv[1:])}
    hosts = collect(paths)
    OUT.write_text(render(hosts), encoding="ascii")
    print(f"{len(hosts):,} canaries")


if __name__ == "__main__":
    main()
