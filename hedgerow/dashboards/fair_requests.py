"""The order in which requests to the pages are answered, and whose connections they come over."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow.dashboards.accounts import LOCAL
from hedgerow.dashboards.deadlines import DEADLINE, DeadlineProtocol
from hedgerow.dashboards.deferred_app import HEALTH_CHECKS
from hedgerow.dashboards.web_places import THIS_MACHINE, WebPlaces
from hedgerow.dashboards.work_queue import FairWork, RequestTurn
from hedgerow.journal.lanes import Lane, current_lane

type PersonFinder = Callable[[Headers], str]
"""Returns the session or token by which somebody is signed in, from the head of a request; empty if there is none."""


class FairRequests:
    """The places and turns of a server's clients. `wrap` returns an app whose requests have both."""

    def __init__(self, places: WebPlaces, person_of: PersonFinder) -> None:
        self.places, self._person_of = places, person_of
        self._work = FairWork()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the app with messages to the `DeadlineProtocol` of each connection, and a turn for each request."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            current_lane.set(Lane.PAGES)  # uvicorn runs each request in a task of its own
            deadline = scope.get("state", {}).pop(DEADLINE, None)
            if scope["type"] != "http" or deadline is None:
                await app(scope, receive, send)
                return
            turn = self._turn(scope, deadline)
            deadline.begin_response(turn)
            if not await turn.begin():
                return  # the client has left
            try:
                await app(scope, _receiving(scope, receive, deadline, turn), _sending(send, deadline, turn))
            finally:
                turn.end()

        return limited

    def _turn(self, scope: Scope, deadline: DeadlineProtocol) -> RequestTurn:
        """Return the turn of a request, by who sends it. A connection with a person's request is theirs."""
        if scope["path"] in HEALTH_CHECKS:
            return self._work.turn_of_check()
        if scope.get(LOCAL) is True:
            return self._work.turn_of_person(THIS_MACHINE.key)
        if person := self._person_of(Headers(scope=scope)):
            if deadline.place is not None:
                deadline.place.give_to(person)
            return self._work.turn_of_person(person)
        client = self.places.client_of((scope.get("client") or ("",))[0])
        return self._work.turn_of_person(client.key) if client is THIS_MACHINE else self._work.turn_of_device(client)


def _receiving(scope: Scope, receive: Receive, deadline: DeadlineProtocol, turn: RequestTurn) -> Receive:
    headers = Headers(scope=scope)
    is_complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive_limited() -> Message:
        nonlocal is_complete
        if is_complete:  # until the client leaves
            return await receive()
        turn.end()
        deadline.wait()
        message = await receive()
        deadline.stop()
        is_complete = message["type"] == "http.request" and not message.get("more_body", False)
        return message if await turn.begin() else {"type": "http.disconnect"}

    return receive_limited


def _sending(send: Send, deadline: DeadlineProtocol, turn: RequestTurn) -> Send:
    is_endless = False

    async def send_limited(message: Message) -> None:
        nonlocal is_endless
        deadline.owes_response = False
        if message["type"] == "http.response.start":
            is_endless = Headers(raw=message.get("headers", [])).get("content-type", "").startswith("text/event-stream")
        if is_endless or deadline.is_write_paused:
            turn.end()
        await send(message)
        deadline.note_sent(message)
        if message.get("more_body", False) and not is_endless:
            await turn.begin()

    return send_limited
