"""`hedgerow organisation`: the policies above many sites, their versions, and the state of the sites."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hedgerow.app.bundles import BundleError, GenerationIndex, key_text, version_of, write_bundle
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    add_row,
    fail,
    format_time,
    print_json,
    print_result,
    print_rows,
    print_table,
    printable,
    state_directory,
)
from hedgerow.app.commands.store import owned_store
from hedgerow.app.control.lists.bundled_lists import index_of
from hedgerow.app.control.lists.list_jobs import CompileError, ListFolders
from hedgerow.app.control.lists.list_sources import CopyStatuses, sources_of
from hedgerow.app.control.lists.updater import ListProgress, ListUpdater, prepare_generation
from hedgerow.app.signing_keys import SigningKey
from hedgerow.blocklists.download_store import FetchResult
from hedgerow.blocklists.sources import public_sources
from hedgerow.features.organisation.answers import (
    SETTLE_S,
    NodeAnswer,
    SiteAnswer,
    count_answers,
    read_answers,
    unwell,
    wait_for_answers,
)
from hedgerow.features.organisation.levels import ORGANISATION, UP_S, OrganisationStore, check_level, level_name
from hedgerow.files import error_text, make_private_folder
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion, VersionConflict, lines_between
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.text.addresses import site_name_mistake

app = typer.Typer(
    help="Manage the policies above many sites in one store. Needs the role that owns the store.", no_args_is_help=True
)

GroupOption = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="The policy of a group (default: the organisation's).")
]
SiteOption = Annotated[str | None, typer.Option("--site", metavar="NAME", help="The policy of one site itself.")]
StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The database (default: the store of the last run).")
]


@contextlib.contextmanager
def _opened(url: str | None, state: Path | None) -> Iterator[OrganisationStore]:
    with owned_store(url, state_directory(state)) as (store, _):
        yield OrganisationStore(store)


def _level(group: str | None, site: str | None) -> str:
    """Return the name under which the versions of a level are kept. Ends the command for a name that is none."""
    try:
        return level_name(group, site)
    except ValueError as error:
        fail(f"{str(error)[0].upper()}{str(error)[1:]}.")


@app.command()
def publish(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The policy file.")] = None,
    version: Annotated[
        int | None, typer.Option(metavar="ID", help="Publish an earlier version again, instead of FILE.")
    ] = None,
    group: GroupOption = None,
    site: SiteOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SITE", help="Put it in force at this site only, to try it; may be repeated."),
    ] = None,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            "--canary", metavar="SITE", help="Try it at this site first, and go on if it is well; may be repeated."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, metavar="SECONDS", help="How long to wait for the sites' answers.")
    ] = 40,
    note: Annotated[str, typer.Option(help="What was changed, shown with the version.")] = "",
    url: StoreOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a policy, or an earlier version again, in force at all sites, a group, one site, or some sites first."""
    if (file is None) == (version is None):
        fail("Name a FILE, or an earlier version with --version.")
    if canary and (only or site):
        fail("--canary is for versions that all sites, or those of a group, get in the end.")
    level = _level(group, site)
    with _opened(url, state) as organisation:
        before = organisation.nodes()
        made = _published(organisation, level, file, version, note, tuple(canary or only or ()))
        answers = _answers(organisation, level, made, wait)
        if canary:
            time.sleep(SETTLE_S if wait and answers else 0)
            answers = _answers(organisation, level, made, 0)
            if unwell(answers, before) or not answers:
                _finish(made, answers, f"Version {made.id} stays at {', '.join(canary)}", as_json=as_json, failed=True)
            made = replace(made, sites=(), follows=made.id, at=time.time())
            try:
                made = replace(made, id=organisation.publish(level, made))
            except VersionConflict:
                fail("Somebody else has published a version meanwhile. Look at it and try again.", 1)
            answers = _answers(organisation, level, made, wait)
    whole = f"for the group {group}" if group else f"for {site}" if site else "for all sites"
    where = f"at {', '.join(only)} only" if only else whole
    _finish(made, answers, f"Version {made.id} is published {where}", as_json=as_json)


