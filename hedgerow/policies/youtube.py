"""Restriction of YouTube to chosen channels and videos: items of the policy, and the access to each of YouTube's URLs. Pure.

A film plays only with the streams that a *player response* names. Pages and calls that can carry one are open only if the response
says that it is of a chosen channel or video (`VERIFY`); the inspector reads it. Everything else that shows films is closed: the start
page, searches, playlists and other people's channels. Deliberately absent: apps, which do not accept our certificate.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from hedgerow.blocklists.names import is_beneath

YOUTUBE_CHOSEN = "youtube_only"
"""`what` of a RULE decision about films of YouTube that are not of chosen channels."""

_HOSTS = frozenset({
    "youtube.com", "youtu.be", "youtube-nocookie.com", "yt.be", "youtubei.googleapis.com", "youtube.googleapis.com",
    "youtubeembeddedplayer.googleapis.com",
})  # fmt: skip
"""Hosts of pages and calls. Those of pictures and streams serve only what these name."""

_NOT_FILMS = frozenset({"accounts.youtube.com", "consent.youtube.com", "fonts.youtube.com"})

_CHANNEL = re.compile(r"UC[\w-]{22}", re.ASCII)
_HANDLE = re.compile(r"@[\w.·-]{3,30}")
_VIDEO = re.compile(r"[\w-]{11}", re.ASCII)
_API = "/youtubei/v1/"
_VERIFIED_CALLS = frozenset({"player", "get_watch", "next", "browse", "reel/reel_item_watch"})
_OPEN_CALLS = frozenset({"log_event", "att/get", "visitor_id", "config", "guide", "account/account_menu", "player/heartbeat"})
_OPEN_PATHS = (
    "/s/", "/static/", "/img/", "/yts/", "/api/stats/", "/api/timedtext", "/api/manifest/", "/embed/", "/generate_204", "/error_204",
    "/ptracking", "/favicon.ico", "/sw.js", "/sw.js_data", "/manifest.webmanifest", "/iframe_api", "/player_204", "/cspreport", "/csi_204",
    "/robots.txt", "/signin", "/logout", "/youtubei/v1/log_event",
)  # fmt: skip
"""Files, statistics and subtitles. A frame (`/embed/`) gets its film by a call, like the other pages."""


class YouTubeAccess(Enum):
    OPEN = "open"
    CLOSED = "closed"
    VERIFY = "verify"  # open if the response is of a chosen channel or video


def parse_youtube_item(text: str) -> str:
    """Return a channel (`UC…`), a handle (`@name`, in small letters) or a video (`video:ID`) of the policy. Raises ValueError.

    >>> [parse_youtube_item(each) for each in ("https://www.youtube.com/@Some.Name/videos", "youtu.be/abcdefghij1", "@Name")]
    ['@some.name', 'video:abcdefghij1', '@name']
    """
    item = text.strip()
    if _CHANNEL.fullmatch(item):
        return item
    if _HANDLE.fullmatch(item):
        return item.lower()
    if found := re.fullmatch(r"(?:https?://)?((?:[a-z-]+\.)?(?:youtube\.com|youtu\.be))(/.*)", item, re.IGNORECASE | re.ASCII):
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

    >>> access_to("https://www.youtube.com/watch?v=abcdefghij1", ["@name"]), access_to("https://www.youtube.com/@Name", ["@name"])
    (<YouTubeAccess.VERIFY: 'verify'>, <YouTubeAccess.OPEN: 'open'>)
    """
    parts = urlsplit(url)
    path = re.sub("/{2,}", "/", parts.path) or "/"
    if path.startswith(_API):
        call = path.removeprefix(_API).rstrip("/")
        return YouTubeAccess.VERIFY if call in _VERIFIED_CALLS else YouTubeAccess.OPEN if call in _OPEN_CALLS else YouTubeAccess.CLOSED
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


# An unescaped quotation mark is never inside a JSON string, so titles and comments cannot pretend to be one of these.
_DETAILS = re.compile(rb'(?<!\\)"videoDetails"\s*:\s*\{\s*"videoId"\s*:\s*"([\w-]{11})"')
_CHANNEL_ID = re.compile(rb'(?<!\\)"channelId"\s*:\s*"(UC[\w-]{22})"')
_OWNER_URL = re.compile(rb'(?<!\\)"ownerProfileUrl"\s*:\s*"https?:\\?/\\?/www\.youtube\.com\\?/(@[^"\\]{3,60})"')
_OWNER = re.compile(rb'(?<!\\)"videoOwnerRenderer"\s*:')
_BROWSE_ID = re.compile(rb'(?<!\\)"browseId"\s*:\s*"(UC[\w-]{22})"')
_BASE_URL = re.compile(rb'(?<!\\)"canonicalBaseUrl"\s*:\s*"\\?/(@[^"\\]{3,60})"')
_CURRENT = re.compile(rb'(?<!\\)"currentVideoEndpoint"\s*:')
_WATCH_ID = re.compile(rb'(?<!\\)"watchEndpoint"\s*:\s*\{\s*"videoId"\s*:\s*"([\w-]{11})"')
_METADATA = re.compile(rb'(?<!\\)"channelMetadataRenderer"\s*:')
_EXTERNAL_ID = re.compile(rb'(?<!\\)"externalId"\s*:\s*"(UC[\w-]{22})"')
_VANITY_URL = re.compile(rb'(?<!\\)"vanityChannelUrl"\s*:\s*"https?:\\?/\\?/www\.youtube\.com\\?/(@[^"\\]{3,60})"')


def is_chosen(url: str, body: bytes, chosen: Collection[str]) -> bool:
    """Return whether the response to a request with `VERIFY` is of chosen channels and videos only, and of at least one.

    A body without what is looked for is not: YouTube may have changed its format.
    """
    path = urlsplit(url).path
    if path.startswith(f"{_API}browse"):
        found = _after(body, _METADATA, _EXTERNAL_ID, _VANITY_URL)
    elif path.startswith(f"{_API}next"):
        found = _after(body, _OWNER, _BROWSE_ID, _BASE_URL)
        current = _after(body, _CURRENT, _WATCH_ID)
        found = [[*one, *(f"video:{each}" for video in current for each in video)] for one in found]
    else:
        found = _players(body)
    return bool(found) and all(any(each in chosen for each in names) for names in found)


def _players(body: bytes) -> list[list[str]]:
    """Return the names of each player response: its video, its channel and its handle."""
    starts = list(_DETAILS.finditer(body))
    ends = [*(each.start() for each in starts[1:]), len(body)][: len(starts)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        channel, owner = _CHANNEL_ID.search(body, start.end(), end), _OWNER_URL.search(body, start.end(), end)
        names = [f"video:{start[1].decode()}"] + [each[1].decode() for each in (channel,) if each]
        found.append(names + [each[1].decode("utf-8", "replace").lower() for each in (owner,) if each])
    return found


def _after(body: bytes, start: re.Pattern[bytes], *wanted: re.Pattern[bytes]) -> list[list[str]]:
    """Return the first match of each pattern after each start, before the next one."""
    starts = [each.end() for each in start.finditer(body)]
    ends = [*starts[1:], len(body)][: len(starts)]
    found = []
    for begin, end in zip(starts, ends, strict=True):
        names = [match[1].decode("utf-8", "replace") for pattern in wanted if (match := pattern.search(body, begin, end)) is not None]
        found.append([name.lower() if name.startswith("@") else name for name in names])
    return found
