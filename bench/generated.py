"""Names, lists and browser requests from a seeded generator, for machines that have nothing but the repository.

They have the shapes of real ones, not their exact distribution, so a benchmark says which data its figures were
measured on. The same seed always gives the same data.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real lists and requests beside the checkout, where somebody has put them."""

_WORDS = """able acid alpha amber angel apple arena artist atlas auto baby bank beach best beta bike bird black blog blue board body book
box brain brand bread bridge bright buzz camp candy card care cart cash cast chat city class clean click clinic cloud
club coach code
coffee color core craft crew cyber daily dance data day deal deep desk dev diet digital direct dog dream drive easy echo
edge edu energy
event ever expert express fair farm fast film finder first fit flash flex flow food forum free fresh fun future game
garden gate geek
gift global go gold good grand green grid group guide hair happy health heart help hero home host hot house hub ice idea
image info ink
insta jazz jet job joy jump key kids king kit lab lady land law lead leaf learn lens life light line link lion list live
local logic loop
love luck magic mail map mark market master max media mega metro mind mini mix mobile money moon motor move music nano
nature near net
new news next nice night nova ocean office one online open orange page paint panda paper park party pass path pay pet
phone photo pixel
place planet play plus point pop port post power press prime pro pulse quick radio rain rank rapid real red rent rich
ride ring river
road rock room root rose royal run safe sale save school sea search secure seed sense serve shop show side silver sky
smart snap social
soft solar sound space spark speed sport spot spring star start stay stock stone store story stream street studio style
sun super swift
talk tap team tech test the time tool top tour town track trade travel tree trend trip true trust tube turbo ultra union
up urban
vault vegan video view villa vip vision vita vote walk wall watch wave way web well west white wild win wind wine wise
wolf women wood
word work world yoga young your zen zone zoom""".split()  # noqa: E501, SIM905
_ENDINGS = {
    "com": 50,
    "net": 8,
    "org": 6,
    "de": 5,
    "co.uk": 4,
    "info": 3,
    "ru": 3,
    "fr": 3,
    "com.br": 3,
    "it": 2,
    "nl": 2,
    "xyz": 2,
    "io": 2,
    "online": 1,
    "tv": 1,
    "pl": 1,
    "jp": 1,
    "top": 1,
    "site": 1,
    "club": 1,
}
_PREFIXES = [
    "www",
    "m",
    "api",
    "cdn",
    "static",
    "img",
    "blog",
    "shop",
    "mail",
    "de",
    "en",
    "app",
    "media",
    "assets",
    "news",
]
_KINDS = {"image": 35, "script": 28, "xhr": 17, "sub_frame": 6, "stylesheet": 6, "font": 4, "other": 4}
_SUFFIXES = {
    "image": ".png",
    "script": ".js",
    "xhr": ".json",
    "sub_frame": ".html",
    "stylesheet": ".css",
    "font": ".woff2",
    "other": "",
}


def _label(rng: random.Random) -> str:
    one, two = rng.choice(_WORDS), rng.choice(_WORDS)
    shape = rng.random()
    if shape < 0.45:
        return one + two
    if shape < 0.60:
        return f"{one}-{two}"
    if shape < 0.75:
        return f"{one}{two}{rng.randrange(1000)}"
    if shape < 0.85:
        return one + two + rng.choice(_WORDS)
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 12)))


def host_names(count: int, seed: int) -> list[str]:
    """Return distinct hosts, a third of them below a registered domain."""
    rng, found = random.Random(seed), dict[str, None]()
    endings, weights = list(_ENDINGS), list(_ENDINGS.values())
    while len(found) < count:
        name = f"{_label(rng)}.{rng.choices(endings, weights)[0]}"
        found[f"{rng.choice(_PREFIXES)}.{name}" if rng.random() < 0.33 else name] = None
    return list(found)


def _path(rng: random.Random) -> str:
    return "/".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 4)))


def _advertising(rng: random.Random) -> str:
    """Return a part of a path as filter lists block them."""
    word = rng.choice(["ad", "ads", "adv", "banner", "track", "pixel", "sponsor", "promo", "beacon", "stat"])
    return rng.choice(
        [
            "/{0}/{1}-",
            "/{0}-{1}.",
            "_{0}_{1}.",
            "/{0}s/{1}/",
            "/{1}/{0}.js",
            "-{0}-{1}-",
            "/{0}.php?{1}=",
            ".com/{0}-{1}",
        ]
    ).format(word, rng.choice(_WORDS))


def filter_list(rules: int, hosts: list[str], seed: int) -> str:
    """Return a list in the syntax of ad blockers: rules about some of `hosts`, about paths, exceptions, and cosmetic
    rules.
    """
    rng = random.Random(seed)
    return "[Adblock Plus 2.0]\n" + "".join(f"{_filter(rng, hosts)}\n" for _ in range(rules))


def _filter(rng: random.Random, hosts: list[str]) -> str:
    host, shape = rng.choice(hosts), rng.random()
    options = rng.choice(
        [
            "",
            "",
            "$third-party",
            "$script,third-party",
            f"$domain={rng.choice(hosts)}",
            f"$image,domain=~{rng.choice(hosts)}",
        ]
    )
    if shape < 0.35:
        return f"||{host}^{options}"
    if shape < 0.50:
        return f"||{host}/{_path(rng)}{rng.choice(['/', '.js', '*', '^'])}{options}"
    if shape < 0.68:
        return _advertising(rng) + options
    if shape < 0.72:
        return f"@@||{host}^{options or '$script'}"
    if shape < 0.75:
        return f"@@||{host}/{_path(rng)}{options}"
    return f"{host}##.{rng.choice(_WORDS)}-{rng.choice(['ad', 'banner', 'sponsor'])}"


def browser_requests(count: int, hosts: list[str], seed: int) -> list[tuple[str, str, str]]:
    """Return requests:

    URL, URL of the page, kind. Pages load from their own hosts, and from `hosts`, the first ones most often.
    """
    rng, kinds, weights = random.Random(seed), list(_KINDS), list(_KINDS.values())
    pages = [f"https://www.{host}/{_path(rng)}" for host in host_names(800, seed + 1)]
    return [
        (_url(rng, page, hosts, kind), page, kind)
        for page, kind in zip(rng.choices(pages, k=count), rng.choices(kinds, weights, k=count), strict=True)
    ]


def _url(rng: random.Random, page: str, hosts: list[str], kind: str) -> str:
    own = page.split("/")[2].removeprefix("www.")
    host = f"{rng.choice(_PREFIXES)}.{own}" if rng.random() < 0.45 else hosts[int(rng.paretovariate(0.6)) % len(hosts)]
    path = _path(rng) + (_advertising(rng) + str(rng.randrange(1000)) if rng.random() < 0.08 else "")
    query = "&".join(f"{rng.choice(_WORDS)}={_token(rng)}" for _ in range(rng.choice([0, 0, 0, 1, 3, 8])))
    return f"https://{host}/{path}{_SUFFIXES[kind]}" + (f"?{query}" if query else "")


def _token(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits, k=rng.randint(1, 30)))


def write_lists(folder: Path, texts: dict[str, Iterator[str] | list[str] | str]) -> list[Path]:
    """Write lists by file name."""
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        paths[-1].write_text(text if isinstance(text, str) else "\n".join(text) + "\n", encoding="utf-8")
    return paths