def _published(
    organisation: OrganisationStore,
    level: str,
    file: Path | None,
    again: int | None,
    note: str,
    sites: tuple[str, ...],
) -> PolicyVersion:
    """Publish a file, or the version `again`. Ends the command if it can't be."""
    versions = organisation.of_level(level)
    try:
        files = dict(versions.version(again).files) if again is not None else {MAIN_FILE: _text(file)}
        newest = versions.newest()
        if newest is None and not level.startswith(ORGANISATION):
            why = "a site shares it once it runs with a role of `hedgerow store grant --manage`"
            fail(f"{level} keeps its policy file for itself, so that nothing was published: {why}.", 1)
        summary = note or (f"version {again} again" if again is not None else "")
        follows = newest.id if newest is not None else 0
        author, node = getpass.getuser(), socket.gethostname()
        made = PolicyVersion(0, time.time(), author, summary, node, follows, files, sites)
        return replace(made, id=organisation.publish(level, made))
    except NoSuchEntry as error:
        fail(f"{error}.")
    except ValueError as error:
        fail(f"Nothing was published: {error}.")
    except PolicyError as error:
        problems = "\n".join(str(replace(problem, source=str(file or problem.source))) for problem in error.problems)
        fail(f"{file or f'Version {again}'} has mistakes, and nothing was published:\n{problems}", 1)
    except VersionConflict:
        fail("Somebody else has just published a version. Look at it and try again.", 1)


def _answers(
    organisation: OrganisationStore, level: str, version: PolicyVersion, wait_s: float
) -> tuple[NodeAnswer, ...]:
    return wait_for_answers(lambda: read_answers(organisation, level, version, time.time()), wait_s)


def _finish(
    version: PolicyVersion, answers: Iterable[NodeAnswer], first: str, *, as_json: bool, failed: bool = False
) -> None:
    """Print who has a version. Ends the command with 1 if a site refuses it, or if it `failed` at the first sites."""
    answers = sorted(answers, key=lambda each: (each.answer, each.site, each.node))
    counts = count_answers(answers)
    facts = {"version": version.id, "only": version.sites, "answers": [asdict(each) for each in answers]}
    lines = [
        f"  {each.site} ({each.node or 'never seen'}): {each.answer}{f': {each.why}' if each.why else ''}"
        f"{f' [{"; ".join(each.problems)}]' if each.problems else ''}"
        for each in answers
        if each.answer is not SiteAnswer.TAKEN or (failed and each.problems)
    ]
    print_result(as_json, facts, f"{first}. {_count_text(counts)}", *lines)
    if failed or counts[SiteAnswer.REFUSED]:
        raise typer.Exit(1)


_ANSWERS = {
    SiteAnswer.TAKEN: ("has it", "have it"),
    SiteAnswer.REFUSED: ("refuses it", "refuse it"),
    SiteAnswer.NONE_YET: ("has not answered yet", "have not answered yet"),
    SiteAnswer.SILENT: ("is silent", "are silent"),
}
"""What one machine does, and several."""


def _count_text(counts: Mapping[SiteAnswer, int]) -> str:
    """Return the sentence about how many machines have a version.

    >>> _count_text({SiteAnswer.TAKEN: 2, SiteAnswer.REFUSED: 1})
    'Of 3 machines: 2 have it, 1 refuses it.'
    >>> _count_text({SiteAnswer.REFUSED: 1})
    'The only machine refuses it.'
    """
    found = [(counts[each], texts[counts[each] > 1]) for each, texts in _ANSWERS.items() if counts.get(each)]
    match found:
        case []:
            return "No site has a machine yet."
        case [(1, text)]:
            return f"The only machine {text}."
    return f"Of {sum(count for count, _ in found)} machines: {', '.join(f'{count} {text}' for count, text in found)}."


