from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source, starter_sources

LISTS = {
    "illegal": "||illegal.example^\n||corrected.example^\n@@||corrected.example^\n||partly.example/illegal/\n",
    "adult": "adult.example\n",
    "gambling": "gambling.example\n",
    "social": "social.example\n",
    "games": "games.example\nlearning-game.example\n",
    "education": "learn.example\nlearning-game.example\n",
    "phishing": "phishing.example\n",
    "bypass": "vpn.example\nboth.example\n",
    "unsafe-search": "search-without-rules.example\n",
    "news": "news.example\n",
    "homework-stoppers": "memes.example\n",
    "dating": "||six.example^$dnstype=AAAA\n",
    "weapons": "||mixed.example/weapons^\n||both.example^\n",
    "never-inspect": "*.savings.example\n",
    "malware": "9.9.9.9\n8.8.4.0/24\n2620:fe::/48\n",
}


def _format_of(text: str) -> str:
    return "adblock" if "||" in text else "ips" if "/" in text else "plain"


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The starter lists, and a small list of invented names for some categories."""
    folder = tmp_path_factory.mktemp("lists")
    own = []
    for category, text in LISTS.items():
        (folder / category).write_text(text, encoding="utf-8")
        own.append(Source(f"own/{category}", category, Path(folder / category), None, _format_of(text)))
    compile_generation([*starter_sources(), *own], folder / "generation")
    return Catalogue.open(folder / "generation")
