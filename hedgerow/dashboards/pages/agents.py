"""Which browser on which system somebody signed in with, as people say it. Pure; anybody can call themselves anything."""

from __future__ import annotations

_BROWSERS = (
    # Each of them calls itself by the names of those below, too.
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Macintosh", "Mac"), ("CrOS", "Chromebook"),
    ("Linux", "Linux"),
)  # fmt: skip
_LONGEST = 60


def agent_words(agent: str) -> str:
    """The browser and its system; of what is not known, the beginning as it is.

    >>> agent_words("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")
    'Chrome, Linux'
    >>> agent_words("curl/8.14.1"), agent_words("")
    ('curl/8.14.1', '')
    """
    browser = next((name for sign, name in _BROWSERS if sign in agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return ", ".join(filter(None, (browser, system))) or agent[:_LONGEST]
