"""The terms of an agreement as English sentences, for programs and commands. Pages have templates for them."""

from __future__ import annotations

from collections.abc import Iterator

from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language
from hedgerow.dashboards.words.rules import SAFE_SEARCH_TEXTS, YOUTUBE_TEXTS, schedule_sentence
from hedgerow.features.agreement.own_words import PROMISES, SEEN
from hedgerow.features.agreement.terms import Terms


def terms_text(terms: Terms) -> tuple[str, ...]:
    """Return a sentence for each rule and promise."""
    return tuple(_sentences(terms))


def _sentences(terms: Terms) -> Iterator[str]:
    reader, rules = language("en"), terms.rules
    nights = rules.nights_text(reader)
    yield f"The internet is off at night: {nights}" if nights else "There is no bedtime."
    yield from (budget.text(reader) for budget in rules.budgets)
    for schedule in rules.schedules:
        yield f"{title_of(schedule.name, reader)}: {schedule_sentence(schedule.text(reader), reader)}"
    for word, names in (("Closed", rules.closed), ("Always open", rules.opened)):
        if names:
            yield f"{word}: {', '.join(title_of(name, reader) for name in names)}"
    yield SAFE_SEARCH_TEXTS[rules.safe_search]
    yield YOUTUBE_TEXTS[rules.youtube]
    yield SEEN[rules.privacy]
    yield from (f"Promise: {promise.text}" for promise in PROMISES if promise.name in terms.promises.names)
    if terms.promises.words:
        yield f"Promise: {terms.promises.words}"
