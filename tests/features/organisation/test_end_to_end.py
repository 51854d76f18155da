"""Two sites below an organisation in one store: its policy reaches them, a canary reaches one, and locked keys hold."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running_server
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until
from static_server import serving

from hedgerow.features.organisation.levels import OrganisationStore, SiteState
from hedgerow.journal.database import open_journal
from hedgerow.journal.store import StoreAddress

TABLET, BLOCKED = "127.0.0.2", ["0.0.0.0"]
SITE = "people:\n  mia: {age: 9, devices: [tablet]}\ndevices:\n  tablet: {ip: 127.0.0.2}\n"
BASE = "locked: [profiles.child-8-12.block]\nprofiles:\n  child-8-12: {block: [+secret.example]}\n"
CANARY = BASE.replace("+secret.example", "+secret.example, +news.example")


class Office:
    """The machine that looks after the store."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        server.execute("ALTER ROLE hedgerow CREATEROLE")
        self.folder = folder
        self.url = server.address(server.database()).url

    def run(self, *words: str, status: int = 0, is_output: bool | None = None) -> str:
        """Run a command. Returns its output, or its error with another `status` than 0 unless `is_output`."""
        done = hedgerow_command(*words, "--store", self.url, "--state", str(self.folder / "office"), timeout=180)
        assert done.returncode == status, (words, done.stderr)
        return done.stdout if is_output or status == 0 else done.stderr

    def publish(self, text: str, *words: str, status: int = 0, is_output: bool | None = None) -> str:
        file = self.folder / "base.yaml"
        file.write_text(text)
        return self.run("organisation", "publish", str(file), *words, status=status, is_output=is_output)

    def versions(self, *words: str) -> list[dict[str, object]]:
        return list(json.loads(self.run("organisation", "versions", "--json", *words)))

    def sites(self) -> dict[str, dict[str, object]]:
        return {each["site"]: each for each in json.loads(self.run("organisation", "sites", "--json"))}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with running_server() as server:
        (tmp_path / "office").mkdir(mode=0o700)
        yield Office(server, tmp_path)


def is_blocked(node: Hedgerow, host: str) -> bool:
    return kdig_addresses(node.dns, host, source=TABLET) == BLOCKED


def explained(node: Hedgerow, host: str) -> str:
    return node.run("explain", "tablet", host).stdout


