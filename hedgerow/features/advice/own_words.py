"""The advice to children, in easy language. Every language of the block page has it."""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.dashboards.words.languages import message


@dataclass(frozen=True, slots=True)
class AdviceTopic:
    """A page of advice: its address, its title, and one message for each step. `icon` is a symbol of `icons.svg`."""

    name: str
    icon: str
    title: str
    steps: tuple[str, ...]


CHILDRENS_TOPICS = (
    AdviceTopic(
        "picture",
        "warning",
        message("Somebody threatens me with a picture"),
        (
            message("This is not your fault. It has happened to many children, and there is help."),
            message("Do not pay. Do not send anything more."),
            message("Stop answering and block the person. Keep the messages: they show what happened."),
            message("Tell an adult you trust, today."),
            message("Pictures can often be taken off the internet, for free. Links on this page lead there."),
        ),
    ),
    AdviceTopic(
        "meeting",
        "bubble",
        message("Somebody I met online wants to meet"),
        (
            message("It is good that you look here first."),
            message("Do not go alone, and do not go in secret. Online, people can be somebody else than they say."),
            message("You may say no. You need no reason."),
            message("Does somebody want you to keep a secret? Then tell an adult you trust."),
        ),
    ),
    AdviceTopic(
        "friend",
        "heart",
        message("My friend is not well"),
        (
            message("It is kind that you care. You do not have to solve it alone."),
            message("Ask how your friend is, and listen. You do not need special words."),
            message("Does your friend talk about dying? Tell an adult now, even if you promised not to."),
        ),
    ),
    AdviceTopic(
        "saw",
        "spark",
        message("I saw something I can’t forget"),
        (
            message("You did nothing wrong. Such things upset many people."),
            message("Close it, and do not send it on. Then do something that feels good, with somebody you like."),
            message("Tell an adult you trust what you saw. Talking helps."),
            message("Does it come back, or can you not sleep? A helpline listens to you about that too."),
        ),
    ),
)
"""The pages for children, in the order of the list."""
