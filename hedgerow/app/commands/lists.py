"""`hedgerow lists`: fetch, compile, check and search the lists."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from hedgerow.app.commands.options import (
    JsonOption,
    PolicyOption,
    StateOption,
    add_row,
    call_api,
    fail,
    find_policy,
    format_time,
    print_json,
    print_result,
    print_rows,
    printable,
    state_directory,
)
from hedgerow.app.control.lists.list_jobs import CompileError, ListFolders, newest_generation
from hedgerow.app.control.lists.list_sources import sources_of
from hedgerow.app.control.lists.updater import ListProgress, prepare_generation
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.download_store import FetchOutcome, FetchResult, accept_held_copy
from hedgerow.blocklists.list_parser import ParseCache, ParsedSource
from hedgerow.blocklists.names import host_of_url, parse_host
from hedgerow.blocklists.rule_locator import locate_all
from hedgerow.blocklists.rules import Origin, Problem
from hedgerow.blocklists.sources import Source, public_sources
from hedgerow.blocklists.url_index import OPAQUE_ORIGIN
from hedgerow.codec import decode, encode
from hedgerow.dashboards.coverage import CategoryCoverage, coverage_text
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.suggestions import suggest

SHOWN_PROBLEMS = 10_000
WRITING = "writing the index"
FEW = 20  # problems, up to which no summary is shown
WIDE = 100  # columns of a terminal that also has room for the format

app = typer.Typer(help="Fetch, compile and search the lists.", no_args_is_help=True)


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the coverage of each category, the lists in force, how many names only each of them has, and
    their problems.
    """
    current = call_api(state, "GET", "/status")
    if as_json:
        print_json(
            {name: current[name] for name in ("coverage", "lists", "lists_problem")}
            | {"problems": current["list_problems"]}
        )
        return
    if problem := current["lists_problem"]:
        print(printable(f"The lists could not be updated, and those from before stay in force: {problem}"), end="\n\n")
    _print_coverage(decode(tuple[CategoryCoverage, ...], encode(current["coverage"])))
    _print_status(current["lists"])


def _print_coverage(rows: Sequence[CategoryCoverage]) -> None:
    """Print a line for each category, red where it is recommended for somebody here and only the starter list is in
    force.
    """
    console = Console(highlight=False)
    table = Table(Column("category", no_wrap=True), Column("coverage", overflow="fold"), box=None, padding=(0, 1, 0, 0))
    for row in rows:
        style = "red" if row.is_thin else "yellow" if row.missing or row.dead else ""
        add_row(table, row.category, coverage_text(row, time.time()), style=style)
    console.print(table)
    console.print()


def _print_status(rows: list[dict[str, Any]]) -> None:
    """Print a row for each list that fits into 80 columns, then the problems and the ignored lines of each."""
    console = Console()
    is_wide = console.width >= WIDE
    numbers = [Column(title, justify="right", no_wrap=True) for title in _NUMBERS.values()]
    table = Table(
        Column("list", overflow="fold"), Column("category", no_wrap=True), *numbers, box=None, padding=(0, 1, 0, 0)
    )
    for title in ("seen", *(["format"] if is_wide else [])):
        table.add_column(title, no_wrap=True)
    for row in rows:
        seen = (
            time.strftime("%m-%d %H:%M", time.localtime(row["fetched"]))
            if row["fetched"]
            else "waiting"
            if row["waiting"]
            else "never"
        )
        cells = (
            row["source"],
            row["category"],
            *(f"{row[key]:,}" for key in _NUMBERS),
            seen,
            *([row["format"]] if is_wide else []),
        )
        add_row(table, *cells, style="red" if row["failed"] else "yellow" if row["held"] else "")
    console.print(table)
    for row in rows:
        for line in _remarks(row):
            print(printable(f"{row['source']}: {line}"))


def _remarks(row: dict[str, Any]) -> Iterator[str]:
    if row["failed"] or row["held"]:
        yield row["problem"]
    for host, topic in row["corrections"].items():
        yield f"taken without {host}, a site of {topic} that it names by mistake (publisher: {row['publisher']})"
    yield from (f"{count:,} × {kind}" for kind, count in row["problems"].items())
    yield from (f"{count:,} × ignored: {kind}" for kind, count in row["ignored"].items() if kind != "comments")