def _text(file: Path | None) -> str:
    """Return the text of a policy file. Ends the command if it can't be read."""
    assert file is not None
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"Can't read {file}: {error}.")


@app.command()
def versions(
    group: GroupOption = None,
    site: SiteOption = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 20,
    url: StoreOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the versions of a policy with author and time."""
    with _opened(url, state) as organisation:
        found = organisation.of_level(_level(group, site)).latest(limit)
    facts = [{name: value for name, value in asdict(each).items() if name != "files"} for each in found]
    cells = (
        (
            str(each.id),
            format_time(each.at),
            f"{each.actor} on {each.node}",
            ", ".join(each.sites) or "everywhere",
            each.summary,
        )
        for each in found
    )
    titles = ("version", "when", "by", "where", "note")
    print_rows(facts, titles, cells, "There is no version yet.", as_json=as_json)


@app.command()
def diff(
    first: Annotated[int, typer.Argument(metavar="ID", help="The earlier version.")],
    second: Annotated[int | None, typer.Argument(metavar="ID", help="The later version (default: the newest).")] = None,
    group: GroupOption = None,
    site: SiteOption = None,
    url: StoreOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the lines in which two versions differ."""
    with _opened(url, state) as organisation:
        kept = organisation.of_level(_level(group, site))
        try:
            before = kept.version(first)
            after = kept.version(second) if second is not None else kept.newest()
        except NoSuchEntry as error:
            fail(f"{error}.")
    assert after is not None  # there is one before
    lines = lines_between(before.files, after.files)
    print_result(as_json, {"first": before.id, "second": after.id, "lines": lines}, *(lines or ["They are the same."]))


@app.command()
def bundle(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write it: a folder that a web server serves.")
    ],
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The organisation's policy (default: those in force in the store)."),
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME=FILE", help="The policy of a group; may be repeated.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The private key (default: one in the state directory), made if it is missing."
        ),
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="How long sites may take it over.")] = 30,
    lists: Annotated[
        bool,
        typer.Option(
            "--lists", help="Fetch and compile lists here, for the sites (default: those of the bundle before, if any)."
        ),
    ] = False,
    url: StoreOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a signed bundle of the policies in force, for sites that can't reach the store."""
    texts = _texts_of_files(base, group or []) if base is not None or group else _texts_of_store(url, state)
    compiled = _compiled(texts.get(ORGANISATION, (0, ""))[1], state_directory(state)) if lists else None
    try:
        signer = SigningKey.load_or_make(
            key.absolute() if key is not None else state_directory(state) / "bundle" / "key.pem"
        )
        made = write_bundle(folder, texts, signer, time.time(), days, compiled)
    except (OSError, ValueError) as error:
        fail(f"The bundle can't be written: {error_text(error)}.", 1)
    except BundleError as error:
        fail(f"{folder} has a bundle already, which stays: {error}.", 1)
    facts = {
        "number": made.number,
        "levels": sorted(texts),
        "key": key_text(signer.public),
        "expires_at": made.expires_at,
    }
    facts["lists_made_at"] = made.lists.made_at if made.lists is not None else None
    names = ", ".join(
        "the organisation" if level == ORGANISATION else level.removeprefix(ORGANISATION) for level in sorted(texts)
    )
    held = f"the policies of {names}{' and compiled lists' if made.lists is not None else ''}"
    print_result(as_json, facts, f"The bundle in {folder} holds {held}. Its key is: {key_text(signer.public)}")


