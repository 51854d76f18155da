"""The page of the signed statements, its link on the counter's page, and their routes of the API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hedgerow.app.signing_keys import public_key
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter, get
from hedgerow.dashboards.words.languages import language_of
from hedgerow.dashboards.words.session_kinds import kind_titles
from hedgerow.features.cafe.counter_store import CounterStore, EntryChain
from hedgerow.features.statements.chain import ChainReport, SignedStatement, StatementKey, verify_chain
from hedgerow.features.statements.counter_check import check_entries
from hedgerow.features.statements.keeper import ABOUT, NO_STATEMENT
from hedgerow.features.statements.store import StatementStore

SHOWN_DAYS = 31
_NDJSON = {"application/x-ndjson": {"schema": {"type": "string"}}}
_LINES: dict[int | str, dict[str, Any]] = {200: {"description": "One statement per line", "content": _NDJSON}}
_ENTRIES: dict[int | str, dict[str, Any]] = {200: {"description": "One entry per line", "content": _NDJSON}}
_PUBLIC_KEY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The public key", "content": {"application/x-pem-file": {"schema": {"type": "string"}}}}
}


class StatementPages(PageGroup):
    """Statements for inspections."""

    @get("/counter/statements", OPERATE, READ)
    async def statements(self, request: Request) -> Response:
        """Show the statements of the last days, and the result of a check of all."""
        context = self._context
        report, signed, numbers = await run_in_threadpool(self._checked)
        problems = (row.problem for row in context.control.status().features if row.about == ABOUT)
        return self._page(
            request,
            "statements/templates/page.html",
            problem=next(problems, "").removeprefix(NO_STATEMENT),
            report=report,
            signed=signed[: -SHOWN_DAYS - 1 : -1],
            numbers=numbers,
            kinds=kind_titles(context.policy(), language_of(request)),
        )

    def _checked(self) -> tuple[ChainReport | None, tuple[SignedStatement, ...], dict[str, str]]:
        """Return the result of a check, the statements, and the staff by their numbers. Waits for the disk."""
        context = self._context
        signed = StatementStore(context.reader.store).chain()
        try:
            key = _key(context)
        except (OSError, ValueError):
            return None, signed, {}
        people = {row.name for row in CounterStore(context.reader.store).staff()} | {
            row.name for row in context.accounts.accounts()
        }
        numbers = {key.number_of(name): name for name in sorted(people)}
        keys = [public_key(key.public_pem.encode())]
        return self._report(signed, keys) if signed else None, signed, numbers

    def _report(self, signed: tuple[SignedStatement, ...], keys: list[Ed25519PublicKey]) -> ChainReport:
        """Check all statements, and the counter's entries of the days that are shown."""
        found = verify_chain((each.line for each in signed), keys)
        shown = found.statements[-SHOWN_DAYS:]
        first = next((each.counter.first for each in shown if each.counter is not None), None)
        if first is None:
            return found
        entries = check_entries(EntryChain(self._context.reader.store).entries(first), shown)
        return replace(found, problems=(*found.problems, *entries.problems))


def _key(context: PageContext) -> StatementKey:
    """Return the site's key, which is made first if need be. Raises OSError and ValueError."""
    return StatementKey.load_or_make(Path(context.control.status().state) / "statements" / "key.pem")


def add_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the statements and the public key to the API."""

    @api.serve("GET", "/audit/statements", OPERATE, READ, response_class=Response, responses=_LINES)
    async def stated(site: Annotated[str | None, Query(max_length=100)] = None) -> Response:
        """Return the daily statements as lines of JSON, of this site or, from a store for several, of another."""
        store = context.reader.store if site is None else replace(context.reader.store, site=site)
        chain = await run_in_threadpool(StatementStore(store).chain)
        return Response("".join(f"{each.line}\n" for each in chain), media_type="application/x-ndjson")

    @api.serve("GET", "/audit/entries", OPERATE, READ, response_class=Response, responses=_ENTRIES)
    async def counter_entries(site: Annotated[str | None, Query(max_length=100)] = None) -> Response:
        """Return the counter's entries as lines of JSON, linked into the chain that the statements sign."""
        store = context.reader.store if site is None else replace(context.reader.store, site=site)
        chain = await run_in_threadpool(EntryChain(store).entries)
        return Response("".join(f"{each.line}\n" for each in chain), media_type="application/x-ndjson")

    @api.serve("GET", "/audit/key", OPERATE, READ, response_class=Response, responses=_PUBLIC_KEY)
    async def key() -> Response:
        """Return the public key with which this machine signs statements, or receipts for those of other sites."""
        try:
            found = await run_in_threadpool(_key, context)
        except (OSError, ValueError) as error:
            raise HTTPException(503, f"The key can't be used: {error}") from error
        return Response(found.public_pem, media_type="application/x-pem-file")


def _always(_context: PageContext, _subject: object) -> bool:
    return True


EXTENSIONS = Extensions(
    cards=(Card(place=Place.COUNTER, template="statements/templates/counter.html", read=_always),),
    page_groups=(StatementPages,),
    api_routes=(add_routes,),
)
