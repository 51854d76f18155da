"""Restriction of YouTube to chosen channels and videos: items of the policy, and the access to each of YouTube's URLs.

Pure.

A film plays only with the streams that a *player response* names. Pages and calls that can carry one are open only if
the response says that it is of a chosen channel or video (`VERIFY`); the inspector reads it. Everything else that shows
films is closed: the start page, searches, playlists and other people's channels. Deliberately absent: apps, which do
not accept our certificate.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from hedgerow.blocklists.names import is_beneath

YOUTUBE_CHOSEN = "youtube_only"
"""`what` of a RULE decision about films of YouTube that are not of chosen channels."""

_HOSTS = frozenset(
    {
        "youtube.com",
        "youtu.be",
        "youtube-nocookie.com",
        "yt.be",
        "youtubei.googleapis.com",
        "youtube.googleapis.com",
        "youtubeembeddedplayer.googleapis.com",
    }
)
"""Hosts of pages and calls. Those of pictures and streams serve only what these name."""

_NOT_FILMS = frozenset({"accounts.youtube.com", "consent.youtube.com", "fonts.youtube.com"})

_CHANNEL = re.compile(r"UC[\w-]{22}", re.ASCII)
_HANDLE = re.compile(r"@[\w.·-]{3,30}")
_VIDEO = re.compile(r"[\w-]{11}", re.ASCII)
_API = "/youtubei/v1/"
_VERIFIED_CALLS = frozenset({"player", "get_watch", "next", "browse", "reel/reel_item_watch"})
_OPEN_CALLS = frozenset(
    {"log_event", "att/get", "visitor_id", "config", "guide", "account/account_menu", "player/heartbeat"}
)
_OPEN_PATHS = (
    "/s/",
    "/static/",
    "/img/",
    "/yts/",
    "/api/stats/",
    "/api/timedtext",
    "/api/manifest/",
    "/embed/",
    "/generate_204",
    "/error_204",
    "/ptracking",
    "/favicon.ico",
    "/sw.js",
    "/sw.js_data",
    "/manifest.webmanifest",
    "/iframe_api",
    "/player_204",
    "/cspreport",
    "/csi_204",
    "/robots.txt",
    "/signin",
    "/logout",
    "/youtubei/v1/log_event",
)
"""Files, statistics and subtitles. A frame (`/embed/`) gets its film by a call, like the other pages."""


class YouTubeAccess(Enum):
    OPEN = "open"
    CLOSED = "closed"
    VERIFY = "verify"  # open if the response is of a chosen channel or video


def parse_youtube_item(text: str) -> str:
    """Return a channel (`UC…`), a handle (`@name`, in small letters) or a video (`video:ID`) of the policy.

    Raises ValueError.

    >>> [parse_youtube_item(each) for each in ("https://www.youtube.com/@Some.Name/videos", "youtu.be/abcdefghij1",
    ...  "@Name")]
    ['@some.name', 'video:abcdefghij1', '@name']
    """
    item = text.strip()
    if _CHANNEL.fullmatch(item):
        return item
    if _HANDLE.fullmatch(item):
        return item.lower()
    if found := re.fullmatch(
        r"(?:https?://)?((?:[a-z-]+\.)?(?:youtube\.com|youtu\.be))(/.*)", item, re.IGNORECASE | re.ASCII
    ):
        first, second, *_ = [*urlsplit(found[2]).path.split("/")[1:], "", ""]
        of_path = first if found[1].lower() == "youtu.be" else second if first in ("shorts", "live", "embed") else ""
        videos = (of_path, _video_of(found[2]))
        if first == "channel" and _CHANNEL.fullmatch(second):
            return second
        if _HANDLE.fullmatch(first):
            return first.lower()
        if video := next((each for each in videos if _VIDEO.fullmatch(each)), ""):
            return f"video:{video}"
    raise ValueError(f"'{text}' is neither a channel nor a video of YouTube: write @name, or the address of its page")


def is_youtube(host: str) -> bool:
    """Return whether a host serves pages or calls of YouTube."""
    return is_beneath(host, _HOSTS) and host not in _NOT_FILMS


def access_to(url: str, chosen: Collection[str]) -> YouTubeAccess:
    """Return the access to a URL of YouTube where only `chosen` items are open.

    >>> (access_to("https://www.youtube.com/watch?v=abcdefghij1", ["@name"]),
    ...  access_to("https://www.youtube.com/@Name", ["@name"]))
    (<YouTubeAccess.VERIFY: 'verify'>, <YouTubeAccess.OPEN: 'open'>)
    """
    parts = urlsplit(url)
    path = re.sub("/{2,}", "/", parts.path) or "/"
    if path.startswith(_API):
        call = path.removeprefix(_API).rstrip("/")
        return (
            YouTubeAccess.VERIFY
            if call in _VERIFIED_CALLS
            else YouTubeAccess.OPEN
            if call in _OPEN_CALLS
            else YouTubeAccess.CLOSED
        )
    if any(path == each or (each.endswith("/") and path.startswith(each)) for each in _OPEN_PATHS):
        return YouTubeAccess.OPEN
    first, second = [*path.split("/")[1:], ""][:2]
    host = parts.hostname or ""
    video = first if host == "youtu.be" else _video_of(f"{path}?{parts.query}") if first == "watch" else second
    if host == "youtu.be" or first in {"watch", "shorts", "live"}:
        return YouTubeAccess.OPEN if f"video:{video}" in chosen else YouTubeAccess.VERIFY
    is_chosen = second in chosen if first == "channel" else first.lower() in chosen if first.startswith("@") else False
    return YouTubeAccess.OPEN if is_chosen else YouTubeAccess.CLOSED


def _video_of(path: str) -> str:
    """Return the video in a query; empty if there is none or more than one."""
    found = parse_qs(urlsplit(path).query).get("v", [])
    return found[0] if len(found) == 1 else ""


_SPACES = 61
_LONG_SPACE = re.compile(rb"\s(?<!\s\s)\s{%d,}" % _SPACES)
"""White space that is longer than the longest name.

