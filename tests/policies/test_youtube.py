"""Chosen channels and videos of YouTube: items, URLs, and what a response says it is of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.policies.youtube import ResponseCheck, YouTubeAccess, access_to, is_chosen, is_youtube, parse_youtube_item

CHANNEL, OTHER = "UC" + "a" * 22, "UC" + "b" * 22
VIDEO, OTHER_VIDEO = "chosen-vid1", "other_vid_2"
PLAYER = "https://www.youtube.com/youtubei/v1/player?prettyPrint=false"
NEXT = "https://www.youtube.com/youtubei/v1/next"
BROWSE = "https://www.youtube.com/youtubei/v1/browse"
WATCH = f"https://www.youtube.com/watch?v={OTHER_VIDEO}"
OPEN, CLOSED, VERIFY = YouTubeAccess.OPEN, YouTubeAccess.CLOSED, YouTubeAccess.VERIFY


def player(channel=CHANNEL, video=OTHER_VIDEO, handle="Clay.Films", title="Clay birds"):
    """A response of the form that the player needs, with invented content."""
    return {
        "playabilityStatus": {"status": "OK"},
        "streamingData": {"formats": [{"url": "https://r1.googlevideo.com/videoplayback?id=1"}]},
        "videoDetails": {
            "videoId": video,
            "title": title,
            "keywords": ["clay"],
            "channelId": channel,
            "shortDescription": title,
        },
        "microformat": {
            "playerMicroformatRenderer": {
                "ownerProfileUrl": f"http://www.youtube.com/@{handle}",
                "externalChannelId": channel,
            }
        },
    }


def next_page(channel=CHANNEL, video=OTHER_VIDEO):
    return {
        "currentVideoEndpoint": {"watchEndpoint": {"videoId": video}},
        "contents": [
            {
                "videoOwnerRenderer": {
                    "navigationEndpoint": {"browseEndpoint": {"browseId": channel, "canonicalBaseUrl": "/@xyz"}}
                }
            }
        ],
    }


def channel_page(channel=CHANNEL):
    return {
        "metadata": {
            "channelMetadataRenderer": {
                "title": "Clay",
                "externalId": channel,
                "vanityChannelUrl": "http://www.youtube.com/@xyz",
            }
        }
    }


def encoded(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (CHANNEL, CHANNEL),
        (f"https://www.youtube.com/channel/{CHANNEL}/videos", CHANNEL),
        ("@Clay.Films", "@clay.films"),
        ("m.youtube.com/@Clay-Films", "@clay-films"),
        (f"https://www.youtube.com/watch?v={VIDEO}&t=4s", f"video:{VIDEO}"),
        (f"https://youtu.be/{VIDEO}?si=x", f"video:{VIDEO}"),
        (f"https://www.youtube.com/shorts/{VIDEO}", f"video:{VIDEO}"),
    ],
)
def test_items(text, item):
    assert parse_youtube_item(text) == item


@pytest.mark.parametrize(
    "text", ["", "Clay Films", VIDEO, "https://example.org/@clay", "youtube.com/", "youtube.com/c/clay", "@"]
)
def test_what_is_no_item(text):
    with pytest.raises(ValueError, match="neither a channel nor a video"):
        parse_youtube_item(text)


@pytest.mark.parametrize(
    ("access", "paths"),
    [
        (
            OPEN,
            [
                f"/watch?v={VIDEO}",
                f"/embed/{OTHER_VIDEO}",
                f"/channel/{CHANNEL}",
                "/@Clay.Films/videos",
                "/s/player/base.js",
                "/youtubei/v1/log_event",
                "/api/timedtext?v=x",
            ],
        ),
        (
            VERIFY,
            [
                f"/watch?v={OTHER_VIDEO}",
                f"//watch?v={OTHER_VIDEO}",
                f"/watch?v={VIDEO}&v={OTHER_VIDEO}",
                "/watch",
                f"/watch/{VIDEO}",
                f"/shorts/{OTHER_VIDEO}",
                f"/live/{OTHER_VIDEO}",
                "/youtubei/v1/player?key=x",
                "//youtubei//v1/player",
                "/youtubei/v1/next",
                "/youtubei/v1/browse",
                "/youtubei/v1/reel/reel_item_watch",
            ],
        ),
        (
            CLOSED,
            [
                "/",
                "/feed/trending",
                "/results?search_query=x",
                "/playlist?list=x",
                "/get_video_info",
                f"/channel/{OTHER}/videos",
                "/@other",
                "/c/clay",
                "/user/clay",
                "/youtubei/v1/search",
                "/youtubei/v1/reel/reel_watch_sequence",
                "/youtubei/v2/player",
                "/YOUTUBEI/v1/player",
                f"/shorts;x/{VIDEO}",
            ],
        ),
    ],
)
def test_urls(access, paths):
    for path in paths:
        assert access_to(f"https://www.youtube.com{path}", [CHANNEL, f"video:{VIDEO}", "@clay.films"]) is access, path


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("www.youtube.com", True),
        ("youtu.be", True),
        ("m.youtube.com", True),
        ("youtubei.googleapis.com", True),
        ("accounts.youtube.com", False),
        ("i.ytimg.com", False),
        ("youtubekids.com", False),
        ("notyoutube.com", False),
    ],
)
def test_hosts(host, is_ours):
    assert is_youtube(host) is is_ours


ADVERSE = f'"videoDetails":{{"videoId":"{VIDEO}","channelId":"{CHANNEL}"}}'


@pytest.mark.parametrize(
    ("url", "value", "chosen", "is_open"),
    [
        (PLAYER, player(), [CHANNEL], True),
        (PLAYER, player(), ["@clay.films"], True),
        (PLAYER, player(), [f"video:{OTHER_VIDEO}"], True),
        (PLAYER, player(OTHER, handle="xyz"), [CHANNEL, "@clay.films", f"video:{VIDEO}"], False),
        (PLAYER, {"playabilityStatus": {"status": "LOGIN_REQUIRED"}}, [CHANNEL], False),
        (PLAYER, player(OTHER, title=ADVERSE), [CHANNEL], False),
        (PLAYER, [{"playerResponse": player()}, {"playerResponse": player(OTHER, handle="xyz")}], [CHANNEL], False),
        (WATCH, player(), [CHANNEL], True),
        (NEXT, next_page(), [CHANNEL], True),
        (NEXT, next_page(OTHER), [CHANNEL], False),
        (NEXT, next_page(OTHER), [f"video:{OTHER_VIDEO}"], True),
        (NEXT, {"onResponseReceivedEndpoints": [{"comment": ADVERSE}]}, [CHANNEL], False),
        (BROWSE, channel_page(), [CHANNEL], True),
        (BROWSE, channel_page(), ["@xyz"], True),
        (BROWSE, channel_page(OTHER), [CHANNEL], False),
        (BROWSE, {"contents": "the start page", "title": CHANNEL}, [CHANNEL], False),
    ],
)
def test_responses(url, value, chosen, is_open):
    assert is_chosen(url, encoded(value), chosen) is is_open
    assert is_chosen(url, json.dumps(value, indent=2).encode(), chosen) is is_open


@pytest.mark.parametrize("cut", range(0, 700, 35))
def test_a_response_that_is_cut_off_never_opens_more(cut):
    """Of two player responses, the second decides once it begins."""
    body = encoded([player(), player(OTHER, handle="xyz")])
    if is_chosen(PLAYER, body[:cut], [CHANNEL]):
        assert f'"{OTHER}"'.encode() not in body[:cut]


FIELDS = (
    *(f'"videoDetails":{{"videoId":"{each}"' for each in (VIDEO, OTHER_VIDEO)),
    *(f'"{name}" :"{each}"' for name in ("channelId", "browseId", "externalId") for each in (CHANNEL, OTHER)),
    *(
        f'"{name}":"http://www.youtube.com/@{each}"'
        for name in ("ownerProfileUrl", "vanityChannelUrl")
        for each in ("XYZ", "abc")
    ),
    *(f'"watchEndpoint": {{"videoId":"{each}"' for each in (VIDEO, OTHER_VIDEO)),
    *(f'"canonicalBaseUrl":{" " * length}"/@xyz"' for length in (0, 61, 62, 2000)),
    *(
        '"videoOwnerRenderer":',
        '"currentVideoEndpoint":',
        '"channelMetadataRenderer":',
        f'"channelMetadataRenderer"{" " * 300}:',
    ),
    *(",", "\\", '"', ":", " " * 61, " " * 62, "x" * 600),
)


@given(
    url=st.sampled_from((WATCH, NEXT, BROWSE)),
    fields=st.lists(st.sampled_from(FIELDS), max_size=20),
    chosen=st.lists(st.sampled_from((CHANNEL, f"video:{VIDEO}", "@xyz")), min_size=1, unique=True),
    sizes=st.lists(st.integers(1, 900), min_size=1),
)
def test_pieces_are_judged_like_the_whole(url, fields, chosen, sizes):
    body, check, at = "".join(fields).encode(), ResponseCheck(url, chosen), 0
    while at < len(body):
        size = sizes[at % len(sizes)]
        check.feed(body[at : at + size])
        at = min(len(body), at + size)
        assert check.is_chosen is is_chosen(url, body[:at], chosen)
