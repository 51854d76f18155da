"""Fetching and compiling of lists, and their health."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from list_server import ListServer, text

from hedgerow.app.control.lists import list_sources as sources_module
from hedgerow.app.control.lists import updater as lists_module
from hedgerow.app.control.lists.list_jobs import CompileJob, FetchJob, run_compile, run_fetch
from hedgerow.app.control.lists.list_sources import fingerprint, recommended_sources, source_location, sources_of
from hedgerow.app.control.lists.updater import ListUpdater, coverage_of
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import CompileReport
from hedgerow.blocklists.download_store import FetchOutcome, FetchResult, failing_since, mark_failure, pointer_path
from hedgerow.blocklists.generation import REPORT
from hedgerow.blocklists.sources import Source, public_sources
from hedgerow.dashboards.coverage import CategoryCoverage, CoverageState, ListHealth
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy, parse_policy

STARTER = "network: {lists: starter}\n"


def policy_of(folder: Path, body: str) -> Policy:
    return parse_policy(body.encode(), folder / "hedgerow.yaml")


def test_two_lists_with_the_same_file_name(tmp_path: Path) -> None:
    for name, content in (
        ("one", "a.example\nb.example\n"),
        ("two", "c.example\nnot a name at all !!\nd.example\ne.example\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "list.txt").write_text(content)
    # Starter lists have names of their own; a list of the user may be called like one of them.
    body = (
        STARTER + "lists:\n  - {category: adult, path: one/list.txt, name: starter/adult}\n  - {category: adult, path:"
        " two/list.txt, name: mine}\n"
    )
    updater, policy = ListUpdater(tmp_path / "state"), policy_of(tmp_path, body)
    assert asyncio.run(updater.compile(policy))
    starter, *_, first, second = [row for row in updater.health(policy) if row.category == "adult"]
    assert (first.source, first.domains, first.unique, first.problem) == ("starter/adult", 2, 2, "")
    assert (second.source, second.domains) == ("mine", 3)
    assert second.problem
    assert (starter.source, starter.domains > 10) == ("starter/adult", True)


def test_fingerprint_depends_on_files_categories_and_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("a.example\n")
    sources = [Source("list", "adult", tmp_path / "list.txt")]
    seen = {fingerprint(sources)}
    assert fingerprint(sources) in seen
    (tmp_path / "list.txt").write_text("ab.example\n")
    seen.add(fingerprint(sources))
    monkeypatch.setattr(sources_module, "builtin_categories", lambda: ())
    seen.add(fingerprint(sources))
    monkeypatch.setattr(sources_module, "engine_digest", lambda: "another")
    seen.add(fingerprint(sources))
    assert len(seen) == 4


def test_fingerprint_depends_on_folders_and_included_files(tmp_path: Path) -> None:
    (tmp_path / "folder" / "adult").mkdir(parents=True)
    domains, main, part = tmp_path / "folder" / "adult" / "domains", tmp_path / "main", tmp_path / "part"
    for path, content in ((domains, "a.example\n"), (main, "include:part\n"), (part, "domain:b.example\n")):
        path.write_text(content)
    sources = [Source("folder", "adult", tmp_path / "folder"), Source("main", "social", main)]
    seen = {fingerprint(sources)}
    assert fingerprint(sources) in seen
    for path in (domains, part, tmp_path / "folder" / "adult" / "urls"):
        path.write_text("full:longer-than-before.example\n")
        seen.add(fingerprint(sources))
    assert len(seen) == 4


def names_of(updater: ListUpdater, host: str) -> set[str]:
    assert updater.generation
    catalogue = Catalogue.open(updater.generation)
    return set(catalogue.names_of(catalogue.host_mask(host)))


def test_large_lists_do_not_delay_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: socket.socket
) -> None:
    """The first start begins with the starter lists, a later one with what was in force."""
    (tmp_path / "list.txt").write_text("a.example\n")
    policy = policy_of(tmp_path, "lists: [{category: gambling, path: list.txt}]\n")
    updater = ListUpdater(tmp_path / "small", zygote=zygote)
    assert asyncio.run(updater.load_first_generation(policy, None))
    assert (names_of(updater, "a.example"), updater.is_stale(policy)) == ({"gambling"}, False)

    monkeypatch.setattr(lists_module, "COMPILE_FIRST_BYTES", 5)
    updater = ListUpdater(tmp_path / "large", zygote=zygote)
    assert asyncio.run(updater.load_first_generation(policy, None))
    assert (names_of(updater, "a.example"), names_of(updater, "www.tiktok.com")) == (set(), {"social"})
    assert updater.is_worth_compiling(policy)
    assert asyncio.run(updater.compile(policy))
    assert (names_of(updater, "a.example"), names_of(updater, "www.tiktok.com")) == ({"gambling"}, {"social"})

    again, last = ListUpdater(tmp_path / "large", zygote=zygote), updater.generation
    assert asyncio.run(again.load_first_generation(policy, last))
    assert (again.generation, again.is_stale(policy)) == (last, False)
    (tmp_path / "list.txt").write_text("another.example\n")
    again = ListUpdater(tmp_path / "large", zygote=zygote)
    assert asyncio.run(again.load_first_generation(policy, last))
    assert (names_of(again, "a.example"), again.is_stale(policy)) == ({"gambling"}, True)
    assert asyncio.run(again.compile(policy))
    assert (names_of(again, "a.example"), names_of(again, "another.example")) == (set(), {"gambling"})


@pytest.mark.parametrize(
    ("file", "size"), [("hosts/hosts-000.trie", 100), ("hosts/sets.bin", 1), ("urls/rules.bin", 8), (REPORT, 3)]
)
def test_a_damaged_generation_is_compiled_again(tmp_path: Path, file: str, size: int, zygote: socket.socket) -> None:
    (tmp_path / "list.txt").write_text("||a.example^\n||b.example/ads^\n")
    policy = policy_of(tmp_path, "lists: [{category: gambling, path: list.txt}]\n")
    updater = ListUpdater(tmp_path / "state", zygote=zygote)
    assert asyncio.run(updater.load_first_generation(policy, None))
    assert updater.generation is not None
    os.truncate(updater.generation / file, size)
    again = ListUpdater(tmp_path / "state", zygote=zygote)
    assert asyncio.run(again.load_first_generation(policy, updater.generation))
    assert (names_of(again, "a.example"), names_of(again, "www.tiktok.com")) == ({"gambling"}, {"social"})


def test_zeroed_files_are_detected(tmp_path: Path, zygote: socket.socket) -> None:
    """A generation, and what the lists were parsed to, as a disk gives them back that lost what was in them."""
    own = tmp_path / "list.txt"
    own.write_text("||a.example^\n||b.example/ads^\n")
    policy, state = policy_of(tmp_path, "lists: [{category: gambling, path: list.txt}]\n"), tmp_path / "state"
    updater = ListUpdater(state, zygote=zygote)
    assert asyncio.run(updater.load_first_generation(policy, None))
    generation = updater.generation
    assert generation
    kept = {path: path.read_bytes() for path in generation.rglob("*") if path.is_file() and path.parent.name != "texts"}
    assert len(kept) > 12
    for path, content in kept.items():
        for each in (path, *(state / "parsed").glob("*/*")):
            each.write_bytes(bytes(each.stat().st_size))
        again = ListUpdater(state, zygote=zygote)
        assert asyncio.run(again.load_first_generation(policy, generation)), path
        assert (again.generation, path.read_bytes() == content or path.name == REPORT) == (generation, True), path
        assert (names_of(again, "a.example"), names_of(again, "www.tiktok.com")) == ({"gambling"}, {"social"}), path


@pytest.mark.parametrize("one_job", [True, False])
def test_one_list_job_at_a_time_in_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_job: bool) -> None:
    (tmp_path / "mine.txt").write_text("a.example\n")
    body = "lists: [{category: adult, path: mine.txt}, {category: adult, url: https://publisher.example/list.txt}]\n"
    updater, policy = ListUpdater(tmp_path / "state", one_job=one_job), policy_of(tmp_path, body)
    working: list[str] = []
    seen: list[list[str]] = []

    async def work(name: str, job: CompileJob | FetchJob) -> None:
        working.append(name)
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(sorted(working))
        working.remove(name)

    async def fetch(job: FetchJob, _zygote: socket.socket | None) -> tuple[FetchResult, ...]:
        await work("fetch", job)
        return tuple(FetchResult(source, FetchOutcome.MISSING) for source in job.sources)

    async def compile_it(job: CompileJob, _zygote: socket.socket | None) -> CompileReport:
        await work("compile", job)
        return run_compile(job)

    monkeypatch.setattr(lists_module, "fetch_in_subprocess", fetch)
    monkeypatch.setattr(lists_module, "compile_in_subprocess", compile_it)

    async def both() -> None:
        fetching = asyncio.create_task(updater.fetch_if_due(policy))
        await asyncio.sleep(0)
        assert updater.is_worth_compiling(policy) is not one_job
        await asyncio.gather(updater.compile(policy), fetching)

    asyncio.run(both())
    assert (["compile", "fetch"] not in seen) is one_job
    assert ["fetch"] in seen or ["compile", "fetch"] in seen


async def compile_here(job: CompileJob, _zygote: socket.socket | None) -> CompileReport:
    """In this process, whose constants the test has changed."""
    return run_compile(job)


def test_recommended_lists_are_those_of_the_profiles_in_use(tmp_path: Path) -> None:
    """They are the default, also where there is no policy file; one line leaves them out."""
    assert recommended_sources(load_policy(None)) == recommended_sources(policy_of(tmp_path, "")) != []
    starter = policy_of(tmp_path, STARTER)
    assert recommended_sources(starter) == []
    assert all(source.url is None for source in sources_of(starter))
    network = "network: {unknown_devices: adult}\n"
    adults = {source.name for source in recommended_sources(policy_of(tmp_path, network))}
    family = {source.name for source in recommended_sources(policy_of(tmp_path, network + "people: {mia: {age: 6}}\n"))}
    assert "urlhaus" in adults
    assert adults < family
    assert {"hagezi-nsfw", "hagezi-bypass", "ut1-sexual-education"} <= family
    named = policy_of(tmp_path, network + "lists: [{source: urlhaus}]\n")
    assert [source.name for source in sources_of(named)].count("urlhaus") == 1
    own = "profiles: {ours: {extends: child-8-12}}\npeople: {mia: {profile: ours}}\n"
    assert "hagezi-nsfw" in {source.name for source in recommended_sources(policy_of(tmp_path, network + own))}


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListServer]:
    """Publishes every recommended list on this machine; none is there yet."""
    with ListServer().serving() as server:
        local = {
            name: replace(each, url=f"{server.root}/{name}", format="auto") for name, each in public_sources().items()
        }
        monkeypatch.setattr(sources_module, "public_sources", lambda: local)
        yield server


def test_secrets_in_the_url_of_a_list_are_not_shown(tmp_path: Path) -> None:
    """They would be read in metrics, in the log and on block pages."""
    url = "http://me:pass-word@127.0.0.1:1/list.txt?key=0123"
    policy, updater = (
        policy_of(tmp_path, f"lists: [{{category: adult, url: '{url}'}}]\nnetwork: {{lists: starter}}\n"),
        ListUpdater(tmp_path),
    )
    asyncio.run(updater.load_first_generation(policy, None))
    asyncio.run(updater.fetch_if_due(policy))
    (health,) = [each for each in updater.health(policy) if each.is_remote]
    assert health.source == "http://127.0.0.1:1/list.txt"
    assert source_location(health.source, policy) == ""
    shown = f"{health} {updater.problems(policy)}"
    assert "0123" not in shown, shown
    assert "pass-word" not in shown, shown


def test_public_lists_do_not_block_services_of_another_kind(
    tmp_path: Path, publisher: ListServer, zygote: socket.socket
) -> None:
    """Lists of chat sites also have messengers, which profiles leave open.

    A list of the policy's own may block what it likes.
    """
    chat = (
        "teams.microsoft.com\nwhatsapp.net\nmmg.whatsapp.net\nskype.com\ntrouter.io\nliveperson.com\nomegle.com\n"
        "chat.example\n"
    )
    publisher.paths["/ut1-chat"] = text((chat + "".join(f"chat-{number}.example\n" for number in range(200))).encode())
    (tmp_path / "mine.txt").write_text("imo.im\n")
    policy = policy_of(tmp_path, "people: {mia: {age: 9}}\nlists: [{category: random-chat, path: mine.txt}]\n")
    updater = ListUpdater(tmp_path / "state", zygote=zygote)
    assert asyncio.run(updater.load_first_generation(policy, None))
    asyncio.run(updater.fetch_if_due(policy))
    assert asyncio.run(updater.compile(policy))
    for host in (
        "teams.microsoft.com",
        "whatsapp.net",
        "mmg.whatsapp.net",
        "api.skype.com",
        "go.trouter.io",
        "va.v.liveperson.com",
    ):
        assert "random-chat" not in names_of(updater, host), host
    for host in ("omegle.com", "chat.example", "imo.im"):
        assert "random-chat" in names_of(updater, host), host


async def fetch_here(job: FetchJob, _zygote: socket.socket | None) -> tuple[FetchResult, ...]:
    return run_fetch(job)


def test_default_lists_are_fetched_and_starter_lists_stay_in_force(
    tmp_path: Path, publisher: ListServer, zygote: socket.socket
) -> None:
    policy, updater = load_policy(None), ListUpdater(tmp_path / "state", zygote=zygote)
    publisher.paths["/hagezi-nsfw"] = text("".join(f"adult-{number}.example\n" for number in range(200)).encode())
    assert asyncio.run(updater.load_first_generation(policy, None))
    assert publisher.asked == [], "a start waits for nobody"
    assert (names_of(updater, "www.tiktok.com"), names_of(updater, "adult-7.example")) == ({"social"}, set())
    asyncio.run(updater.fetch_if_due(policy))
    assert updater.is_stale(policy)
    assert asyncio.run(updater.compile(policy))
    assert (names_of(updater, "www.tiktok.com"), names_of(updater, "adult-7.example")) == ({"social"}, {"adult"})


@pytest.mark.parametrize(("luck", "share"), [(0.0, 1.0), (1.0, 0.75)])
def test_many_failures_are_one_warning_with_growing_pauses(
    tmp_path: Path,
    publisher: ListServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    luck: float,
    share: float,
) -> None:
    monkeypatch.setattr(lists_module, "random", SimpleNamespace(random=lambda: luck))
    policy, updater, now = load_policy(None), ListUpdater(tmp_path / "state"), 1000.0
    monkeypatch.setattr(lists_module, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    monkeypatch.setattr(lists_module, "fetch_in_subprocess", fetch_here)

    def asked() -> int:
        before = len(publisher.asked)
        asyncio.run(updater.fetch_if_due(policy))
        return len(publisher.asked) - before

    def check(pauses: tuple[int, ...], number: int) -> None:
        nonlocal now
        for pause in pauses:
            now += pause * share - 1
            assert asked() == 0
            now += 2
            assert asked() == number

    count = len(recommended_sources(policy))
    assert asked() == count > 20
    check((60, 120, 240, 480, 600, 600), count)
    publisher.paths["/hagezi-nsfw"] = text(b"a.example\n")
    check((600,), count)
    check((3600, 3600), count - 1)  # there is internet, so those that still fail are at fault themselves
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{count} of {count} lists could not be fetched" in warning


def test_coverage_from_the_first_start_to_a_list_that_is_dead(
    tmp_path: Path, publisher: ListServer, zygote: socket.socket
) -> None:
    """First nothing is here and nothing has failed, then one list is in force and others are missing, and in the end
    they are dead.
    """
    policy, updater, state = load_policy(None), ListUpdater(tmp_path / "state", zygote=zygote), tmp_path / "state"
    adult = [source.name for source in recommended_sources(policy) if source.category == "adult"]
    assert len(adult) > 1

    def coverage() -> CategoryCoverage:
        return next(
            row for row in coverage_of(updater.report, policy, updater.health(policy)) if row.category == "adult"
        )

    assert asyncio.run(updater.load_first_generation(policy, None))
    first = coverage()
    assert (first.state, first.is_thin, first.missing) == (CoverageState.FETCHING, True, ())
    assert [row.problem for row in updater.health(policy) if row.is_remote] == [""] * len(recommended_sources(policy))
    publisher.paths[f"/{adult[0]}"] = text(
        "".join(f"adult-{number}.example\n" for number in range(200)).encode(), '"1"'
    )
    asyncio.run(updater.fetch_if_due(policy))
    assert coverage().state is CoverageState.FETCHING, "a copy that is not compiled yet filters nothing"
    assert asyncio.run(updater.compile(policy))
    second = coverage()
    assert (second.state, second.names, second.lists) == (CoverageState.MISSING, first.names + 200, 2)
    assert second.missing == tuple(adult[1:])
    assert second.updated is not None

    week_ago = time.time() - 8 * 86400
    marks = list((state / "lists").glob("*.failing"))
    assert len(marks) == len(recommended_sources(policy)) - 1
    for mark in marks:
        os.utime(mark, (week_ago, week_ago))
    third = coverage()
    assert (third.state, third.dead) == (CoverageState.DEAD, tuple(adult[1:]))
    (row,) = [row for row in updater.health(policy) if row.source == adult[1]]
    assert row.problem == "its server has not sent it for 8 days: the server answered 404; there is no copy yet"

    again = ListUpdater(state, zygote=zygote)
    assert asyncio.run(again.load_first_generation(policy, updater.generation))
    assert coverage_of(again.report, policy, again.health(policy)) == coverage_of(
        updater.report, policy, updater.health(policy)
    ), "a restart forgets nothing"
    publisher.paths |= {f"/{name}": text(f"{name}.example\n".encode()) for name in adult[1:]}
    asyncio.run(again.fetch_if_due(policy))
    assert asyncio.run(again.compile(policy))
    assert [
        row.state for row in coverage_of(again.report, policy, again.health(policy)) if row.category == "adult"
    ] == [CoverageState.FULL]


def test_figures_are_of_the_copy_in_force_until_a_newer_one_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: socket.socket
) -> None:
    """A newer copy, or a restart with a generation from before, must not look as if the lists were empty."""
    with ListServer().serving() as server:
        server.paths["/list"] = text(b"a.example\nb.example\n", '"1"')
        policy = policy_of(
            tmp_path, STARTER + f"lists: [{{category: adult, name: remote, url: '{server.root}/list'}}]\n"
        )
        updater = ListUpdater(tmp_path / "state", zygote=zygote)
        asyncio.run(updater.fetch_if_due(policy))
        assert asyncio.run(updater.compile(policy))
        server.paths["/list"] = text(b"a.example\nb.example\nc.example\n", '"2"')
        asyncio.run(updater.fetch_if_due(policy, every=True))

    def row(updater: ListUpdater) -> tuple[int, bool]:
        (found,) = [row for row in updater.health(policy) if row.source == "remote"]
        return found.domains, found.waiting

    assert updater.is_stale(policy)
    assert row(updater) == (2, False)
    monkeypatch.setattr(lists_module, "COMPILE_FIRST_BYTES", 5)
    again = ListUpdater(tmp_path / "state", zygote=zygote)
    assert asyncio.run(again.load_first_generation(policy, updater.generation))
    assert again.is_stale(policy)
    assert row(again) == (2, False)


def test_a_list_that_another_process_has_fetched_no_longer_fails(tmp_path: Path, zygote: socket.socket) -> None:
    """`hedgerow lists update` fetches lists beside the running Hedgerow."""
    with ListServer().serving() as server:
        policy = policy_of(
            tmp_path, STARTER + f"lists: [{{category: adult, name: remote, url: '{server.root}/list'}}]\n"
        )
        running, command = (
            ListUpdater(tmp_path / "state", zygote=zygote),
            ListUpdater(tmp_path / "state", zygote=zygote),
        )

        def row() -> tuple[bool, str]:
            (found,) = [row for row in running.health(policy) if row.source == "remote"]
            return found.failed, found.problem

        asyncio.run(running.fetch_if_due(policy))
        assert row() == (True, "the server answered 404; there is no copy yet")
        server.paths["/list"] = text(b"a.example\n", '"1"')
        asyncio.run(command.fetch_if_due(policy, every=True))
        assert row() == (False, "")
        asked = len(server.asked)
        asyncio.run(running.fetch_if_due(policy))
        assert len(server.asked) == asked, "it is not due"


def test_a_failure_before_the_clock_was_set_is_not_weeks_old(tmp_path: Path) -> None:
    pointer = pointer_path(Source("list", "adult", url="https://lists.example/a"), tmp_path)
    mark_failure(pointer)
    (mark,) = tmp_path.glob("*.failing")
    os.utime(mark, (1000, 1000))
    assert failing_since(Source("list", "adult", url="https://lists.example/a"), tmp_path) is None
    mark_failure(pointer)
    assert mark.stat().st_mtime > time.time() - 3600


def test_a_list_is_fetched_again_when_due(tmp_path: Path, zygote: socket.socket) -> None:
    with ListServer().serving() as server:
        server.paths["/list"] = text(b"a.example\n", '"1"')
        body = STARTER + f"lists: [{{category: adult, name: remote, url: '{server.root}/list', refresh: 1h}}]\n"
        updater, policy = ListUpdater(tmp_path / "state", zygote=zygote), policy_of(tmp_path, body)

        def asked() -> int:
            asyncio.run(updater.fetch_if_due(policy))
            return len(server.asked)

        assert [asked(), asked()] == [1, 1]
        updater = ListUpdater(tmp_path / "state", zygote=zygote)
        assert asked() == 1, "a restart does not ask again either"
        (pointer,) = (tmp_path / "state" / "lists").glob("*.json")
        old = time.time() - 50 * 60
        os.utime(pointer, (old, old))
        assert [asked(), asked()] == [2, 2]
        assert server.asked[-1] == ("/list", '"1"')
        server.paths.clear()
        os.utime(pointer, (old - 3600, old - 3600))
        assert [asked(), asked()] == [3, 3], "what failed is not asked for again at once"
        (row,) = [row for row in updater.health(policy) if row.source == "remote"]
        assert "not refreshed for 2 hours" in row.problem


def test_pruning_keeps_the_generation_in_force(tmp_path: Path, zygote: socket.socket) -> None:
    (tmp_path / "list.txt").write_text("a.example\n")
    updater, policy = (
        ListUpdater(tmp_path / "state", zygote=zygote),
        policy_of(tmp_path, STARTER + "lists: [{category: adult, path: list.txt}]\n"),
    )
    assert asyncio.run(updater.compile(policy))
    first = updater.generation
    assert first is not None
    held_open = Catalogue.open(first)
    (tmp_path / "list.txt").write_text("other.example\n")
    assert updater.is_stale(policy)
    assert asyncio.run(updater.compile(policy))
    (first.parent / ".left-by-a-killed-compiler" / "texts").mkdir(parents=True)
    updater.prune({updater.generation})
    assert held_open.host_mask("a.example"), "a worker that has the old one open goes on with it"
    assert list((tmp_path / "state" / "generations").iterdir()) == [updater.generation] != [first]
    entries = len(list((tmp_path / "state" / "parsed").iterdir()))
    assert updater.report
    assert entries == len(updater.report.sources) + 1  # and the essential names
    # A start after this one finds all of it.
    again = ListUpdater(tmp_path / "state", zygote=zygote)
    assert asyncio.run(again.compile(policy))
    assert again.generation == updater.generation


def test_an_update_is_in_force_without_the_canaries_that_it_names(tmp_path: Path, zygote: socket.socket) -> None:
    others = "".join(f"n{number}.example\n" for number in range(50))
    with ListServer().serving() as server:
        server.paths["/list"] = text(others.encode(), '"1"')
        body = STARTER + f"lists: [{{category: adult, name: remote, url: '{server.root}/list', refresh: 1h}}]\n"
        updater, policy = ListUpdater(tmp_path / "state", zygote=zygote), policy_of(tmp_path, body)

        def update() -> ListHealth:
            asyncio.run(updater.fetch_if_due(policy, every=True))
            assert asyncio.run(updater.compile(policy))
            (row,) = [row for row in updater.health(policy) if row.source == "remote"]
            return row

        assert update().corrections == {}
        server.paths["/list"] = text(f"{others}new.example\nwww.bbc.co.uk\nbbc.co.uk\n".encode(), '"2"')
        row = update()
        assert (row.corrections, row.publisher, row.held, row.problem) == (
            {"bbc.co.uk": "news"},
            "127.0.0.1",
            False,
            "",
        )
        assert names_of(updater, "new.example") == {"adult"}
        assert "adult" not in names_of(updater, "www.bbc.co.uk")
        server.paths["/list"] = text(others.encode(), '"3"')
        assert update().corrections == {}
