"""The lists in force, how they are, and lists of one's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.sources import public_sources
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include
from hedgerow.dashboards.pages.context import PageContext, principal_of, redirect_after_save, redirect_to
from hedgerow.dashboards.words.languages import language_of
from hedgerow.policies.model import Policy

type FormText = Annotated[str, Form(max_length=2000)]


class ListPages:
    """`/lists` and its forms."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/lists", self.lists, methods=["GET"])
        router.add_api_route("/lists", self.add, methods=["POST"])
        router.add_api_route("/lists/remove", self.remove, methods=["POST"])
        router.add_api_route("/lists/accept", self.accept, methods=["POST"])

    async def lists(self, request: Request) -> Response:
        status, policy = self._context.control.status(), self._context.policy()
        own, reader = {source.name for source in policy.lists}, language_of(request)
        public = [name for name in public_sources() if name not in own]
        titles = {topic.name: reader.category(topic.name, topic.title) for topic in builtin_categories()}
        return self._context.renderer.page(
            request, "lists.html", status=status, own=own, titles=titles, public=public, problems=status.list_problems
        )

    async def add(self, request: Request, source: FormText = "", url: FormText = "", category: FormText = "") -> Response:
        said = language_of(request).gettext("Add the list %(name)s", name=source or url.strip())
        change = await self._context.editor.change(principal_of(request).name, said, add_list_edit(source, url.strip(), category))
        return redirect_after_save("/lists", change)

    async def accept(self, name: FormText) -> Response:
        """The newer copy that was held back."""
        await self._context.control.accept_list(name)
        return redirect_to("/lists")

    async def remove(self, request: Request, name: FormText) -> Response:
        """By the name that it has on the page: its own, or its address."""
        edit = remove_list_edit(self._context.policy(), name)
        said = language_of(request).gettext("Remove the list %(name)s", name=name)
        return redirect_after_save("/lists", await self._context.editor.change(principal_of(request).name, said, edit))


def add_list_edit(source: str, url: str, category: str) -> Edit:
    """What adds a public list by its name, or one by its address."""
    return include(("lists",), {"source": source} if source else {"category": category, "url": url})


def remove_list_edit(policy: Policy, name: str) -> Edit:
    """What takes a list of the policy file out, however it is written there. Raises `InvalidInput`."""
    if all(source.name != name for source in policy.lists):
        raise InvalidInput("The policy file does not contain a list '%(name)s'.", name=name)
    return exclude(("lists",), _Entry(name))


class _Entry:
    """Equal to an entry of `lists` that goes by this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict):
            return False
        # The name that a list goes by, as `policies.list_entries` has it.
        called = other.get("name") or other.get("source") or other.get("url") or other.get("path") or other.get("category")
        return str(called) == self._name

    __hash__ = None  # type: ignore[assignment]