_NUMBERS = {"domains": "names", "unique": "unique", "url_rules": "rules"}


@app.command()
def public(as_json: JsonOption = False) -> None:
    """Show the public lists that a policy can use: `lists: [{source: NAME}]`."""
    known = public_sources().values()
    if as_json:
        print_json([asdict(source) for source in known])
        return
    category = ""
    for source in sorted(known, key=lambda each: (each.category, -each.size)):
        if source.category != category:
            category = source.category
            print(category)
        print(f"  {source.name}: about {source.size:,} names and rules, licence: {source.licence}, {source.homepage}")
        if source.default_for:
            print(f"    recommended for {', '.join(source.default_for)}")


@app.command()
def accept(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The list, as named by `hedgerow lists status`.")],
    policy: PolicyOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Use the newer copy of a list that was held back. A running Hedgerow picks it up by itself."""
    folders = ListFolders(state_directory(state))
    try:
        sources = [source for source in sources_of(load_policy(_policy_in_force(policy, folders.state))) if source.url]
        source = next((source for source in sources if source.name == name), None)
        if source is None:
            fail(f"The policy has no list with a URL called '{name}'.{suggest(name, [each.name for each in sources])}")
        with folders.locked():
            accepted = accept_held_copy(source, folders.downloads)
        folders.chown_to_owner()
    except PolicyError as error:
        fail(str(error))
    except OSError as error:
        fail(f"Can't accept it: {error.strerror}.")
    if not accepted:
        fail(f"No copy of '{name}' is held back.")
    print_result(as_json, {"accepted": name}, f"The newer copy of {name} is now in use.")


@app.command()
def remembered(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the sites that are blocked because their pages were recognised; `forget` opens one."""
    rows = call_api(state, "GET", "/sites/remembered")
    cells = (
        (row["host"], row["topic"], *(format_time(row[key], "%Y-%m-%d") for key in ("at", "ends"))) for row in rows
    )
    nothing = "No site is remembered for its pages."
    print_rows(rows, ("site", "topic", "last page", "until"), cells, nothing, as_json=as_json)


@app.command()
def forget(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A site, as named by `hedgerow lists remembered`.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a site that is remembered for its pages, for good: it is never remembered again."""
    name = parse_host(host) or fail(f"'{host}' is no host.")
    call_api(state, "DELETE", f"/sites/remembered/{name}")
    print_result(as_json, {"forgotten": name}, f"{name} is open, and is never remembered again.")


@app.command()
def compile(
    sources: Annotated[list[str], typer.Argument(metavar="CATEGORY=PATH…", help="Category and path of each list.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The output directory, which must not exist.")],
    as_json: JsonOption = False,
) -> None:
    """Compile lists without a running Hedgerow."""
    started = time.monotonic()
    wanted = [_source(text) for text in sources]
    _warn_of_categories(wanted)
    with _progress() as progress:
        task = progress.add_task("compiling", total=None)
        try:
            report = compile_generation(
                wanted, out, lambda name: progress.update(task, description=f"reading {name}" if name else WRITING)
            )
        except FileExistsError:
            fail(f"{out} already exists: choose another directory.")
        except OSError as error:
            fail(f"Can't compile into {out}: {error.strerror}.")
    figures = _figures(report, time.monotonic() - started)
    for problem in report.problems[:50]:
        print(printable(_problem_text(problem)), file=sys.stderr)
    print(json.dumps(figures) if as_json else ", ".join(f"{name} {value}" for name, value in figures.items()))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list: a file, an archive or a folder.")],
    category: Annotated[
        str, typer.Option("--category", help="The category of the list, which limits the names that it may contain.")
    ] = "adult",
    list_format: Annotated[
        str, typer.Option("--format", help="Read it in this format instead of detecting one.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show the format of a list and the reason for each unused line. The exit status is 1 if no line is used."""
    with tempfile.TemporaryDirectory() as folder:
        source = Source(str(file), category, file, format=list_format)
        parsed_source = ParseCache(Path(folder), max_problems=SHOWN_PROBLEMS).parse_source(source)[1]
    if as_json:
        counts = {name: getattr(parsed_source, name) for name in ("format", "lines", "names", "url_rules", "ignored")}
        problems = [asdict(problem) for problem in parsed_source.problems]
        print(json.dumps({**counts, "counts": parsed_source.problem_counts, "problems": problems}, indent=1))
    else:
        _print_check(file, parsed_source)
    raise typer.Exit(0 if parsed_source.names or parsed_source.url_rules else 1)


@app.command()
def lookup(
    targets: Annotated[list[str], typer.Argument(metavar="HOST-OR-URL…", help="The hosts or URLs to look up.")],
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="Compiled lists (default: those in force).")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which lists contain a host or a URL, and on which line."""
    folder = index or _generation_in_force(state_directory(state))
    try:
        catalogue = Catalogue.open(folder)
    except (OSError, ValueError) as error:
        fail(f"{folder} contains no compiled lists: {error}")
    matches = {target: _look_up(catalogue, target) for target in targets}
    if as_json:
        print_json(matches)
        return
    for target, rows in matches.items():
        is_invalid = parse_host(target) is None and host_of_url(_as_url(target)) is None
        print(
            printable(
                f"{target}: {'neither a host nor a URL' if is_invalid else 'not on any list'}" if not rows else target
            )
        )
        for row in rows:
            print(
                printable(
                    f"  {row['category']}: {Origin(row['source'], row['line'])}{f': {row["text"]}' if row['text'] else ''}"  # noqa: E501
                )
            )


@app.command()
def update(policy: PolicyOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Fetch and compile the lists of a policy now, also without a running Hedgerow."""
    folder, results = state_directory(state), list[FetchResult]()
    try:
        wanted = load_policy(_policy_in_force(policy, folder))
        with _progress(BarColumn(), _Sizes()) as progress:
            generation = asyncio.run(prepare_generation(wanted, folder, fetch=True, progress=_watch(progress, results)))
        ListFolders(folder).chown_to_owner()
    except (PolicyError, CompileError) as error:
        fail(str(error))
    if as_json:
        rows = [
            {"source": each.source.name, "outcome": each.outcome, "problem": str(each.problem or "")}
            for each in results
        ]
        print_json({"generation": str(generation), "lists": rows})
        return
    counts = ", ".join(f"{count} {outcome}" for outcome, count in Counter(each.outcome for each in results).items())
    print(f"{counts or 'Nothing to fetch'}. Compiled into {generation}; a running Hedgerow picks them up by itself.")


def _policy_in_force(path: Path | None, state: Path) -> Path | None:
    """The file of `--policy`, else that of the run on this state directory, else `hedgerow.yaml` here."""
    if path is None:
        try:
            return Settings.load(state).policy
        except (OSError, ValueError):
            pass
    return find_policy(path)


def _progress(*sizes: ProgressColumn) -> Progress:
    """A progress line for each task on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *sizes, TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Sizes(DownloadColumn):
    """Downloaded bytes; empty for the compiler's line."""

    def render(self, task: Task) -> Text:
        return Text() if task.fields.get("compiles") else super().render(task)


def _watch(progress: Progress, results: list[FetchResult]) -> ListProgress:
    """Report progress with a bar for each download and a line for the compiler.

    Each download is appended to `results`.
    """
    bars: dict[str, TaskID] = {}
    compiling: list[TaskID] = []

    def received(source: Source, size: int, total: int | None) -> None:
        if source.name not in bars:
            bars[source.name] = progress.add_task(source.name, total=total)
        progress.update(bars[source.name], completed=size, total=total)

    def fetched(each: FetchResult) -> None:
        if (bar := bars.pop(each.source.name, None)) is not None:
            progress.remove_task(bar)
        results.append(each)
        how = f" (to use it: `hedgerow lists accept '{each.source.name}'`)" if each.outcome is FetchOutcome.HELD else ""
        print(printable(f"{each.problem or f'{each.source.name}: {each.outcome}'}{how}"), file=sys.stderr)

    def compiled(name: str) -> None:
        if not compiling:
            compiling.append(progress.add_task("", total=None, compiles=True))
        # A list may be read before the next refresh is due.
        progress.update(compiling[0], description=f"reading {name}" if name else WRITING, refresh=True)

    return ListProgress(fetched, received, compiled)


def _problem_text(problem: Problem) -> str:
    return f"{problem}{f': {problem.text}' if problem.text else ''}"


def _print_check(file: Path, parsed_source: ParsedSource) -> None:
    for problem in parsed_source.problems:
        print(printable(_problem_text(problem)))
    for kind, count in parsed_source.problem_counts.most_common() if len(parsed_source.problems) > FEW else ():
        print(printable(f"{file}: {count:,} × {kind}"))
    for kind, count in parsed_source.ignored.items():
        print(printable(f"{file}: {count:,} × ignored: {kind}"))
    if parsed_source.format:
        counts = f"lines {parsed_source.lines:,}, names {parsed_source.names:,}, URL rules {parsed_source.url_rules:,}"
        print(printable(f"{file} has the format {parsed_source.format}: {counts}"))


def _source(text: str) -> Source:
    category, equals, path = text.partition("=")
    if not equals or not category or not path:
        fail(f"'{text}' is not CATEGORY=PATH, such as adult=lists/adult.txt.")
    if not Path(path).exists():
        fail(f"{path} does not exist.")
    return Source(name=path, category=category, path=Path(path))


def _warn_of_categories(sources: list[Source]) -> None:
    known = [category.name for category in builtin_categories()]
    for name in dict.fromkeys(source.category for source in sources if source.category not in known):
        print(printable(f"Hedgerow has no category called '{name}'.{suggest(name, known)}"), file=sys.stderr)


def _figures(report: CompileReport, seconds: float) -> dict[str, Any]:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "domains": report.domains,
        "url_rules": report.url_rules,
        "skipped": report.skipped,
        "seconds": round(seconds, 2),
        "peak_rss_mb": round(peak / 1024, 1),
        "index_bytes": report.index_bytes,
        "bytes_per_domain": round(report.index_bytes / report.domains, 2) if report.domains else 0.0,
    }


def _generation_in_force(state: Path) -> Path:
    """The generation of the run on this state directory or, if none has run, of `hedgerow lists update`."""
    try:
        return Snapshot.in_force(state).generation
    except (OSError, ValueError):
        found = newest_generation(ListFolders(state))
    return found or fail(f"The state directory {state} contains no compiled lists: name some with --index DIR.")


def _as_url(target: str) -> str:
    return target if "://" in target else f"http://{target}"


def _rules_about(catalogue: Catalogue, url: str) -> Iterator[tuple[str, Origin]]:
    """The rules that match a URL in any context: opened as a page, or loaded by a page of another site."""
    subresources = ((kind, OPAQUE_ORIGIN) for kind in ("script", "image", "xhr", "iframe", "media"))
    for kind, initiator in (("", ""), ("document", ""), *subresources):
        for match in catalogue.match_urls(url, kind, initiator):
            yield match.category, match.origin


def _look_up(catalogue: Catalogue, target: str) -> list[dict[str, Any]]:
    """A row for each line of a list that assigns a category to the host or URL, without those lifted by exceptions."""
    host, url = parse_host(target), _as_url(target) if "/" in target else ""
    host = host_of_url(url) if host is None and url else host
    if host is None:
        return []
    mask = catalogue.host_mask(host)
    mask &= ~catalogue.lifted_by_url(url, mask=mask) if url else mask
    found = [
        (category, origin) for category in catalogue.names_of(mask) for origin in locate_all(catalogue, host, category)
    ]
    found += _rules_about(catalogue, url) if url else []
    return [
        {"category": category, "source": origin.source, "line": origin.line, "text": origin.text}
        for category, origin in dict.fromkeys(found)
    ]
