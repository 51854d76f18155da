"""The lists in force, how they are, and lists of one's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.sources import public_sources
from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.pages.languages import language_of
from hedgerow.dashboards.pages.site import Site, back_to, visitor_of
from hedgerow.dashboards.policy_text import Edit, exclude, include

type FormText = Annotated[str, Form(max_length=2000)]


class ListPages:
    """`/lists` and its forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/lists", self.lists, methods=["GET"])
        router.add_api_route("/lists", self.add, methods=["POST"])
        router.add_api_route("/lists/remove", self.remove, methods=["POST"])

    async def lists(self, request: Request) -> Response:
        status, policy = self._site.control.status(), self._site.policy()
        own, reader = {source.name for source in policy.lists}, language_of(request)
        public = [name for name in public_sources() if name not in own]
        titles = {topic.name: reader.category(topic.name, topic.title) for topic in builtin_categories()}
        return self._site.renderer.page(
            request, "lists.html", status=status, own=own, titles=titles, public=public, problems=status.list_problems
        )

    async def add(self, request: Request, source: FormText = "", url: FormText = "", category: FormText = "") -> Response:
        entry: dict[str, str] = {"source": source} if source else {"category": category, "url": url.strip()}
        said = language_of(request).gettext("Add the list %(name)s", name=source or url.strip())
        change = await self._site.desk.change(visitor_of(request).name, said, include(("lists",), entry))
        return back_to("/lists", change)

    async def remove(self, request: Request, name: FormText) -> Response:
        """By the name that it has on the page: its own, or its address."""
        own = next((source for source in self._site.policy().lists if source.name == name), None)
        if own is None:
            raise Unfit("The policy file names no list '%(name)s'.", name=name)
        change = await self._site.desk.change(
            visitor_of(request).name, language_of(request).gettext("Remove the list %(name)s", name=name), *_every_spelling(name)
        )
        return back_to("/lists", change)


def _every_spelling(name: str) -> list[Edit]:
    return [exclude(("lists",), _Entry(name))]


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