def test_an_organisation_with_two_sites(whole_internet: SmallInternet, office: Office) -> None:
    assert "by which it reaches this machine instead" in office.run("store", "grant", "cafe-3"), "it is on loopback"
    with ExitStack() as running:
        nodes = {}
        for site, rights in (("cafe-1", ["--manage"]), ("cafe-2", [])):
            granted = json.loads(office.run("store", "grant", site, *rights, "--json"))
            network = network_section(whole_internet) + f'  store: "{granted["store"]}"\n  site: {site}\n'
            nodes[site] = running.enter_context(running_hedgerow(network + SITE))
        one, two = nodes["cafe-1"], nodes["cafe-2"]
        assert not is_blocked(one, "secret.example")
        office.publish(BASE)
        wait_until(
            lambda: is_blocked(one, "secret.example") and is_blocked(two, "secret.example"),
            30,
            "the organisation's rule",
        )
        assert "from the organisation's policy" in explained(one, "secret.example")

        # A site's own file does not get round it, and what was in force stays.
        good = one.policy_path.read_text()
        one.edit_policy(good + "profiles:\n  child-8-12: {block: []}\n")
        wait_until(lambda: "'profiles.child-8-12.block' is locked by the organisation" in one.stderr, 30, "the mistake")
        assert is_blocked(one, "secret.example")
        one.edit_policy(good)

        # Nor does a change of the organisation's file on the site's disk.
        level = one.directory / "organisation" / "organisation.yaml"
        level.write_text("")
        wait_until(lambda: level.read_text() == BASE, 30, "the file as it was")
        level.unlink()
        wait_until(lambda: level.exists() and is_blocked(one, "secret.example"), 30, "the file again")

        # One site first, then back.
        told = office.publish(CANARY, "--only", "cafe-2", "--note", "news, on trial")
        assert "at cafe-2 only. The only machine has it." in told
        wait_until(lambda: is_blocked(two, "news.example"), 30, "the version on trial")
        assert not is_blocked(one, "news.example")
        known = office.versions()
        assert [(each["sites"], each["summary"]) for each in known] == [(["cafe-2"], "news, on trial"), ([], "")]
        first = str(known[-1]["id"])
        assert "+  child-8-12: {block: [+secret.example, +news.example]}" in office.run("organisation", "diff", first)
        office.run("organisation", "publish", "--version", first)
        wait_until(lambda: not is_blocked(two, "news.example"), 30, "the earlier version again")

        # A site whose role manages it shares its own file, and no other site does.
        wait_until(lambda: office.versions("--site", "cafe-1"), 30, "the site's file in the store")
        assert [each["actor"] for each in office.versions("--site", "cafe-1")] == ["cafe-1"]
        changed = good.replace("age: 9", "age: 9, block: [own.example]")
        told = office.publish(changed, "--site", "cafe-1")
        assert "is published for cafe-1. The only machine has it." in told
        wait_until(lambda: is_blocked(one, "own.example"), 30, "the site's policy from the office")
        assert one.policy_path.read_text() == changed
        one.edit_policy(good)
        wait_until(lambda: len(office.versions("--site", "cafe-1")) == 3, 30, "a change at the site")
        for site in ("cafe-2", "cafe-9"):
            refusal = office.publish(good, "--site", site, status=1)
            assert f"{site} keeps its policy file for itself, so that nothing was published" in refusal
            assert office.versions("--site", site) == []
        assert "base.yaml:1:1: peopel: unknown key" in office.publish("peopel: {}\n", "--site", "cafe-1", status=1)

        # A version that a site cannot use stays away from it alone.
        file = office.folder / "base.yaml"
        file.write_text("locked: [people]\n" + BASE.partition("\n")[2])
        answers = json.loads(office.run("organisation", "publish", str(file), "--json", status=1, is_output=True))[
            "answers"
        ]
        assert {each["site"]: each["answer"] for each in answers} == {"cafe-1": "refused", "cafe-2": "refused"}
        assert all("locked by the organisation" in each["why"] for each in answers)
        assert not any("mia" in each["why"] for each in answers)
        assert "can't be used here" in one.stderr
        assert is_blocked(one, "secret.example")
        wait_until(lambda: "cafe-1" in office.sites(), 60, "a report")
        assert set(office.sites()) == {"cafe-1", "cafe-2"}
        local = ("--unix-socket", str(one.state / "run" / "control.sock"))
        page = curl("http://localhost/organisation", options=local).body.decode()
        assert "cafe-1" in page
        assert "cafe-2" not in page


@contextmanager
def simulated_sites(url: str, refusing: Collection[str], silent: Collection[str]) -> Iterator[None]:
    """A hundred sites that take over what is published, or refuse it, as their machines do."""
    over = threading.Event()
    empty = SiteState("0.2.0", "0123", {}, 5, {}, 0, 0, ())

    def answer(sites: dict[str, OrganisationStore]) -> None:
        while not over.wait(0.2):
            for site, store in sites.items():
                newest = store.levels().get("organisation")
                version = newest.id if newest is not None else 0
                if site in refusing:
                    state = replace(empty, refused={"organisation": version}, refusal="line 2: people.… is locked")
                else:
                    state = replace(empty, versions={"organisation": version})
                store.report("box", time.time(), state)

    with closing(open_journal(StoreAddress(url))) as owner:
        names = [f"cafe-{number}" for number in range(100)]
        sites = {name: OrganisationStore(replace(owner, site=name)) for name in names}
        for name in names:
            sites[name].report("box", time.time() - (600 if name in silent else 0), empty)
        answering = threading.Thread(target=answer, args=({name: sites[name] for name in names if name not in silent},))
        answering.start()
        try:
            yield
        finally:
            over.set()
            answering.join()