def _compiled(base: str, state: Path) -> tuple[GenerationIndex, Path]:
    """Fetch and compile the organisation's lists and those recommended for any profile. Ends the command on failure."""
    profiles = sorted({profile for source in public_sources().values() for profile in source.default_for})
    everybody = parse_policy(
        "".join(["people:\n", *(f"  {each}: {{profile: {each}}}\n" for each in profiles)]).encode(), None
    ).people
    policy = replace(check_level(ORGANISATION, base, None), people=everybody)
    if local := [each.name for each in policy.lists if each.path]:
        fail(
            f"The policy names {', '.join(local)} by path: only the sites have these files, so they have to compile all lists themselves."  # noqa: E501
        )

    def fetched(each: FetchResult) -> None:
        if each.problem is not None:
            print(printable(str(each.problem)), file=sys.stderr)

    folder = make_private_folder(state / "bundle")
    try:
        progress = ListProgress(fetched, lambda *_: None, lambda _: None)
        generation = asyncio.run(prepare_generation(policy, folder, fetch=True, progress=progress))
        ListUpdater(folder).prune({generation})
        copies = CopyStatuses(ListFolders(folder).downloads)
        return index_of(generation, copies.with_paths(sources_of(policy)), copies), generation
    except (OSError, CompileError) as error:
        fail(f"The lists can't be compiled: {error_text(error)}.", 1)


def _texts_of_files(base: Path | None, groups: list[str]) -> dict[str, tuple[int, str]]:
    """Return the levels in files, with their texts checked. Ends the command for mistakes."""
    pairs = [(ORGANISATION, base)] if base is not None else []
    for each in groups:
        name, is_given, file = each.partition("=")
        if not is_given or site_name_mistake(name):
            fail(f"'{each}' is not a group with its file, such as north=north.yaml.")
        pairs.append((ORGANISATION + name, Path(file)))
    texts = {level: _text(file) for level, file in pairs}
    for level, path in pairs:
        try:
            check_level(level, texts[level], texts.get(ORGANISATION))
        except PolicyError as error:
            problems = "\n".join(str(replace(problem, source=str(path))) for problem in error.problems)
            fail(f"{path} has mistakes, and nothing was written:\n{problems}", 1)
    return {level: (version_of(text), text) for level, text in texts.items()}


def _texts_of_store(url: str | None, state: Path | None) -> dict[str, tuple[int, str]]:
    """Return the levels that are in force everywhere. Ends the command if there are none."""
    with _opened(url, state) as organisation:
        levels = [ORGANISATION, *(ORGANISATION + name for name in sorted(set(organisation.groups().values())))]
        newest = {level: organisation.of_level(level).newest("") for level in levels}
    texts = {level: (each.id, each.files[MAIN_FILE]) for level, each in newest.items() if each is not None}
    if not texts:
        fail("No policy of the organisation has been published yet: name a file with --base, or publish one.")
    return texts


@app.command()
def assign(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site, as in `network.site`.")],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group, or - for none.")],
    url: StoreOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a site into a group of sites."""
    for name in (site, *([group] if group != "-" else [])):
        if mistake := site_name_mistake(name):
            fail(f"{mistake}.")
    with _opened(url, state) as organisation:
        organisation.assign(site, "" if group == "-" else group)
    given = None if group == "-" else group
    print_result(
        as_json, {"site": site, "group": given}, f"{site} is in {f'the group {given}' if given else 'no group'}."
    )


@app.command()
def sites(url: StoreOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show all sites: up or down, versions of the policy, age of the lists, seats, and problems."""
    with _opened(url, state) as organisation:
        found = organisation.nodes()
    now = time.time()
    if as_json:
        print_json([asdict(each) | {"up": now - each.at < UP_S} for each in found])
        return
    table = Table("site", "group", "node", "state", "versions", "lists", "seats", "problems")
    for each in found:
        about = each.state
        up = (
            "up"
            if now - each.at < UP_S
            else f"silent since {datetime.fromtimestamp(each.at):%Y-%m-%d %H:%M}"
            if each.at
            else "never seen"
        )
        numbers = ", ".join(f"{level} {number}" for level, number in about.versions.items()) if about else ""
        age = f"{about.list_age_hours} h" if about and about.list_age_hours is not None else ""
        seats = f"{about.seats_in_use}/{about.seats}" if about and about.seats else ""
        add_row(
            table, each.site, each.group, each.node, up, numbers, age, seats, "; ".join(about.problems) if about else ""
        )
    print_table(table, "No site has reported yet.")
