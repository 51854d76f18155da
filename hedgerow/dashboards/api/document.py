"""API of the whole policy: read, checked, replaced and patched as one document or by entry, with entity tags.

Every change goes through the `PolicyEditor`, like those of the pages: comments stay, and each can be undone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import Header, HTTPException, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.api.problems import problem_responses
from hedgerow.dashboards.api.schema import Author
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.dashboards.edits.document import (
    Document,
    entry_tag,
    is_shallow,
    merge,
    read_document,
    rewrite_texts,
    texts_tag,
)
from hedgerow.dashboards.edits.policy_editor import InvalidPolicy, PolicyEditor, Rewrite, Texts
from hedgerow.dashboards.routes import MANAGE, ScopedRouter
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.reading.load import PolicyError
from hedgerow.policies.review import InvalidPolicyReport, PolicyReport, report_mistakes, report_policy

JSON, MERGE_PATCH, YAML = "application/json", "application/merge-patch+json", "application/yaml"


class Section(StrEnum):
    """Sections of the policy whose entries have names."""

    PEOPLE = "people"
    DEVICES = "devices"
    SEATS = "seats"
    PROFILES = "profiles"
    NOTICES = "notices"


class PreconditionFailed(InvalidInput):
    """The policy has changed since the client read it."""

    status = 412


class PreconditionRequired(InvalidInput):
    """A change of the whole policy needs the tag of what it replaces."""

    status = 428


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """A change of the policy.

    `id` is that of `GET /changes`, by which it can be undone; null if nothing had to change.
    """

    changed: bool
    id: int | None


type Outcome = DocumentChange | PolicyReport | InvalidPolicyReport
type Edited = Callable[[Document | None], Any]
"""Returns the new value of an entry, or None to remove it, given the old value, or None for a new entry."""

DryRun = Annotated[
    bool,
    Query(
        description="Change nothing, and return what `hedgerow check --json --diff` would say, with the `ETag` as "
        "it would be."
    ),
]
Sure = Annotated[bool, Query(description="Open something dangerous too.")]
IfMatch = Annotated[str | None, Header(max_length=200, description="The `ETag` of what is to be changed, or `*`.")]
IfNoneMatch = Annotated[str | None, Header(max_length=200, description="`*` to create only.")]
type EntryName = Annotated[str, Path(min_length=1, max_length=60)]

_OBJECT = {"type": "object", "additionalProperties": True}
_TEXT = {"type": "string"}
_ENTRY_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": _OBJECT}}}}
_WHOLE_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": _OBJECT}, YAML: {"schema": _TEXT}}}}
_PATCH_BODY = {
    "requestBody": {"required": True, "content": {MERGE_PATCH: {"schema": _OBJECT}, JSON: {"schema": _OBJECT}}}
}
_TAGGED = {"headers": {"ETag": {"description": "The tag for `If-Match`.", "schema": _TEXT}}}
_READ_ENTRY = {200: {"description": "The entry", "content": {JSON: {"schema": _OBJECT}}, **_TAGGED}}
_READ_WHOLE = {
    200: {"description": "The policy", "content": {JSON: {"schema": _OBJECT}, YAML: {"schema": _TEXT}}, **_TAGGED}
}
_REFUSALS = problem_responses(412, 415)


def add_document_routes(api: ScopedRouter, control: Control, editor: PolicyEditor, clock: Callable[[], float]) -> None:
    """Add the routes."""
    changes = DocumentChanges(control, editor, clock)
    _add_whole(api, changes)
    _add_entries(api, changes)


def _add_whole(api: ScopedRouter, changes: DocumentChanges) -> None:
    @api.serve("GET", "/policy", MANAGE, response_class=Response, responses=_READ_WHOLE)
    async def read_policy(request: Request) -> Response:
        """Return the policy with the files that it includes as JSON or, for `Accept: application/yaml`, the text of the
        main file.
        """
        texts = await changes.editor.texts()
        headers = {"ETag": texts_tag(texts), "Vary": "Accept"}
        if YAML in request.headers.get("accept", ""):
            return PlainTextResponse(texts[changes.editor.path.name], headers=headers, media_type=YAML)
        return JSONResponse(await changes.document(texts), headers=headers)

    @api.serve("PUT", "/policy", MANAGE, openapi_extra=_WHOLE_BODY, responses=_REFUSALS | problem_responses(428))
    async def replace_policy(
        request: Request,
        author: Author,
        response: Response,
        dry_run: DryRun = False,
        sure: Sure = False,
        if_match: IfMatch = None,
    ) -> Outcome:
        """Replace the policy by a JSON document, which keeps the comments of what stays, or the main file by a text in
        YAML.
        """
        if if_match is None and not dry_run:
            raise PreconditionRequired("Send the `ETag` of `GET /policy` as `If-Match`.")
        content, kind = await _body(request, JSON, YAML)
        if kind == YAML:
            return await changes.make(
                author, response, lambda texts: changes.with_main(texts, content), if_match, dry_run, sure=sure
            )
        wanted = _document(content)
        return await changes.make(
            author, response, lambda texts: changes.with_document(texts, wanted), if_match, dry_run, sure=sure
        )

    @api.serve("PATCH", "/policy", MANAGE, openapi_extra=_PATCH_BODY, responses=_REFUSALS)
    async def patch_policy(
        request: Request,
        author: Author,
        response: Response,
        dry_run: DryRun = False,
        sure: Sure = False,
        if_match: IfMatch = None,
    ) -> Outcome:
        """Change parts of the policy by a JSON merge patch (RFC 7396): null removes a key."""
        patch = _document((await _body(request, MERGE_PATCH, JSON))[0])

        def patched(texts: Texts) -> Texts:
            return changes.with_document(texts, merge(changes.read(texts), patch))

        return await changes.make(author, response, patched, if_match, dry_run, sure=sure)


def _add_entries(api: ScopedRouter, changes: DocumentChanges) -> None:
    @api.serve("GET", "/policy/{section}/{name}", MANAGE, response_class=Response, responses=_READ_ENTRY)
    async def read_entry(section: Section, name: EntryName) -> Response:
        """Return an entry of the policy as it is written: a person, a device, a seat, a profile or a recipient of
        notices.
        """
        entry = _find(await changes.document(await changes.editor.texts()), section, name)
        return JSONResponse(entry, headers={"ETag": entry_tag(entry)})

    @api.serve("PUT", "/policy/{section}/{name}", MANAGE, openapi_extra=_ENTRY_BODY, responses=_REFUSALS)
    async def put_entry(
        request: Request,
        author: Author,
        response: Response,
        section: Section,
        name: EntryName,
        dry_run: DryRun = False,
        sure: Sure = False,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Outcome:
        """Create an entry or replace it."""
        wanted = _document((await _body(request, JSON))[0])
        edited = changes.edited(section, name, lambda _before: wanted, if_match, if_none_match)
        return await changes.make(author, response, edited, None, dry_run, sure=sure, entry=(section, name))

    @api.serve("PATCH", "/policy/{section}/{name}", MANAGE, openapi_extra=_PATCH_BODY, responses=_REFUSALS)
    async def patch_entry(
        request: Request,
        author: Author,
        response: Response,
        section: Section,
        name: EntryName,
        dry_run: DryRun = False,
        sure: Sure = False,
        if_match: IfMatch = None,
    ) -> Outcome:
        """Change an entry by a JSON merge patch, such as a person's bedtime, budget or schedules."""
        patch = _document((await _body(request, MERGE_PATCH, JSON))[0])
        edited = changes.edited(section, name, lambda before: merge(_existing(before, name), patch), if_match)
        return await changes.make(author, response, edited, None, dry_run, sure=sure, entry=(section, name))

    @api.serve("DELETE", "/policy/{section}/{name}", MANAGE, responses=_REFUSALS)
    async def remove_entry(
        author: Author,
        response: Response,
        section: Section,
        name: EntryName,
        dry_run: DryRun = False,
        sure: Sure = False,
        if_match: IfMatch = None,
    ) -> Outcome:
        """Remove an entry. Rules of others that name it must go first."""

        def removed(before: Document | None) -> None:
            _existing(before, name)

        edited = changes.edited(section, name, removed, if_match)
        return await changes.make(author, response, edited, None, dry_run, sure=sure)