def test_a_version_is_tried_at_some_of_a_hundred_sites_first(office: Office) -> None:
    refusing, silent = {"cafe-7", "cafe-40", "cafe-99"}, {f"cafe-{number}" for number in range(50, 55)}
    office.run("organisation", "versions")  # makes the tables
    with simulated_sites(office.url, refusing, silent):
        stays = office.publish(BASE, "--canary", "cafe-1", "--canary", "cafe-7", status=1, is_output=True)
        assert "stays at cafe-1, cafe-7. Of 2 machines: 1 has it, 1 refuses it." in stays
        assert "cafe-7 (box): refused: line 2: people.… is locked" in stays
        assert [each["sites"] for each in office.versions()] == [["cafe-1", "cafe-7"]]
        told = office.publish(BASE, "--canary", "cafe-1", "--canary", "cafe-2", status=1, is_output=True)
        assert "is published for all sites. Of 100 machines: 92 have it, 3 refuse it, 5 are silent." in told
        assert all(f"  {site} (box): refused: line 2" in told for site in refusing)
        assert all(f"  {site} (box): silent\n" in told for site in silent)
        assert [each["sites"] for each in office.versions()] == [[], ["cafe-1", "cafe-2"], ["cafe-1", "cafe-7"]]


def test_a_site_without_the_store_follows_a_signed_bundle(whole_internet: SmallInternet, tmp_path: Path) -> None:
    base, served = tmp_path / "base.yaml", tmp_path / "served"

    def publish(text: str) -> str:
        base.write_text(text)
        words = (
            "organisation",
            "bundle",
            str(served),
            "--base",
            str(base),
            "--lists",
            "--key",
            str(tmp_path / "key.pem"),
            "--json",
        )
        return str(json.loads(hedgerow_command(*words, "--state", str(tmp_path / "office"), timeout=180).stdout)["key"])

    served.mkdir()
    (served / "list.txt").write_text("compiled.example\n")
    with serving(served) as url:
        policy = (
            BASE + f"network: {{lists: starter}}\nlists: [{{category: adult, url: '{url}/list.txt', name: ours}}]\n"
        )
        key = publish(policy)
        (served / "list.txt").unlink()  # the site can have it from the bundle only
        network = network_section(whole_internet) + f'  bundle: {{url: "{url}/bundle.json", key: "{key}"}}\n'
        with running_hedgerow(network + SITE) as node:
            wait_until(lambda: is_blocked(node, "secret.example"), 30, "the organisation's rule")
            assert "from the organisation's policy" in explained(node, "secret.example")
            wait_until(lambda: is_blocked(node, "compiled.example"), 60, "the compiled lists of the bundle")

            def look(name: str) -> None:
                node.edit_policy(node.policy_path.read_text().replace("/bundle.json", f"/bundle.json?{name}"))

            objects = set((served / "objects").iterdir())
            (served / "list.txt").write_text("compiled.example\nnewer.example\n")
            publish(policy)
            for each in set((served / "objects").iterdir()) - objects:
                each.unlink()
            look("newer")
            shown = ("lists", "status", "--state", str(node.state))
            wait_until(lambda: "its server answers 404" in hedgerow_command(*shown).stdout, 60, "the missing object")
            assert "those from before stay in force: the compiled lists of the bundle" in node.run("doctor").stdout
            assert is_blocked(node, "compiled.example")
            assert not is_blocked(node, "newer.example")
            bundle = json.loads((served / "bundle.json").read_text())
            (served / "bundle.json").write_text(json.dumps(bundle | {"signature": ""}))
            look("again")
            wait_until(lambda: "its signature is broken" in node.stderr, 60, "the broken signature")
            assert is_blocked(node, "secret.example")
