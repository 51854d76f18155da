"""Forms of a person's page: switches, nights, budgets, schedules, and rules for sites, services and topics."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.household import (
    BudgetLimit,
    budget_edit,
    budget_limits,
    find_person,
    may_mean_hours,
    parse_minutes,
    parse_name,
)
from hedgerow.dashboards.edits.rules import (
    choose_youtube_edits,
    close_until_edits,
    drop_youtube_edits,
    name_level_edit,
    parse_note,
    parse_subject,
    parse_until,
    remove_rule_edits,
    rule_edits,
    rule_end,
    switch_edits,
)
from hedgerow.dashboards.edits.times import (
    ScheduleEffect,
    ScheduleItems,
    holiday_edits,
    holiday_entry,
    presets,
    remove_schedule_edit,
    schedule_edits,
)
from hedgerow.dashboards.edits.yaml_text import put_times
from hedgerow.dashboards.pages.context import (
    PageContext,
    PageGroup,
    principal_of,
    redirect_after_save,
    redirect_to,
)
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.pages.forms import CHANGED_MEANWHILE, typed_fields, untouched_fields
from hedgerow.dashboards.pages.openings import ALLOW, ask_before, confirm, explain_obstacle, opened_path
from hedgerow.dashboards.pages.people import (
    FormText,
    PersonName,
    PersonPageGroup,
    has_effect,
    person_path,
)
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.switches import part_of
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.dashboards.words.reasons import duration_text
from hedgerow.dashboards.words.rules import Times, bedtime_value, day_times, night_times, schedule_value
from hedgerow.policies.access_subject import AccessSubject, access_subject, service_or_address
from hedgerow.policies.model import GrantDuration, TimedRules

_IDLE = message("The rule for %(what)s is saved for %(name)s, but it does not work yet.")
# Allowed, and with an end.
_RULED = {
    (False, False): message("%(what)s closed for %(name)s."),
    (False, True): message("%(what)s closed for %(name)s until %(until)s."),
    (True, False): message("%(what)s open for %(name)s."),
    (True, True): message("%(what)s open for %(name)s until %(until)s."),
}
_YOUTUBE = {
    False: message("%(what)s at YouTube open for %(name)s."),
    True: message("%(what)s at YouTube removed for %(name)s."),
}
"""Summaries of a change of the chosen channels and videos, by whether one is removed."""
_ENDS = ("from", "to")
_NO_LIMIT = message("no limit")
_TWO_LIMITS = message("%(school)s on school days, %(weekend)s at the weekend")
_UNITS = {"h": message("Hours"), "min": message("Minutes")}


class PersonRulePages(PersonPageGroup):
    """The forms below `/people/NAME` that change rules and times."""

    @post("/people/{name}/site", MANAGE, page="/people/{name}/sites")
    async def set_rule(
        self,
        request: Request,
        name: PersonName,
        stance: FormText,
        site: FormText = "",
        until: FormText = "",
        note: FormText = "",
        only_address: Annotated[bool, Form()] = False,
    ) -> Response:
        """Allow or block a site, service or topic, for good or until a date, with a note that the child sees too.

        A site that belongs to a service means the service, unless `only_address`.
        """
        self._person(name)
        policy, reader = self._context.policy(), language_of(request)
        if stance not in ("allow", "block"):
            raise InvalidInput("Choose whether to allow or block it.")
        address = parse_subject(policy, site, reader)
        subject = access_subject(policy, address, person=name, only_address=only_address)
        if stance == "allow" and (question := await ask_before(self._context, request, subject, ALLOW, field="stance")):
            return question
        with at_field("until"):
            until = parse_until(until, self._context.clock(), labels.zone(policy.network.timezone))
        with at_field("note"):
            note = parse_note(note)
        item, allows = subject.what, stance == "allow"
        works = await has_effect(self._context, request, name, item, closes=not allows)
        edits = rule_edits(policy, name, item, allows=allows, until=until, note=note, address=address)
        saved = await self._save(
            request,
            name,
            _RULED[allows, bool(until)] if works else _IDLE,
            *edits,
            what=title_of(item, reader),
            until=until,
        )
        return (await _own_obstacle(self._context, request, subject) if allows else None) or saved

    @post("/people/{name}/site/remove", MANAGE, page="/people/{name}/sites")
    async def remove_rule(self, request: Request, name: PersonName, site: FormText) -> Response:
        """Remove a rule by the name of its target in the policy, however the file spells it."""
        self._person(name)
        edits, reader = remove_rule_edits(self._context.policy(), name, site), language_of(request)
        return await self._save(
            request,
            name,
            message("The rule for %(what)s removed for %(name)s."),
            *edits,
            what=title_of(site, reader),
        )

    @post("/people/{name}/youtube", MANAGE, page="/people/{name}/protection")
    async def choose_youtube(
        self, request: Request, name: PersonName, item: FormText = "", remove: FormText = ""
    ) -> Response:
        """Open a channel or video of YouTube, or remove one. With the first, all others close."""
        self._person(name)
        policy = self._context.policy()
        edits = drop_youtube_edits(name, remove) if remove else choose_youtube_edits(policy, name, item)
        return await self._save(request, name, _YOUTUBE[bool(remove)], *edits, anchor="youtube", what=remove or item)

    @post("/people/{name}/names", MANAGE, page="/people/{name}/protection")
    async def judge_names(self, request: Request, name: PersonName, level: FormText = "") -> Response:
        """Choose what happens to unlisted sites whose names look like those of a blocked category."""
        edit = name_level_edit(self._context.policy(), self._person(name), level)
        return await self._save(
            request,
            name,
            message("Sites that no list has: changed for %(name)s."),
            *([] if edit is None else [edit]),
            anchor="names",
        )

    @post("/people/{name}/nights", MANAGE)
    async def set_nights(self, request: Request, name: PersonName) -> Response:
        """Set the nights of ordinary weeks. The file keeps its own spelling if the form is unchanged.

        Times that are sent as they were shown stay as they are now: somebody else may have changed them.
        """
        form, now = dict(await typed_fields(request)), night_times(self._person(name).rules.bedtime)
        in_force = {f"{day}-{end}": time for day, times in now.items() for end, time in zip(_ENDS, times, strict=True)}
        form |= {field: in_force[field] for field in await untouched_fields(request) if field in in_force}
        value = bedtime_value(form)
        is_same = all((form.get(f"{day}-from", ""), form.get(f"{day}-to", "")) == times for day, times in now.items())
        edits = [] if is_same else [put_times(("people", name, "bedtime"), value)]
        return await self._save(request, name, message("%(name)s's nights changed."), *edits)

    @post("/people/{name}/budget", MANAGE, page="/people/{name}/time")
    async def set_budget(
        self,
        request: Request,
        name: PersonName,
        what: FormText = "",
        school: FormText = "",
        weekend: FormText = "",
        every_day: FormText = "",
        unit: FormText = "",
        form: FormText = "",
    ) -> Response:
        """Set minutes per day, of all use or of one subject. A small number may be one of hours: ask which is meant.

        The file keeps its own spelling if the form is unchanged.
        """
        school, weekend, reader = every_day or school, every_day or weekend, language_of(request)
        if few := [each for each in dict.fromkeys((school, weekend)) if may_mean_hours(each)]:
            if question := await confirm(
                self._context,
                request,
                message("%(number)s minutes, or hours?"),
                message("The time for each day."),
                _UNITS,
                field="unit",
                leave=message("Back"),
                number=reader.comma.join(few),
            ):
                return question
            if unit == "h":
                school, weekend = (f"{each}h" if may_mean_hours(each) else each for each in (school, weekend))
        known = next((limit for limit in budget_limits(self._person(name).rules.budget) if limit.what == what), None)
        if known is None and what and form == f"budget-{what}":
            raise InvalidInput(CHANGED_MEANWHILE)  # it was removed
        with at_field("weekend"):
            on_weekends = parse_minutes(weekend)
        with at_field("school"):
            limit = BudgetLimit(what, parse_minutes(school), on_weekends)
        is_same = known is not None and (known.school, known.weekend) == (limit.school, limit.weekend)
        text = (
            message("%(name)s's time each day for %(what)s: %(time)s.")
            if what
            else message("%(name)s's time each day: %(time)s.")
        )
        edits = () if is_same else (budget_edit(name, limit),)
        return await self._save(
            request, name, text, *edits, what=title_of(what, reader), time=limit_text(limit, reader)
        )

    @post("/people/{name}/schedule", MANAGE, page="/people/{name}/schedules")
    async def set_schedule(
        self,
        request: Request,
        name: PersonName,
        schedule: FormText = "",
        effect: FormText = "",
        more: FormText = "",
        form: FormText = "",
    ) -> Response:
        """Set times and items of a schedule, or add one. The file keeps its own spelling of what is unchanged."""
        person, days = self._person(name), dict(await typed_fields(request))
        with at_field("schedule"):
            schedule = parse_name(schedule)
        known = next((each for each in person.rules.schedules if each.name == schedule), None)
        if known is not None and form == "schedule-new":
            raise InvalidInput("'%(name)s' is already taken.", name=schedule).at("schedule")
        if known is None and form not in ("", "schedule-new"):
            raise InvalidInput(CHANGED_MEANWHILE)  # it was removed
        value: Times | dict[str, Times] | None = schedule_value(days)
        if known is not None and all(
            days.get(day, "").strip() == times for day, times in day_times(known.when).items()
        ):
            value = None
        items = await _chosen_items(self._context, request, known, effect, more)
        edits = (
            []
            if items is None and value is None
            else [put_times(("people", name, "schedules", schedule, "when"), value)]
        )
        if items is not None:
            edits = schedule_edits(person, schedule, items, value)
        return await self._save(
            request,
            name,
            message("Times of %(schedule)s for %(name)s changed."),
            *edits,
            schedule=schedule,
        )

    @post("/people/{name}/schedule/remove", MANAGE, page="/people/{name}/schedules")
    async def remove_schedule(self, request: Request, name: PersonName, schedule: FormText) -> Response:
        return await self._save(
            request,
            name,
            message("%(schedule)s removed for %(name)s."),
            remove_schedule_edit(self._person(name), schedule),
            schedule=schedule,
        )

    @post("/people/{name}/preset", MANAGE, page="/people/{name}/nights")
    async def use_preset(self, request: Request, name: PersonName, preset: FormText) -> Response:
        """Put a common arrangement in force: nights before school, homework or dinner."""
        person = self._person(name)
        offered = presets(person, language_of(request), self._context.presets(person, language_of(request)))
        chosen = next((each for each in offered if each.name == preset), None)
        if chosen is None:
            raise InvalidInput("This is in force already.")
        change = await self._change(
            request, message("%(preset)s set for %(name)s."), *chosen.edits, name=name, preset=chosen.title
        )
        return redirect_after_save(f"{person_path(name)}/{'schedules' if chosen.schedule else 'nights'}", change)

    @post("/people/{name}/holidays", MANAGE, page="/people/{name}/schedules")
    async def add_holidays(
        self, request: Request, name: PersonName, first: FormText = "", last: FormText = ""
    ) -> Response:
        """Add days without school: for everybody, unless the person has holidays of their own."""
        entry = holiday_entry(first, last)
        return await self._save(
            request,
            name,
            message("No school: %(days)s."),
            *holiday_edits(self._person(name), entry),
            days=entry,
        )


async def _chosen_items(
    context: PageContext, request: Request, known: TimedRules | None, effect: str, more: str
) -> ScheduleItems | None:
    """Return the chosen items of a schedule; None if the form did not offer any because it opens and closes at once."""
    chosen = [value for key, value in await typed_fields(request) if key == "what"]
    if known is not None and not effect:
        return None
    with at_field("more"):
        policy, reader = context.policy(), language_of(request)
        chosen += [service_or_address(parse_subject(policy, each, reader)) for each in more.split(",") if each.strip()]
    if effect not in set(ScheduleEffect) | {""}:
        raise InvalidInput("Choose what the schedule does.").at("what")
    return ScheduleItems(ScheduleEffect(effect or ScheduleEffect.BLOCK), tuple(dict.fromkeys(chosen)))


class SwitchPages(PageGroup):
    """The form of the switches, each of which opens or closes one service or topic."""

    @post("/people/{name}/switch", MANAGE, page="/people/{name}/services")
    async def switch(
        self,
        request: Request,
        name: PersonName,
        close: FormText = "",
        open: FormText = "",
        how_long: Annotated[GrantDuration, Form(alias="for")] = GrantDuration.GOOD,
        instead_of: Annotated[int | None, Form()] = None,
    ) -> Response:
        """Open or close a service or topic. A rule of the person's own is written only where the profile differs.

        What is closed only for now, by a schedule or a spent budget, opens for as long as that lasts: a permission does
        it rather than a rule. What is open only by a permission closes with its end.

        Arguments:
            how_long: for an hour or until midnight, with a permission or a rule that ends.
            instead_of: the change of the policy by which the same tap did it for good. It is undone before.
        """
        policy, item, wanted = self._context.policy(), close or open, bool(open)
        find_person(policy, name)
        if item not in self._context.control.person_access(name).subjects:
            raise InvalidInput("There is no service or topic '%(item)s'.", item=item)
        if wanted and (question := await ask_before(self._context, request, AccessSubject(item, name))) is not None:
            return question
        if instead_of is not None:
            summary = language_of(request).gettext(message("Undone: %(summary)s"))
            await self._context.editor.undo(instead_of, principal_of(request), summary)
        access = self._context.control.person_access(name).subjects[item]
        ends = how_long.end(self._context.clock(), labels.zone(policy.network.timezone))
        if wanted and access.standing.is_open and not access.now.is_open:
            how_long = GrantDuration.TODAY
            end_of_day = how_long.end(self._context.clock(), labels.zone(policy.network.timezone))
            ends = ends or access.now.until or end_of_day
        if wanted and how_long is not GrantDuration.GOOD:
            return await self._open_until(request, name, item, ends, how_long)
        if not wanted and (done := await self._end_permissions(request, name, item)) is not None:
            return done
        return await self._change_rule(request, name, item, ends, wanted=wanted)

    async def _open_until(
        self, request: Request, name: str, item: str, ends: float | None, how_long: GrantDuration
    ) -> Response:
        """Give a permission, and say until when, or what keeps the subject closed all the same."""
        opening = AccessSubject(item, name)
        grant = await self._context.control.give(opening, self._actor(request), ends=ends, sure=True)
        done = opened_path(self._context, request, _part_path(name, item, wanted=True), grant)
        obstacle = await explain_obstacle(self._context, request, opening, how_long)
        return obstacle or redirect_to(f"{done}#switch-{item}")

    async def _end_permissions(self, request: Request, name: str, item: str) -> Response | None:
        """End the permissions of a person for a subject. Return None if it is still open by a rule that can change.

        A schedule, or a permission for more than this, may keep it open too: the page says so.
        """
        control, reader, ended = self._context.control, language_of(request), False
        for grant in await run_in_threadpool(self._context.reader.grants, self._context.clock()):
            if grant.subject == item and grant.person == name:
                await control.revoke(grant.id, principal_of(request).name)
                ended = True
        access = control.person_access(name).subjects[item]
        if access.now.is_open and not access.standing.is_open:
            text = message("%(what)s is still open for %(name)s: its switch says why.")
        elif ended and not access.now.is_open:
            text = _RULED[False, False]
        else:
            return None
        said = Feedback(reader.gettext(text, what=title_of(item, reader), name=name))
        path = self._context.feedback.path(_part_path(name, item, wanted=False), said)
        return redirect_to(f"{path}#switch-{item}")

    async def _change_rule(
        self, request: Request, name: str, item: str, ends: float | None, *, wanted: bool
    ) -> Response:
        """Write, change or remove a rule of the person's own. One with an end leaves the others as they are."""
        policy, control, reader = self._context.policy(), self._context.control, language_of(request)
        until = "" if ends is None else rule_end(ends, labels.zone(policy.network.timezone))
        if until:
            edits = close_until_edits(policy, name, item, until)
        else:
            by_default = control.is_open_by_default(name, item)
            edits = switch_edits(policy, name, item, allows=wanted, by_default=by_default)
        works = await has_effect(self._context, request, name, item, closes=not wanted)
        was_open = control.person_access(name).subjects[item].standing.is_open
        change = await self._change(
            request,
            _RULED[wanted, bool(until)] if works else _IDLE,
            *edits,
            name=name,
            what=title_of(item, reader),
            until=until,
        )
        if change is None and was_open is not wanted:
            return _back(name, item, wanted)  # another rule decides, and the page names it
        obstacle = await _own_obstacle(self._context, request, AccessSubject(item, name)) if wanted else None
        return obstacle or _back(name, item, wanted, str(change.id) if change else "0")