class DocumentChanges:
    """Changes of the policy's document by requests."""

    def __init__(self, control: Control, editor: PolicyEditor, clock: Callable[[], float]) -> None:
        self.editor = editor
        self._control, self._clock = control, clock

    async def document(self, texts: Texts) -> Document:
        """Return the document of policy files. Raises `InvalidInput`."""
        try:
            return await run_in_threadpool(self.read, texts)
        except ValueError as error:
            raise InvalidInput(str(error)) from None

    def read(self, texts: Texts) -> Document:
        return read_document(texts, self.editor.path.parent)

    def with_document(self, texts: Texts, wanted: Mapping[str, Any]) -> Texts:
        return rewrite_texts(texts, self.editor.path.parent, wanted)

    def with_main(self, texts: Texts, main: bytes) -> Texts:
        """Replace the main file. Raises ValueError for what is not UTF-8."""
        return texts | {self.editor.path.name: main.decode("utf-8-sig")}

    def edited(
        self, section: Section, name: str, edit: Edited, if_match: str | None = None, if_none_match: str | None = None
    ) -> Rewrite:
        """Return the change of one entry."""

        def rewrite(texts: Texts) -> Texts:
            document = self.read(texts)
            entries = document.get(section) or {}
            before = entries.get(name)
            if if_match is not None:
                _check_tag(if_match, entry_tag(before) if before is not None else "")
            if if_none_match is not None and before is not None:
                raise PreconditionFailed(f"There is an entry '{name}' already.")
            after = edit(before)
            others = {key: value for key, value in entries.items() if key != name}
            entries = others if after is None else entries | {name: after}
            return self.with_document(texts, document | {section.value: entries})

        return rewrite

    async def make(
        self,
        author: Principal,
        response: Response,
        rewrite: Rewrite,
        if_match: str | None,
        dry_run: bool,
        *,
        sure: bool,
        entry: tuple[Section, str] | None = None,
    ) -> Outcome:
        """Make a change, or report on it with `dry_run`.

        The response gets the tag of the result. Raises `InvalidInput`, and `DangerousOpening` unless `sure`.
        """

        def checked(texts: Texts) -> Texts:
            if if_match is not None:
                _check_tag(if_match, texts_tag(texts))
            return rewrite(texts)

        if dry_run:
            return await self._report(author, checked, response, entry)
        try:
            change = await self.editor.rewrite(
                author, "The policy by API" if entry is None else f"{entry[1]} by API", checked, sure=sure
            )
        except InvalidPolicy as error:
            error.more = {"problems": [asdict(each) for each in report_mistakes(error.problems, self._shown).problems]}
            raise
        response.headers["ETag"] = await self._tag(await self.editor.texts(), entry)
        return DocumentChange(change is not None, change.id if change is not None else None)

    async def _report(
        self, author: Principal, rewrite: Rewrite, response: Response, entry: tuple[Section, str] | None
    ) -> PolicyReport | InvalidPolicyReport:
        try:
            texts, policy = await self.editor.preview(rewrite, author)
        except PolicyError as error:
            return report_mistakes(error.problems, self._shown)
        response.headers["ETag"] = await self._tag(texts, entry)
        return await run_in_threadpool(report_policy, policy, self._clock(), self._control.policy())

    async def _tag(self, texts: Texts, entry: tuple[Section, str] | None) -> str:
        if entry is None:
            return texts_tag(texts)
        section, name = entry
        return entry_tag((await self.document(texts)).get(section, {}).get(name))

    def _shown(self, source: str) -> str:
        """Return a file's name relative to the policy file."""
        path, folder = PurePath(source), self.editor.path.parent.absolute()
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def _existing(entry: Document | None, name: str) -> Document:
    if entry is None:
        raise NoSuchEntry(f"the policy has no entry '{name}'")
    return entry


def _find(document: Document, section: Section, name: str) -> Document:
    entries = document.get(section)
    return _existing(entries.get(name) if isinstance(entries, dict) else None, name)


def _check_tag(wanted: str, tag: str) -> None:
    """Compare strongly (RFC 9110, section 13.1.1). Raises `PreconditionFailed`."""
    if tag and (wanted.strip() == "*" or tag in (each.strip() for each in wanted.split(","))):
        return
    raise PreconditionFailed("The policy has changed meanwhile: read it again.")


async def _body(request: Request, *kinds: str) -> tuple[bytes, str]:
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in kinds:
        raise HTTPException(415, f"Send {' or '.join(kinds)}.")
    return await request.body(), kind


def _document(content: bytes) -> Document:
    """Parse a JSON object. Raises HTTPException with the status 400."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    if not isinstance(value, dict) or not is_shallow(value):
        raise HTTPException(400, "The body is not a JSON object, or nested too deeply.")
    return value