It is shortened to `_SPACES`, so that every match has a length limit.
"""

_LONGEST = 512
"""Bytes of the longest match, and of what precedes it."""


def _field(name: str, value: bytes) -> re.Pattern[bytes]:
    """Return the pattern of a field of JSON.

    An unescaped quotation mark is never inside a JSON string, so titles and comments cannot pretend to be a field. The
    look-behind follows the name, because `re` searches fastest for a pattern that begins with literals.
    """
    quoted = b'"%b"' % name.encode()
    return re.compile(rb"%b(?<!\\%b)\s*:%b" % (quoted, quoted, value))


_VIDEO_VALUE, _CHANNEL_VALUE = rb'\s*"([\w-]{11})"', rb'\s*"(UC[\w-]{22})"'
_URL_VALUE = rb'\s*"https?:\\?/\\?/www\.youtube\.com\\?/(@[^"\\]{3,60})"'

_DETAILS = _field("videoDetails", rb'\s*\{\s*"videoId"\s*:' + _VIDEO_VALUE)
_CHANNEL_ID, _OWNER_URL = _field("channelId", _CHANNEL_VALUE), _field("ownerProfileUrl", _URL_VALUE)
_OWNER = _field("videoOwnerRenderer", b"")
_BROWSE_ID, _BASE_URL = _field("browseId", _CHANNEL_VALUE), _field("canonicalBaseUrl", rb'\s*"\\?/(@[^"\\]{3,60})"')
_CURRENT = _field("currentVideoEndpoint", b"")
_WATCH_ID = _field("watchEndpoint", rb'\s*\{\s*"videoId"\s*:' + _VIDEO_VALUE)
_METADATA = _field("channelMetadataRenderer", b"")
_EXTERNAL_ID, _VANITY_URL = _field("externalId", _CHANNEL_VALUE), _field("vanityChannelUrl", _URL_VALUE)


def is_chosen(url: str, body: bytes, chosen: Collection[str]) -> bool:
    """Return whether a response is of chosen items; see `ResponseCheck`."""
    check = ResponseCheck(url, chosen)
    check.feed(body)
    return check.is_chosen


class ResponseCheck:
    """Check of the response to a request with `VERIFY`, which is fed piece by piece. Each piece is read once."""

    def __init__(self, url: str, chosen: Collection[str]) -> None:
        path = urlsplit(url).path
        items = frozenset(chosen)
        self._current: _Sections | None = None
        if path.startswith(f"{_API}browse"):
            self._owners = _Sections(_METADATA, (_EXTERNAL_ID, _VANITY_URL), items)
        elif path.startswith(f"{_API}next"):
            self._owners = _Sections(_OWNER, (_BROWSE_ID, _BASE_URL), items)
            self._current = _Sections(_CURRENT, (_WATCH_ID,), items)
        else:
            self._owners = _Sections(_DETAILS, (_CHANNEL_ID, _OWNER_URL), items)
        self._body = b"\0"  # the end of what was fed, from `_base` on
        self._base = -1

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the response."""
        self._base += max(0, len(self._body) - _LONGEST)
        self._body = _LONG_SPACE.sub(b" " * _SPACES, self._body[-_LONGEST:] + data)
        self._owners.feed(self._body, self._base)
        if self._current is not None:
            self._current.feed(self._body, self._base)

    @property
    def is_chosen(self) -> bool:
        """The bytes so far are of chosen channels and videos only, and of at least one.

        Without what is looked for they are not: YouTube may have changed its format.
        """
        return self._owners.count > 0 and (
            self._owners.are_all_chosen or (self._current is not None and self._current.is_any_chosen)
        )


