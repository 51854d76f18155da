"""Places for connections to the pages: shared by class of client, so that strangers never keep out people and named
devices.

A connection counts for its device, and for a person from the first request on with which somebody is signed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hedgerow.client_classes import ClassedClient, Places, named_client

MAX_CONNECTIONS: Final = 200
MAX_CONNECTIONS_PER_CLIENT: Final = 32
"""A browser opens six. This machine is not limited: a proxy in front of us connects from it."""

THIS_MACHINE: Final = named_client("this machine")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})

type ClientFinder = Callable[[str], ClassedClient]
"""Returns the client at an IP address."""


class WebPlace:
    """The place of a connection. `on_end` ends it, and `is_working` tells that a request of it is being answered."""

    def __init__(self, places: Places[WebPlace], client: ClassedClient, on_end: Callable[[], object]) -> None:
        self._places, self.client, self.on_end = places, client, on_end
        self.is_working = False
        self.is_ending = False

    def leave(self) -> None:
        """Free the place."""
        self._places.leave(self)

    def end(self) -> None:
        """End the connection, since another needs its place."""
        self.is_ending = True
        self.leave()
        self.on_end()

    def give_to(self, person: str) -> None:
        """Count the connection as a person's, unless they have too many."""
        if self in self._places and self.client is not THIS_MACHINE:
            self._places.move(self, named_client(f"person {person}"))


class WebPlaces:
    """All connections to the pages from other machines, and apart from them those of this machine."""

    def __init__(self, client_of: ClientFinder) -> None:
        self._client_of = client_of
        self._others = Places[WebPlace](MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT)
        self._here = Places[WebPlace](MAX_CONNECTIONS, MAX_CONNECTIONS)

    def client_of(self, address: str) -> ClassedClient:
        """Return the client at an address."""
        address = address.removeprefix("::ffff:")
        return THIS_MACHINE if address in _LOOPBACK else self._client_of(address)

    def admit(self, address: str, on_end: Callable[[], object]) -> WebPlace | None:
        """Return a place for a new connection, or None if its client may have none.

        Another one may have to leave for it.
        """
        client = self.client_of(address)
        places = self._here if client is THIS_MACHINE else self._others
        if not places.has_room(client):
            contenders = places.contenders(client)
            if not contenders:
                return None
            next((each for each in contenders if not each.is_working), contenders[0]).end()
        place = WebPlace(places, client, on_end)
        places.enter(place, client)
        return place
