"""Lists in force with their health, and adding and removing lists."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated

from fastapi import Form, Request
from starlette.responses import PlainTextResponse, Response

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.sources import public_sources
from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.edits.corrections import (
    correction_edit,
    corrections_by_topic,
    parse_exceptions,
    parse_site,
    removal_edit,
    render_exceptions,
)
from hedgerow.dashboards.edits.household import add_list_edit, remove_list_edit
from hedgerow.dashboards.edits.yaml_text import put
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_after_save, redirect_to, referring_page
from hedgerow.dashboards.routes import MANAGE, READ, get, post
from hedgerow.dashboards.words.labels import title_of, zone
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.network import ListSelection
from hedgerow.policies.targets import correctable_topics

type FormText = Annotated[str, Form(max_length=2000)]


class ListPages(PageGroup):
    """`/lists` and its forms."""

    @get("/lists", READ)
    async def lists(self, request: Request) -> Response:
        status, policy = self._context.control.status(), self._context.policy()
        own, reader = {source.name for source in policy.lists}, language_of(request)
        public = [name for name in public_sources() if name not in own]
        # the last choice: hardly anybody has such a list
        topics = sorted(builtin_categories(), key=lambda topic: topic.name == "illegal")
        titles = {topic.name: reader.category(topic.name, topic.title) for topic in topics}
        remembered = await self._context.sites.sites()
        here = zone(policy.network.timezone)  # the date is enough: the hour could tell who it was
        sites = [(site, datetime.fromtimestamp(site.at, here).date()) for site in remembered]
        lines = [each for each in status.list_problems if each.line is not None]
        return self._page(
            request,
            "lists.html",
            status=status,
            own=own,
            titles=titles,
            public=public,
            problems=lines,
            sites=sites,
            not_of=corrections_by_topic(policy),
            topics=[name for name in titles if name in correctable_topics(policy.categories)],
        )

    @get("/lists/guide", READ)
    async def guide(self, request: Request) -> Response:
        """Return the guide's part about the lists, for `live.js`."""
        return self._page(request, "guide_lists.html", status=self._context.control.status())

    @post("/lists", MANAGE)
    async def add(
        self, request: Request, source: FormText = "", url: FormText = "", category: FormText = ""
    ) -> Response:
        edit = add_list_edit(source, url.strip(), category)
        with at_field("url"):
            change = await self._change(request, message("The list %(name)s added."), edit, name=source or url.strip())
        return redirect_after_save("/lists", change)

    @post("/lists/selection", MANAGE)
    async def select(self, request: Request, lists: Annotated[ListSelection, Form()]) -> Response:
        """Use the recommended public lists, or the starter lists only."""
        chosen = None if lists is ListSelection.RECOMMENDED else lists.value
        summary = message("The public lists are used.") if chosen is None else message("Only the starter list is used.")
        change = await self._change(request, summary, put(("network", "lists"), chosen))
        page = referring_page(request)
        return redirect_to("/start/done") if page.startswith("/start") else redirect_after_save(page, change)

    @post("/lists/accept", MANAGE)
    async def accept(self, request: Request, name: FormText) -> Response:
        """Put the newer copy of a list into use that was held back."""
        await self._context.control.accept_list(name)
        return self._done(request, message("The new copy of %(name)s is used from now on."), name=name)

    @post("/lists/sites/correct", MANAGE)
    async def correct_site(self, request: Request, host: FormText) -> Response:
        """Open a site that was remembered for its pages, for good."""
        with contextlib.suppress(NoSuchEntry):  # removed by another person meanwhile, or expired
            await self._context.sites.correct(host, principal_of(request).name)
        return self._done(request, message("%(what)s is open for everybody from now on."), what=host)

    @post("/lists/corrections", MANAGE)
    async def correct_topic(self, request: Request, host: FormText, category: FormText) -> Response:
        """Say that a site is not of a topic, for everybody. All other rules apply to it."""
        edit, site = correction_edit(self._context.policy(), category, parse_site(host)), parse_site(host)
        topic = title_of(category, language_of(request))
        text = message("%(what)s does not count as %(topic)s.")
        return redirect_after_save(
            referring_page(request), await self._change(request, text, edit, what=site, topic=topic)
        )

    @post("/lists/corrections/remove", MANAGE)
    async def remove_correction(self, request: Request, host: FormText, category: FormText) -> Response:
        topic = title_of(category, language_of(request))
        text = message("%(what)s counts as %(topic)s again where lists say so.")
        change = await self._change(request, text, removal_edit(category, host), what=host, topic=topic)
        return redirect_after_save("/lists", change)

    @post("/lists/corrections/import", MANAGE)
    async def import_corrections(
        self, request: Request, category: FormText, text: Annotated[str, Form(max_length=400_000)]
    ) -> Response:
        """Take over corrections from another home."""
        policy = self._context.policy()
        with at_field("text"):
            edits = [correction_edit(policy, category, site) for site in parse_exceptions(text)]
        topic = title_of(category, language_of(request))
        summary = message("Corrections of %(topic)s taken over.")
        return redirect_after_save("/lists", await self._change(request, summary, *edits, topic=topic))

    @get("/lists/corrections/{category}.txt", MANAGE)
    async def export_corrections(self, category: str) -> Response:
        """Return the corrections of a topic as a list of exceptions, for other homes."""
        policy = self._context.policy()
        name = category if category in correctable_topics(policy.categories) else "none"
        sites = corrections_by_topic(policy).get(name, [])
        headers = {"content-disposition": f'attachment; filename="not-{name}.txt"'}
        return PlainTextResponse(render_exceptions(name, sites), headers=headers)

    @post("/lists/remove", MANAGE)
    async def remove(self, request: Request, name: FormText) -> Response:
        """Remove a list by the name on the page: its own, or its URL."""
        edit = remove_list_edit(self._context.policy(), name)
        return redirect_after_save(
            "/lists", await self._change(request, message("The list %(name)s removed."), edit, name=name)
        )