class _Sections:
    """Sections of a response, from each match of `start` to the next one.

    An item of a section is the first match of a pattern in it.
    """

    def __init__(
        self, start: re.Pattern[bytes], patterns: tuple[re.Pattern[bytes], ...], chosen: frozenset[str]
    ) -> None:
        self.count = 0
        self._start, self._patterns, self._chosen = start, patterns, chosen
        self._begin = 0  # of the last section
        # of the last section: where it ends, and if it is chosen
        self._found: dict[re.Pattern[bytes], tuple[int, bool]] = {}
        self._are_all_chosen, self._is_any_chosen = True, False  # of the sections before the last one

    @property
    def are_all_chosen(self) -> bool:
        """Each section has a chosen item."""
        return self._are_all_chosen and (self.count == 0 or self._is_last_chosen)

    @property
    def is_any_chosen(self) -> bool:
        """One of the sections has a chosen item."""
        return self._is_any_chosen or self._is_last_chosen

    @property
    def _is_last_chosen(self) -> bool:
        return any(is_chosen for _end, is_chosen in self._found.values())

    def feed(self, body: bytes, base: int) -> None:
        """Search `body`, which begins at `base` with bytes that were searched before.

        The first byte is only looked back at.
        """
        for match in self._start.finditer(body, max(self._begin - base, 1)):
            self._search(body, base, match.start())
            self._end_section(base + match.start())
            self.count += 1
            self._begin = base + match.end()
            if self._start.groups:
                self._take(self._start, match, base)
        self._search(body, base, len(body))

    def _search(self, body: bytes, base: int, end: int) -> None:
        for pattern in self._patterns if self.count else ():
            if (
                pattern not in self._found
                and (match := pattern.search(body, max(self._begin - base, 1), end)) is not None
            ):
                self._take(pattern, match, base)

    def _take(self, pattern: re.Pattern[bytes], match: re.Match[bytes], base: int) -> None:
        self._found[pattern] = (base + match.end(), _item_of(match[1]) in self._chosen)

    def _end_section(self, at: int) -> None:
        """End the last section. A match that the next one cuts off does not count."""
        is_chosen = any(is_chosen for end, is_chosen in self._found.values() if end <= at)
        self._are_all_chosen &= is_chosen or self.count == 0
        self._is_any_chosen |= is_chosen
        self._found = {}


def _item_of(name: bytes) -> str:
    """Return the item of the policy for a channel's ID, a handle, or a video's ID of 11 characters."""
    text = name.decode("utf-8", "replace")
    return text.lower() if text.startswith("@") else f"video:{text}" if _VIDEO.fullmatch(text) else text
