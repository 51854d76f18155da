"""A small client of Telegram's Bot API (https://core.telegram.org/bots/api): who a bot is, and which chat began with a
code.

A bot's token is in the path of each request. It is a secret: no error of this module has any part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hedgerow.dashboards.control import InvalidInput

PUBLIC_SERVER = "https://api.telegram.org"
_TOKEN = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,80}")
_USERNAME = re.compile(r"[A-Za-z0-9_]{3,64}")
_SERVER = re.compile(r"(?:(https?)://)?([a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?/?", re.IGNORECASE)
_TIMEOUT_S, _POLL_S = 10.0, 8
_MAX_ANSWER = 1 << 20
"""Octets of an answer: a message has some kilobytes, and at most 20 are asked for."""
_MAX_MESSAGES = 20
_NAME_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot, and the server that speaks the Bot API for it. The token is a secret."""

    server: str
    token: str

    def address_of(self, chat: int) -> str:
        """Return the address of a chat as the address book keeps it, in the format of apprise."""
        if self.server == PUBLIC_SERVER:
            return f"tgram://{self.token}/{chat}?detect=no"
        return f"json{self.server.removeprefix('http')}/bot{self.token}/sendMessage?:message=text&:chat_id={chat}"


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat of a bot with one person, and the name that this person has in Telegram."""

    id: int
    name: str


def parse_bot(token: str, server: str = "") -> Bot:
    """Return a bot by what people paste. Raises `InvalidInput`, with the field.

    >>> parse_bot("123456:AAAAAAAAAAAAAAAAAAAAAAAA", "bots.example:8081").server
    'https://bots.example:8081'
    """
    if _TOKEN.fullmatch(token := token.strip()) is None:
        raise InvalidInput("Paste the token that BotFather shows: digits, a colon and letters.").at("token")
    found = _SERVER.fullmatch(server.strip() or PUBLIC_SERVER)
    if found is None:
        raise InvalidInput("Enter the server's address, such as https://bots.example.").at("server")
    scheme, host, port = found.groups("")
    return Bot(f"{scheme.lower() or 'https'}://{host.lower()}{port}", token)


def username_of(bot: Bot, local: Collection[str] = ()) -> str:
    """Return the name in the links of a bot. `local` are the policy's own names and networks.

    Waits for the server. Raises `InvalidInput`.
    """
    found = _call(bot, "getMe", {}, local)
    name = found.get("username") if isinstance(found, dict) else None
    if not isinstance(name, str) or _USERNAME.fullmatch(name) is None:
        raise InvalidInput("The server's answer is not one of Telegram's Bot API.").at("server")
    return name


def started_chat(bot: Bot, code: str, after: int, local: Collection[str] = ()) -> tuple[Chat | None, int]:
    """Return the chat in which somebody has started the bot with a code, or None, and the last update so far.

    Waits until there is a message after the update `after`, for some seconds. Raises `InvalidInput`.
    """
    order = {"offset": after + 1, "timeout": _POLL_S, "limit": _MAX_MESSAGES, "allowed_updates": ["message"]}
    return chat_in(_call(bot, "getUpdates", order, local), code, after)


def chat_in(updates: object, code: str, after: int) -> tuple[Chat | None, int]:
    """Find the private chat in which a person first sent `/start CODE` among updates, as `started_chat` returns it."""
    chat = None
    for update in updates if isinstance(updates, list) else ():
        message = update.get("message") if isinstance(update, dict) else None
        if isinstance(update, dict) and isinstance(update.get("update_id"), int):
            after = max(after, update["update_id"])
        if not isinstance(message, dict) or message.get("text") != f"/start {code}":
            continue
        place, sender = message.get("chat"), message.get("from")
        if (
            isinstance(place, dict)
            and isinstance(sender, dict)
            and place.get("type") == "private"
            and not sender.get("is_bot")
            and isinstance(place.get("id"), int)
            and chat is None
        ):
            chat = Chat(place["id"], _shown_name(sender))
    return chat, after


def _shown_name(sender: Mapping[str, Any]) -> str:
    parts = (sender.get("first_name"), sender.get("last_name"), sender.get("username"))
    name = " ".join(part for part in parts[:2] if isinstance(part, str)) or str(parts[2] or "")
    return "".join(letter for letter in name if letter.isprintable())[:_NAME_LIMIT]


def _call(bot: Bot, method: str, order: Mapping[str, object], local: Collection[str]) -> Any:
    """Return the result of a method of the API. Raises `InvalidInput`."""
    from hedgerow.blocklists.outgoing import open_url, read_body  # only where somebody sets a bot up, for its memory
    from hedgerow.blocklists.outgoing_guard import OutgoingGuard

    url, seconds = f"{bot.server}/bot{bot.token}/{method}", _TIMEOUT_S + _POLL_S
    headers = {"Content-Type": "application/json"}
    try:
        with open_url(
            url, seconds, OutgoingGuard(local=local), headers=headers, body=json.dumps(order).encode(), redirects=0
        ) as response:
            status = response.status_code
            answer = json.loads(b"".join(read_body(response, _MAX_ANSWER))) if status < 500 else None
    except OSError:  # with TimeoutError
        raise InvalidInput("Telegram can't be reached. Check the internet connection, and try again.") from None
    except ValueError:  # a refused address, and what is not JSON
        raise InvalidInput("The server's answer is not one of Telegram's Bot API.").at("server") from None
    if isinstance(answer, dict) and answer.get("ok") is True:
        return answer.get("result")
    match status:
        case 401 | 404:
            raise InvalidInput("Telegram does not know this token. Copy it from BotFather again.").at("token")
        case 409:
            raise InvalidInput("Another program uses this bot. Make a new one with BotFather.").at("token")
        case 429:
            raise InvalidInput("Telegram asks to wait. Try again in a minute.")
        case _:
            raise InvalidInput("Telegram did not accept this. Try again later.")
