"""A site that takes the policies above it from a signed bundle: good ones, and all that must not be taken."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from journal_rows import NOW as JOURNAL_NOW
from journal_rows import TABLET, fill
from policy_samples import FILES, LEAVES, WHOLE, changed_value, named
from small_internet.running import hedgerow_command
from static_server import serving

from hedgerow.app.bundles import BUNDLE, OBJECTS, BundleError, check_age, key_text, open_bundle, write_bundle
from hedgerow.app.signing_keys import SigningKey
from hedgerow.dashboards.control import Status
from hedgerow.features.organisation.follower import OrganisationFollower, blocked_since
from hedgerow.journal.database import open_journal
from hedgerow.journal.recorder import Recorder
from hedgerow.policies.model import Observation, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.network import BundleSource
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.schema_types import KeyScope

NOW = 1_790_000_000.0
KEY, OTHER = SigningKey.make(), SigningKey.make()
BASE = "locked: [profiles.child-8-12.block]\nprofiles:\n  child-8-12: {block: [+roblox]}\n"
NORTH = "network: {timezone: Europe/Lisbon}\n"
SITE = "people:\n  mia: {age: 9}\n"


class Site:
    """A site with a follower, and a web server that serves the folder of the bundle."""

    def __init__(self, folder: Path, url: str) -> None:
        self.served, self.policy, self.now = folder / "served", folder / "site" / "hedgerow.yaml", NOW
        self.policy.parent.mkdir()
        self.policy.write_text(SITE)
        self.store = open_journal(folder / "journal.sqlite")
        self.source = BundleSource(f"{url}/{BUNDLE}", key_text(KEY.public), "north")
        self.folder = folder
        self.follower = self.started()

    def started(self) -> OrganisationFollower:
        policy = parse_policy(b"", None)
        return OrganisationFollower(
            self.folder,
            self.store,
            lambda: self.policy,
            lambda: Status("0", NOW, "UTC"),
            lambda: policy,
            lambda: 0,
            lambda: None,
            lambda: self.now,
        )

    def write(
        self, base: str = BASE, north: str = NORTH, key: SigningKey = KEY, at: float = NOW, days: float = 30
    ) -> None:
        write_bundle(self.served, {"@": (7, base), "@north": (9, north), "@south": (2, "people: {}")}, key, at, days)

    def wait(self, days: float) -> None:
        self.now += days * 86400

    def damage(self) -> None:
        for each in (self.served / OBJECTS).iterdir():
            each.write_text("x")

    def join(self, group: str) -> None:
        self.source = replace(self.source, group=group)

    def look(self) -> str:
        self.follower.take_bundle(self.source)
        return self.follower.problem

    def levels(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in sorted((self.policy.parent / "organisation").glob("*.yaml"))}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as url:
        found = Site(tmp_path, url)
        with closing(found.store):
            yield found


def test_a_site_takes_the_levels_of_its_bundle(site: Site) -> None:
    site.write()
    assert site.look() == ""
    assert site.levels() == {"organisation": BASE, "group": NORTH}
    assert site.follower.state().versions == {"organisation": 7, "group": 9}
    site.write(base=BASE.replace("+roblox", "+tiktok"), at=NOW + 60)
    assert site.look() == ""
    assert "+tiktok" in site.levels()["organisation"]
    (site.policy.parent / "organisation" / "group.yaml").unlink()
    site.follower = site.started()
    site.follower.restore()
    assert site.levels()["group"] == NORTH


RESERVED = [path for path, scope in LEAVES if scope is not KeyScope.MANAGE and path not in (("include",), ("locked",))]


def test_a_bundle_replaces_no_value_of_the_sites_own_file(site: Site) -> None:
    for name, text in FILES.items():
        (site.policy.parent / name).write_text(text)
    site.policy.write_text(json.dumps({key: value for key, value in WHOLE.items() if key not in ("include", "locked")}))

    def in_force() -> object:
        policy = parse_policy(site.policy.read_bytes(), site.policy)
        return policy.network, policy.people, policy.conduct, policy.phrase_lists, policy.features

    own, base = in_force(), {"lists": [{"category": "adult", "name": "another", "path": "more.yaml"}]}
    for path in (each for each in RESERVED if each[0] != "lists"):
        place: dict[str, Any] = base
        for step in named(path)[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = changed_value(path)
    site.write(json.dumps(base))
    assert site.look() == ""
    assert json.loads(site.levels()["organisation"]) == base
    assert in_force() == own


def rewritten(site: Site, **changes: object) -> None:
    """Change the manifest, and keep the signature."""
    bundle = json.loads((site.served / BUNDLE).read_text())
    bundle["manifest"] = json.dumps(json.loads(bundle["manifest"]) | changes, sort_keys=True, separators=(",", ":"))
    (site.served / BUNDLE).write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda site: rewritten(site, expires_at=2**33), "its signature is broken, or of another key"),
        (lambda site: (site.served / BUNDLE).write_text("<html>"), "it is not a bundle"),
        (lambda site: (site.served / BUNDLE).write_bytes(b"\xff" * 300_000), "larger than"),
        (lambda site: ((site.served / BUNDLE).unlink(), site.write(key=OTHER, at=NOW + 9)), "of another key"),
        (
            lambda site: ((site.served / BUNDLE).unlink(), site.write(at=NOW - 60)),
            "it is older than the one that was taken over last",
        ),
        (lambda site: (site.write(at=NOW + 9, days=1), site.wait(2)), "it expired at 2026-09-22 14:13 UTC"),
        (lambda site: site.write(at=NOW + 3 * 86400), "clock is wrong"),
        (lambda site: (site.write(base=NORTH, at=NOW + 9), site.damage()), "is not what"),
        (lambda site: site.write(base="locked: [people]\n", at=NOW + 9), "'people' is locked by the organisation"),
        (
            lambda site: site.write(north="profiles: {child-8-12: {block: []}}", at=NOW + 9),
            "is locked by the organisation",
        ),
        (lambda site: site.join("west"), "it has no group west"),
        (
            lambda site: site.write(base="network: {log_to: [/etc/cron.d/x]}", at=NOW + 9),
            "'/etc/cron.d/x' is not the name of a file",
        ),
        (
            lambda site: site.write(base="network: {log_to: [../admin-token]}", at=NOW + 9),
            "'../admin-token' is not the name of a file",
        ),
        (
            lambda site: site.write(north="include: [/etc/*.yaml]", at=NOW + 9),
            "'include' is not allowed in the group's file",
        ),
        (lambda site: site.write(base="code_of_conduct: rules.txt", at=NOW + 9), "rules.txt' cannot be read"),
    ],
)
def test_what_is_not_taken_over(site: Site, change: object, words: str) -> None:
    site.write()
    assert site.look() == ""
    assert callable(change)
    change(site)
    problem = site.look()
    assert words in problem
    assert site.levels() == {"organisation": BASE, "group": NORTH}
    site.follower = site.started()  # also after a restart
    assert words in site.look()
    assert site.levels() == {"organisation": BASE, "group": NORTH}


def test_a_server_that_is_away_is_no_problem_for_a_day(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write()
    assert site.look() == ""
    (site.served / BUNDLE).unlink()
    assert site.look() == ""
    monkeypatch.setattr("hedgerow.features.organisation.follower.PATIENCE_S", -1.0)
    assert "its server answers 404" in site.look()
    site.write(at=NOW + 9)
    assert site.look() == ""


def test_a_signature_of_something_else_is_none_of_a_bundle(tmp_path: Path) -> None:
    made = write_bundle(tmp_path, {"@": (1, BASE)}, KEY, NOW, 1)
    text = json.loads((tmp_path / BUNDLE).read_bytes())["manifest"]
    with pytest.raises(BundleError, match="signature"):
        open_bundle(json.dumps({"manifest": text, "signature": KEY.sign(text)}).encode(), KEY.public)
    assert write_bundle(tmp_path, {"@": (1, BASE)}, KEY, NOW - 900, 1).number == made.number + 1, (
        "a clock that went back makes no older one"
    )
    check_age(made, made.number, NOW)


def test_a_pipeline_writes_a_bundle_of_files(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "north.yaml").write_text(NORTH)
    key, out = tmp_path / "key.pem", tmp_path / "out"

    def run(*words: str) -> tuple[int, str]:
        base = ("organisation", "bundle", str(out), "--base", str(tmp_path / "base.yaml"), "--key", str(key))
        done = hedgerow_command(*base, *words)
        return done.returncode, done.stdout + done.stderr

    north = f"north={tmp_path / 'north.yaml'}"
    status, text = run("--group", north, "--json")
    assert status == 0, text
    facts = json.loads(text)
    assert len(base64.b64decode(facts["key"])) == 32
    assert (facts["levels"], key.stat().st_mode & 0o777) == (["@", "@north"], 0o600)
    opened = open_bundle((out / BUNDLE).read_bytes(), SigningKey.parse(key.read_bytes()).public)
    assert (out / OBJECTS / opened.levels["@"].digest).read_text() == BASE
    (tmp_path / "north.yaml").write_text(BASE)
    status, text = run("--group", north)
    assert status == 1
    assert "north.yaml has mistakes, and nothing was written" in text
    assert "locked by the organisation" in text
    key.write_bytes(OTHER.pem)
    status, text = run()
    assert (status, "has a bundle already" in text) == (1, True)


def test_blocks_by_category_name_no_site(site: Site) -> None:
    fill(site.store)
    rule = Observation(
        JOURNAL_NOW,
        TABLET,
        "mia",
        "child-8-12",
        RequestKind.DNS,
        Verdict.BLOCK,
        Reason.RULE,
        "secret.example",
        "secret.example",
    )
    recorder = Recorder(site.store, clock=lambda: JOURNAL_NOW)
    recorder.add([rule])
    recorder.flush()
    assert blocked_since(site.store, JOURNAL_NOW - 86400) == {"adult": 3}
    assert blocked_since(site.store, JOURNAL_NOW + 2 * 86400) == {}


def test_where_a_bundle_is_in_the_policy() -> None:
    good = f'network: {{bundle: {{url: "https://office.example/x/bundle.json", key: "{key_text(KEY.public)}", group: north}}}}'  # noqa: E501
    policy: Policy = parse_policy(good.encode(), None)
    assert policy.network.bundle == BundleSource("https://office.example/x/bundle.json", key_text(KEY.public), "north")
