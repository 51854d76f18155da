"""Pages of the guide and of children in every language: no sentence is left in English."""

from __future__ import annotations

import html
import re
from functools import cache

import httpx
import pytest
from catalogues import TRANSLATED, messages
from web_server import NOW, Web
from web_server.household import fill

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.words.languages import LANGUAGE_COOKIE, language
from hedgerow.features.connecting.routers import load_routers
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId
from hedgerow.policies.text.locales import SOURCE_NAME

GUIDE = (
    *(f"/start/{step}" for step in ("place", "people", "connect", "devices", "done", "children")),
    *(f"/start/connect?make={make}" for make in ("device", "provider", "other", load_routers()[0].key)),
    *("/connecting/devices", "/check", "/sign-in"),
)
CHILDREN = {"Leo": "child-under-8", "mia": "child-8-12", "tom": "teen-13-15"}
OWN = ("/device", "/check", "/people", "/nowhere")
ADDRESS = "127.0.0.2"
_DATA = {SOURCE_NAME, "Homework first."}
"""Texts that are the same in every language: the name of English, and what a parent of this home wrote."""

type Nodes = frozenset[str]


def nodes_of(page: str) -> Nodes:
    """Return the texts between the tags of a page, and what its fields are called."""
    main = re.sub(r"<(script|style|option|svg|code)\b.*?</\1>", "", page, flags=re.S)
    texts = re.findall(r">([^<>]+)<", main) + re.findall(r'(?:aria-label|placeholder|title)="([^"]+)"', main)
    return frozenset(" ".join(html.unescape(text).split()) for text in texts)


@cache
def english() -> re.Pattern[str]:
    """Return a pattern of all parts of messages, as they stand between tags."""
    texts = (text for each in messages() if each.id for text in ([each.id] if isinstance(each.id, str) else each.id))
    parts = {" ".join(part.split()) for text in texts for part in re.split("<[^>]+>", text)}
    long = (part for part in parts if len(re.sub(r"%\(\w+\)s|[^A-Za-z]", "", part)) > 3)
    patterns = sorted(re.sub(r"%\\\(\w+\\\)s", ".+", re.escape(part)) for part in long)
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def left_in_english(code: str, told: Nodes, in_english: Nodes) -> set[str]:
    """Return the texts of a page that are English and not the same word in this language."""
    same = {text for text in told & in_english if language(code).gettext(text) == text and text in _translated(code)}
    return {text for text in (told & in_english) - same - _DATA if english().fullmatch(text)}


@cache
def _translated(code: str) -> frozenset[str]:
    catalogue = language(code).translations
    return frozenset(text for text in vars(catalogue).get("_catalog", {}).values() if isinstance(text, str))


@pytest.fixture
def home(web: Web) -> Web:
    fill(web)
    text = web.policy_path.read_text().replace("people:\n", "people:\n  Leo: {age: 6, devices: [leo-tablet]}\n")
    web.policy_path.write_text(text.replace("devices:\n  mia", "devices:\n  leo-tablet: {ip: 192.168.1.34}\n  mia"))
    new = (("02:00:00:00:00:01", "192.168.1.91", ""), ("00:00:48:11:22:33", "192.168.1.92", ""))
    web.recorder.add(DeviceSeen(NOW - 60, DeviceId(mac), at, mac, None, "child-8-12", name) for mac, at, name in new)
    web.recorder.flush()
    web.recorder.add([ProtectionSeen(NOW - 5, DeviceId(new[0][0]), Protection.DNS)])
    web.recorder.flush()
    return web


def test_no_page_of_the_guide_or_of_a_child_mixes_english_in(home: Web) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    with httpx.Client(base_url=home.url, trust_env=False, timeout=60, verify=False) as parent:
        told = {
            (path, code): nodes_of(in_language(parent, path, code)) for path in GUIDE for code in ("en", *TRANSLATED)
        }
    transport = httpx.HTTPTransport(local_address=ADDRESS, verify=False)
    with httpx.Client(base_url=home.url, transport=transport, trust_env=False, timeout=60) as child:
        for name, profile in CHILDREN.items():
            lines = Lifelines.load().for_country("PT")
            home.control.devices[ADDRESS] = DeviceView(DeviceId(f"{name.lower()}-tablet"), name, profile, lines)
            for path in OWN:
                for code in ("en", *TRANSLATED):
                    told[f"{name} {path}", code] = nodes_of(in_language(child, path, code))
    for (path, code), nodes in told.items():
        if code != "en" and (left := left_in_english(code, nodes, told[path, "en"])):
            found[path, code] = left
    assert found == {}


def in_language(client: httpx.Client, path: str, code: str) -> str:
    return client.get(path, headers={"cookie": f"{LANGUAGE_COOKIE}={code}"}).text
