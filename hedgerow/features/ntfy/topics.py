"""Topics of ntfy, and their addresses for the app, for browsers and for sending. Pure, but for the random name."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from hedgerow.dashboards.control import InvalidInput

PUBLIC_SERVER = "https://ntfy.sh"
_SERVER = re.compile(r"(?:(https?)://)?([a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?/?", re.IGNORECASE)
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Letters and digits that people do not take for one another when they type a topic."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic on a server. Whoever knows its name reads the notices: it is a secret."""

    is_secure: bool
    host: str
    name: str

    @property
    def address(self) -> str:
        """The address to send to, in the format of apprise."""
        return f"{'ntfys' if self.is_secure else 'ntfy'}://{self.host}/{self.name}"

    @property
    def app_link(self) -> str:
        """The link that opens the Android app and subscribes."""
        return f"ntfy://{self.host}/{self.name}{'' if self.is_secure else '?secure=false'}"

    @property
    def page(self) -> str:
        """The page of the topic, for browsers."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}/{self.name}"


def new_topic(server: str = PUBLIC_SERVER) -> Topic:
    """Return a topic that nobody can guess. Raises `InvalidInput`.

    >>> topic = new_topic("ntfy.example:8443")
    >>> topic.page == f"https://ntfy.example:8443/{topic.name}", len(topic.name)
    (True, 29)
    """
    found = _SERVER.fullmatch(server.strip() or PUBLIC_SERVER)
    if found is None:
        raise InvalidInput("Enter the server's address, such as https://ntfy.example.").at("server")
    scheme, host, port = found.groups("")
    name = "".join(secrets.choice(_LETTERS) for _ in range(20))
    return Topic(scheme.lower() != "http", f"{host.lower()}{port}", f"hedgerow-{name}")
