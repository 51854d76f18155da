"""Forms of a person's page for rules and times: nights, budgets, schedules, and rules for sites, services and topics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Path, Request
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import (
    BudgetLimit,
    budget_edit,
    budget_limits,
    find_person,
    parse_minutes,
    parse_name,
)
from hedgerow.dashboards.edits.rules import parse_note, parse_subject, parse_until, remove_rule_edits, rule_edits
from hedgerow.dashboards.edits.yaml_text import Edit, put, put_times, remove
from hedgerow.dashboards.pages.context import PageGroup, redirect_after_save
from hedgerow.dashboards.pages.forms import TypedForm, at_field, keeps_input
from hedgerow.dashboards.pages.people import form_fields, person_page, person_path
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.rules import bedtime_value, day_times, night_times, schedule_value
from hedgerow.policies.model import Person

type PersonName = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]


async def _again(group: PersonRulePages, request: Request, typed: TypedForm, values: dict[str, Any]) -> Response:
    return await person_page(group._context, request, values["name"], typed)


class PersonRulePages(PageGroup):
    """The forms below `/people/NAME` that change rules and times."""

    @post("/people/{name}/site", MANAGE)
    @keeps_input("site", "site", _again)
    async def set_rule(
        self, request: Request, name: PersonName, stance: FormText, site: FormText = "", until: FormText = "", note: FormText = ""
    ) -> Response:
        """Allow or block a site, service or topic, for good or until a date, with a note that the child sees too."""
        self._person(name)
        policy, reader = self._context.policy(), language_of(request)
        if stance not in ("allow", "block"):
            raise InvalidInput("Choose whether to allow or block it.")
        item = parse_subject(policy, site, reader)
        with at_field("until"):
            until = parse_until(until, self._context.clock(), labels.zone(policy.network.timezone))
        with at_field("note"):
            note = parse_note(note)
        edits = rule_edits(policy, name, item, allows=stance == "allow", until=until, note=note)
        return await self._save(request, name, "sites", _rule_summary(stance, until), *edits, what=title_of(item, reader), until=until)

    @post("/people/{name}/site/remove", MANAGE)
    async def remove_rule(self, request: Request, name: PersonName, site: FormText) -> Response:
        """Remove a rule by the name of its target in the policy, however the file spells it."""
        self._person(name)
        edits, reader = remove_rule_edits(self._context.policy(), name, site), language_of(request)
        return await self._save(request, name, "sites", message("No rule for %(what)s for %(name)s"), *edits, what=title_of(site, reader))

    @post("/people/{name}/nights", MANAGE)
    async def set_nights(self, request: Request, name: PersonName) -> Response:
        """Set the nights of ordinary weeks. The file keeps its own spelling if the form is unchanged."""
        form, now = await form_fields(request), night_times(self._person(name).rules.bedtime)
        value = bedtime_value(form)
        is_same = all((form.get(f"{day}-from", ""), form.get(f"{day}-to", "")) == times for day, times in now.items())
        edits = [] if is_same else [put_times(("people", name, "bedtime"), value)]
        return await self._save(request, name, "nights", message("%(name)s's nights"), *edits)

    @post("/people/{name}/budget", MANAGE)
    async def set_budget(
        self, request: Request, name: PersonName, what: FormText = "", school: FormText = "", weekend: FormText = ""
    ) -> Response:
        """Set minutes per day, of all use or of one subject. The file keeps its own spelling if the form is unchanged."""
        known = next((limit for limit in budget_limits(self._person(name).rules.budget) if limit.what == what), None)
        limit = BudgetLimit(what, parse_minutes(school), parse_minutes(weekend))
        is_same = known is not None and (known.school, known.weekend) == (limit.school, limit.weekend)
        text = message("%(name)s's time for %(what)s") if what else message("%(name)s's time")
        edits = [] if is_same else [budget_edit(name, limit)]
        return await self._save(request, name, "time", text, *edits, what=title_of(what, language_of(request)))

    @post("/people/{name}/schedule", MANAGE)
    async def set_schedule(self, request: Request, name: PersonName, schedule: FormText, what: FormText = "") -> Response:
        """Set the times of a schedule, or add one that closes `what`."""
        person, form = self._person(name), await form_fields(request)
        value, schedule = schedule_value(form), parse_name(schedule)
        known = next((each for each in person.rules.schedules if each.name == schedule), None)
        path = ("people", name, "schedules", schedule)
        if known is None:
            edits = [put(path, {"block": what or "internet", "when": value})]
        else:
            is_same = all(form.get(day, "").strip() == times for day, times in day_times(known.when).items())
            edits = [] if is_same else [put_times((*path, "when"), value)]
        return await self._save(request, name, "schedules", message("Times of %(schedule)s for %(name)s"), *edits, schedule=schedule)

    @post("/people/{name}/schedule/remove", MANAGE)
    async def remove_schedule(self, request: Request, name: PersonName, schedule: FormText) -> Response:
        names = {each.name for each in self._person(name).rules.schedules}
        if schedule not in names:
            raise InvalidInput("This schedule does not exist.")
        path = ("people", name, "schedules") if len(names) == 1 else ("people", name, "schedules", schedule)
        return await self._save(request, name, "schedules", message("Without %(schedule)s for %(name)s"), remove(path), schedule=schedule)

    async def _save(self, request: Request, name: str, part: str, summary: str, *edits: Edit, **values: object) -> Response:
        return redirect_after_save(person_path(name), await self._change(request, summary, *edits, name=name, **values), part)

    def _person(self, name: str) -> Person:
        return find_person(self._context.policy(), name)


def _rule_summary(stance: str, until: str) -> str:
    allows = stance == "allow"
    if until:
        ending = (message("Block %(what)s for %(name)s until %(until)s"), message("Allow %(what)s for %(name)s until %(until)s"))
        return ending[allows]
    return (message("Block %(what)s for %(name)s"), message("Allow %(what)s for %(name)s"))[allows]