async def _own_obstacle(context: PageContext, request: Request, opening: AccessSubject) -> Response | None:
    """Return a page that says why something stays closed that a rule has just opened, unless everything is closed."""
    return await explain_obstacle(context, request, opening, GrantDuration.GOOD, if_all_closed=False)


def _back(name: str, item: str, wanted: bool, saved: str = "") -> Response:
    path = _part_path(name, item, wanted=wanted, **{"saved": saved} if saved else {})
    return redirect_to(f"{path}#switch-{item}")


def _part_path(name: str, item: str, *, wanted: bool, **query: str) -> str:
    """Return the part of a person's page that has the switch, which tells what was wanted of it."""
    shown = urlencode({**query, "switch": item, "to": "open" if wanted else "closed"})
    return f"{person_path(name)}/{part_of(item)}?{shown}"


def limit_text(limit: BudgetLimit, reader: Language) -> str:
    """Return the minutes of a limit in words.

    >>> from hedgerow.dashboards.words.languages import language
    >>> limit_text(BudgetLimit("", 60, 60), language("en")), limit_text(BudgetLimit("", 45, None), language("en"))
    ('1 hour', '45 minutes on school days, no limit at the weekend')
    """
    school, weekend = (
        reader.gettext(_NO_LIMIT) if each is None else duration_text(each, reader)
        for each in (limit.school, limit.weekend)
    )
    return school if school == weekend else reader.gettext(_TWO_LIMITS, school=school, weekend=weekend)
