"""The data that ships: every file loads, every name is canonical and in one place only, and nothing that helps is
blocked.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from publicsuffixlist import PublicSuffixList

import hedgerow
from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.names import parse_host
from hedgerow.blocklists.yaml_files import YamlLoader
from hedgerow.policies.host_facts import Lifelines, Services
from hedgerow.policies.model import SafeSearch
from hedgerow.policies.safe_search import SearchEngines
from hedgerow.policies.text.data_files import names_in, read_data

PACKAGE = Path(hedgerow.__file__).parent
STARTER = PACKAGE / "blocklists" / "data" / "starter"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

# Without list: the hotlines entrust the one to operators, others change by the day, and the last one's names are a
# table of its own.
NOT_SHIPPED = {"illegal", "malware", "phishing", "new-domains", "never-inspect"}

# ISO 3166-1 alpha-2, all 249 codes.
COUNTRIES = set(
    re.findall(
        r"[a-z]{2}",
        """
        ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz
        ca cc cd cf cg
        ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge
        gf gg gh gi gl
        gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp
        kr kw ky kz la
        lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf
        ng ni nl no np
        nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn
        so sr ss st sv
        sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu wf ws ye yt za
        zm zw
        """,
    )
)

# Names that carry a large part of the web: whoever blocks one of them breaks strangers.
PLATFORMS = {
    "akamai.net",
    "akamaihd.net",
    "akamaized.net",
    "amazonaws.com",
    "apple.com",
    "appspot.com",
    "azureedge.net",
    "bing.com",
    "cloudflare.com",
    "cloudfront.net",
    "facebook.net",
    "fastly.net",
    "fbcdn.net",
    "firebaseapp.com",
    "github.io",
    "google.com",
    "googleapis.com",
    "googleusercontent.com",
    "googlevideo.com",
    "gstatic.com",
    "icloud.com",
    "live.com",
    "microsoft.com",
    "office.com",
    "storage.googleapis.com",
    "windows.net",
    "windowsupdate.com",
}


def read_list(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def read_yaml(*parts: str) -> Any:
    return yaml.load(PACKAGE.joinpath(*parts).read_text(encoding="utf-8"), YamlLoader)


def parents(host: str) -> Iterator[str]:
    """The host itself and every name above it."""
    while host:
        yield host
        host = host.partition(".")[2]


def covered(host: str, names: Iterable[str]) -> bool:
    known = names if isinstance(names, set) else set(names)
    return any(name in known for name in parents(host))


STARTER_LISTS = {path.stem: read_list(path) for path in sorted(STARTER.glob("*.txt"))}
SERVICES = Services.load().by_id
LIFELINES: list[dict[str, Any]] = read_yaml("policies", "lifelines.yaml")
NEVER_INSPECT: dict[str, list[str]] = read_yaml("policies", "never_inspect.yaml")
assert isinstance(LIFELINES, list)
assert isinstance(NEVER_INSPECT, dict)
KIND = {category.name: category.kind for category in builtin_categories()}
GOOD = sorted(name for name in STARTER_LISTS if KIND[name] is CategoryKind.GOOD)
BLOCK = sorted(name for name in STARTER_LISTS if KIND[name] is CategoryKind.BLOCK)


def every_name() -> dict[str, list[str]]:
    found = {f"starter/{name}": names for name, names in STARTER_LISTS.items()}
    for service in SERVICES.values():
        found[f"service {service.id}"] = list(service.domains)
        found[f"shared by {service.id}"] = list(service.shared)
    for index, entry in enumerate(LIFELINES):
        found[f"lifeline {index} {entry['name']}"] = entry.get("hosts", [])
    for group, names in NEVER_INSPECT.items():
        found[f"never_inspect {group}"] = names
    for engine in SearchEngines.load().by_id.values():
        found[f"engine {engine.id}"] = [host.removeprefix("*.") for host in engine.hosts] + sorted(
            set(engine.dns.values())
        )
    found["without_safe_mode"] = sorted(SearchEngines.load().without_safe_mode)
    return found


def test_every_name_is_canonical() -> None:
    wrong = {
        place: bad
        for place, names in every_name().items()
        if (bad := [n for n in names if parse_host(n) != n or "." not in n])
    }
    assert wrong == {}


def test_no_place_names_the_same_twice() -> None:
    # Countries may share a helpline, so lifelines are judged entry by entry.
    wrong = {
        place: twice
        for place, names in every_name().items()
        if not place.startswith("engine") and (twice := [name for name, count in Counter(names).items() if count > 1])
    }
    assert wrong == {}


def test_no_name_is_a_public_suffix() -> None:
    suffixes = PublicSuffixList(only_icann=True)
    # Portals of governments stand on the suffix of their names (gov.uk, nhs.uk): they may be named where nothing is
    # blocked.
    harmless = {f"starter/{name}" for name in GOOD} | {f"never_inspect {group}" for group in ("government", "health")}
    places = {place: names for place, names in every_name().items() if place not in harmless}
    wrong = {
        place: bad for place, names in places.items() if (bad := [name for name in names if suffixes.is_public(name)])
    }
    assert wrong == {}


def test_no_name_of_made_up_or_reserved_zones() -> None:
    reserved = re.compile(r"(^|\.)(example|invalid|test|localhost|local|example\.(com|net|org))$")
    assert [name for names in every_name().values() for name in names if reserved.search(name)] == []


def test_categories_cover_the_taxonomy_in_plain_words() -> None:
    assert len(KIND) >= 31
    assert {"illegal", "adult", "self-harm", "bypass", "unsafe-search", "messaging", "sexual-education"} <= KIND.keys()
    for category in builtin_categories():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", category.name)
        assert 20 <= len(category.description) <= 300, category.name


def test_starter_lists_name_categories_and_are_many() -> None:
    assert STARTER_LISTS.keys() <= KIND.keys()
    assert STARTER_LISTS.keys() == KIND.keys() - NOT_SHIPPED
    assert sum(map(len, STARTER_LISTS.values())) > 2000
    assert min(map(len, STARTER_LISTS.values())) > 0


@pytest.mark.parametrize("name", STARTER_LISTS)
def test_each_group_of_a_starter_list_says_where_it_can_be_verified(name: str) -> None:
    """Blocks of domains are parted by empty lines, and each begins with a comment that has a source in brackets or a
    page.
    """
    blocks = (STARTER / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert blocks[0].startswith(f"# {name}: ")
    for block in blocks[1:]:
        title, *domains = block.splitlines()
        assert title.startswith("# ")
        assert re.search(r"site|[a-z]\.[a-z]{2,}/|[a-z]\.(com|org)|settings pages", title), title
        assert domains
        assert not [line for line in domains if line.startswith("#")]


@pytest.mark.parametrize("name", STARTER_LISTS)
def test_no_name_of_a_list_is_covered_by_another_of_it(name: str) -> None:
    names = set(STARTER_LISTS[name])
    assert [host for host in names if covered(host.partition(".")[2], names)] == []


@pytest.mark.parametrize("category", BLOCK)
def test_a_block_category_touches_nothing_good_and_no_lifeline(category: str) -> None:
    blocked = set(STARTER_LISTS[category])
    good = {host for name in GOOD for host in STARTER_LISTS[name]}
    helping = {host for entry in LIFELINES for host in entry.get("hosts", ())}
    assert [host for host in sorted(good | helping) if covered(host, blocked)] == []
    assert [host for host in sorted(blocked) if covered(host, helping)] == []


HELP = [
    "988lifeline.org",
    "samaritans.org",
    "befrienders.org",
    "papyrus-uk.org",
    "jedfoundation.org",
    "selfinjurysupport.org.uk",
    "harmless.org.uk",
    "sioutreach.org",
    "lifesigns.org.uk",
    "nationaleatingdisorders.org",
    "anad.org",
    "beateatingdisorders.org.uk",
    "nedic.ca",
    "butterfly.org.au",
    "bzga-essstoerungen.de",
    "splcenter.org",
    "adl.org",
    "ushmm.org",
    "yadvashem.org",
    "hopenothate.org.uk",
    "lifeafterhate.org",
    "exit-deutschland.de",
    "hdot.org",
    "amadeu-antonio-stiftung.de",
    "samhsa.gov",
    "nida.nih.gov",
    "talktofrank.com",
    "na.org",
    "aa.org",
    "drugfree.org",
    "dancesafe.org",
    "erowid.org",
    "bluelight.org",
    "tripsit.me",
    "drugcom.de",
    "norml.org",
    "emcdda.europa.eu",
    "smokefree.gov",
    "truthinitiative.org",
    "ash.org.uk",
    "drinkaware.co.uk",
    "al-anon.org",
    "rauchfrei-info.de",
    "tabac-info-service.fr",
    "stopncii.org",
    "takeitdown.ncmec.org",
    "missingkids.org",
    "internetmatters.org",
    "iwf.org.uk",
    "cybercivilrights.org",
    "rainn.org",
    "notyourporn.com",
]


@pytest.mark.parametrize("category", ["self-harm", "violence", "hate", "drugs", "alcohol-tobacco", "ai-chat", "adult"])
def test_who_helps_informs_or_studies_is_not_taken_for_who_promotes(category: str) -> None:
    assert [host for host in HELP if covered(host, set(STARTER_LISTS[category]))] == []


def test_nothing_blockable_is_a_platform_that_others_live_on() -> None:
    blockable = {place: names for place, names in every_name().items() if place.startswith(("starter/", "service "))}
    good = {f"starter/{name}" for name in GOOD}
    assert {
        place: hit for place, names in blockable.items() if place not in good and (hit := PLATFORMS & set(names))
    } == {}


def test_services_are_many_and_those_that_everybody_names() -> None:
    assert len(SERVICES) >= 160
    wanted = {
        "youtube",
        "tiktok",
        "roblox",
        "minecraft",
        "fortnite",
        "steam",
        "snapchat",
        "instagram",
        "facebook",
        "discord",
    }
    wanted |= {"whatsapp", "chatgpt", "twitch", "netflix", "xbox"}
    assert wanted <= SERVICES.keys()
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", service.id)
        assert service.title
        assert service.domains or service.urls, service.id
        assert not set(service.domains) & set(service.shared), service.id
        assert service.id not in KIND, f"{service.id} would mean a service and a category"


def test_service_ids_are_unique_over_all_files() -> None:
    ids: Counter[str] = Counter()
    for path in (PACKAGE / "policies" / "services").glob("*.yaml"):
        ids.update(yaml.safe_load(path.read_text(encoding="utf-8")).keys())
        # YAML keeps the last of two equal keys without a word, so the text is counted too.
        ids.update(Counter(re.findall(r"(?m)^([a-z0-9-]+):$", path.read_text(encoding="utf-8"))))
    assert [name for name, count in ids.items() if count != 2] == []


def test_networks_of_services_are_public_and_have_a_source() -> None:
    entries = [
        entry for group in names_in("services") for entry in (read_data(f"services/{group}.yaml") or {}).values()
    ]
    found = [entry["networks"] for entry in entries if "networks" in entry]
    assert found
    for each in found:
        assert each["source"].startswith("https://")
        assert all(ip_network(address).is_global for address in each["addresses"])


def test_no_service_covers_another_but_the_one_it_is_part_of() -> None:
    owner: dict[str, str] = {}
    for service in SERVICES.values():
        for domain in service.domains:
            assert domain not in owner, (domain, service.id, owner.get(domain))
            owner[domain] = service.id
    for domain, id in owner.items():
        above = {owner[name] for name in parents(domain.partition(".")[2]) if name in owner}
        assert above <= {SERVICES[id].part_of}, (domain, id, above)


def test_a_part_names_a_service_that_exists() -> None:
    assert {service.part_of for service in SERVICES.values() if service.part_of} <= SERVICES.keys()


def test_url_patterns_of_services_are_a_host_and_a_path() -> None:
    for service in SERVICES.values():
        for pattern in service.urls:
            host, slash, path = pattern.partition("/")
            assert parse_host(host) == host, pattern
            assert slash, pattern
            assert path, pattern


def test_lifelines_are_many_and_say_what_they_rest_on() -> None:
    assert len({entry["country"] for entry in LIFELINES}) >= 60
    allowed = {
        "name",
        "country",
        "url",
        "phone",
        "chat",
        "text",
        "for",
        "kind",
        "hosts",
        "source",
        "knowledge",
        "checked",
    }
    purposes = {
        "children",
        "everyone",
        "abuse",
        "suicide",
        "eating",
        "lgbt",
        "abuse-images",
        "grooming",
        "online",
        "missing",
        "own-thoughts",
    }
    for entry in LIFELINES:
        assert entry["country"] in COUNTRIES | {"int"}, entry
        if entry.get("kind") == "emergency":
            assert entry.keys() == {"name", "country", "phone", "kind", "source", "checked"}, entry
            continue
        assert entry.keys() <= allowed, entry
        assert {"name", "country", "url", "for", "hosts", "source"} <= entry.keys(), entry
        assert entry["for"] in purposes, entry
        assert entry.get("kind", "talk") in ("talk", "report", ["talk", "report"]), entry
        # Reporting is offered for pictures, for people and for harm on the internet only.
        assert "report" not in entry.get("kind", ()) or entry["for"] in {
            "abuse-images",
            "grooming",
            "online",
            "abuse",
            "children",
        }, entry
        assert ("knowledge" in entry) != ("checked" in entry), entry
        assert entry.get("knowledge", "page") in {"chi", "findahelpline", "wikipedia", "page", "published"}, entry
        assert all(isinstance(entry.get(key, ""), str) for key in allowed - {"hosts", "checked", "kind"}), entry


def test_every_address_of_a_lifeline_is_one_of_its_hosts() -> None:
    for entry in LIFELINES:
        for key in ("url", "chat"):
            if key in entry:
                host = parse_host(urlsplit(entry[key]).hostname or "")
                assert host is not None
                assert covered(host, entry["hosts"]), entry
                assert urlsplit(entry[key]).scheme in {"http", "https"}


def test_lifelines_without_https_are_few_and_known() -> None:
    plain = {
        urlsplit(entry["url"]).hostname
        for entry in LIFELINES
        if not entry.get("url", "https://").startswith("https://")
    }
    assert plain == {
        "suicide-help.gr",
        "www.aasra.info",
        "www.lavozamigaperu.org",
        "detionline.com",
        "www.fpv.org.ve",
        "tongdai111.vn",
    }


def test_phone_numbers_are_dialled_and_the_best_known_are_right() -> None:
    for entry in LIFELINES:
        assert re.fullmatch(r"[0-9][0-9 -]{1,18}", entry.get("phone", "000")), entry
        assert re.fullmatch(r"[0-9][0-9 -]{1,12}", entry.get("text", "000")), entry
    phones = {(entry["country"], entry.get("phone", "").replace(" ", "").replace("-", "")) for entry in LIFELINES}
    assert phones >= {
        ("gb", "08001111"),
        ("ca", "18006686868"),
        ("au", "1800551800"),
        ("us", "988"),
        ("us", "18004224453"),
        ("de", "116111"),
        ("pt", "116111"),
        ("fr", "119"),
        ("in", "1098"),
        ("za", "116"),
        ("nl", "08000432"),
        ("se", "116111"),
    }


def test_no_lifeline_lives_on_a_platform() -> None:
    platforms = PLATFORMS | {
        "facebook.com",
        "instagram.com",
        "youtube.com",
        "twitter.com",
        "x.com",
        "tiktok.com",
        "wikipedia.org",
    }
    assert {host for entry in LIFELINES for host in entry.get("hosts", ())} & platforms == set()


def test_no_service_takes_a_lifeline_with_it() -> None:
    helping = {host for entry in LIFELINES for host in entry.get("hosts", ())}
    for service in SERVICES.values():
        assert [host for host in helping if covered(host, service.domains)] == [], service.id


def test_the_loader_shows_a_countrys_helplines() -> None:
    lifelines = Lifelines.load()
    for country, name in (
        ("pt", "SOS-Criança (Instituto de Apoio à Criança)"),
        ("NO", "Alarmtelefonen for barn og unge"),
    ):
        assert name in [lifeline.name for lifeline in lifelines.for_country(country)]
    assert "childline.org.uk" in lifelines.hosts


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real lists is not beside the checkout")
def test_no_block_category_and_no_service_holds_a_helpline_known_to_others() -> None:
    with (SHARED / "helplines" / "helplines-half-a.tsv").open(encoding="utf-8") as file:
        known = {row["host"].lower() for row in csv.DictReader(file, delimiter="\t")}
    # These helplines have a page on somebody else's site, which the service's own rule decides about.
    known -= {"www.facebook.com", "accounts.kakao.com"}
    blocked = {host for name in BLOCK for host in STARTER_LISTS[name]} | {
        d for service in SERVICES.values() for d in service.domains
    }
    assert len(known) > 150
    assert sorted(host for host in known if covered(host, blocked)) == []


def test_never_inspected_groups_have_reasons_and_no_name_twice() -> None:
    assert {
        "banks",
        "payment",
        "health",
        "government",
        "apple",
        "google",
        "messengers",
        "pinned-apps",
    } <= NEVER_INSPECT.keys()
    names = Counter(name for group in NEVER_INSPECT.values() for name in group)
    assert [name for name, count in names.items() if count > 1] == []
    text = (PACKAGE / "policies" / "never_inspect.yaml").read_text(encoding="utf-8")
    for group in NEVER_INSPECT:
        assert re.search(rf"(?m)^# .{{20,}}\n{group}:$", text), f"{group} does not say why"


def test_nothing_that_safe_search_must_change_is_kept_from_inspection() -> None:
    closed = {name for group in NEVER_INSPECT.values() for name in group}
    hosts = [host.removeprefix("*.") for engine in SearchEngines.load().by_id.values() for host in engine.hosts]
    assert [host for host in hosts if covered(host, closed)] == []


def test_nothing_that_service_urls_name_is_kept_from_inspection() -> None:
    closed = {name for group in NEVER_INSPECT.values() for name in group}
    hosts = [pattern.partition("/")[0] for service in SERVICES.values() for pattern in service.urls]
    assert [host for host in hosts if covered(host, closed)] == []


def test_engines_are_regular() -> None:
    data = read_yaml("policies", "safe_search.yaml")
    assert isinstance(data, dict)
    levels = {str(level) for level in SafeSearch} - {"off"}
    keys = {"title", "setting", "hosts", "dns", "paths", "remove", "set", "headers", "words", "pictures", "ai"}
    for id, entry in data["engines"].items():
        assert entry.keys() <= keys, id
        assert entry.get("ai", {}).keys() <= {"hosts", "paths", "query", "searches", "set", "unless"}, id
        assert entry["setting"] in {"safe_search", "youtube"}, id
        for by_level in ("dns", "set", "headers"):
            assert entry.get(by_level, {}).keys() in (levels, set()), (id, by_level)
        assert entry.get("dns") or entry.get("set") or entry.get("headers"), f"{id} has no safe mode at all"
        assert all(path.startswith("/") for path in entry.get("paths", [])), id
        assert bool(entry.get("paths")) == bool(entry.get("set")), id
        assert entry.get("pictures", {}).keys() in (set(), {"hosts", "path", "words"}), id
        for parameters in [*entry.get("set", {}).values(), *entry.get("headers", {}).values()]:
            assert all(isinstance(part, str) for pair in parameters.items() for part in pair), id


def test_no_host_belongs_to_two_engines_or_to_one_without_safe_mode() -> None:
    engines = SearchEngines.load()
    hosts = Counter(host for engine in engines.by_id.values() for host in engine.hosts)
    assert [host for host, count in hosts.items() if count > 1] == []
    assert [host for host in hosts if covered(host.removeprefix("*."), engines.without_safe_mode)] == []


def test_google_is_known_under_its_country_domains_with_and_without_www() -> None:
    hosts = set(SearchEngines.load().by_id["google"].hosts)
    apexes = {host for host in hosts if host.startswith("google.")}
    assert len(apexes) >= 185
    assert {f"www.{apex}" for apex in apexes} <= hosts
    assert {
        "google.com",
        "google.pt",
        "google.co.uk",
        "google.com.br",
        "google.com.au",
        "google.co.jp",
        "google.cat",
    } <= apexes


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real lists is not beside the checkout")
def test_google_hosts_agree_with_a_list_kept_by_others() -> None:
    text = (SHARED / "safesearch" / "adguard" / "google.txt").read_text(encoding="utf-8")
    theirs = set(re.findall(r"\|(www\.google\.[a-z.]+)\^", text))
    assert len(theirs) > 180
    assert theirs == {host for host in SearchEngines.load().by_id["google"].hosts if host.startswith("www.google.")}


def test_the_starter_list_of_unsafe_engines_is_the_same_as_in_the_table() -> None:
    assert set(STARTER_LISTS["unsafe-search"]) == SearchEngines.load().without_safe_mode


def test_names_that_must_not_resolve_are_in_bypass() -> None:
    bypass = set(STARTER_LISTS["bypass"])
    assert {
        "mask.icloud.com",
        "mask-h2.icloud.com",
        "use-application-dns.net",
        "dns.google",
        "torproject.org",
        "nordvpn.com",
    } <= bypass
    # icloud.com itself is mail and photographs.
    assert not {"icloud.com", "google.com", "translate.google.com"} & bypass


def test_what_a_service_yields_is_its_own_and_somebody_needs_it() -> None:
    services = Services.load().by_id.values()
    for service in services:
        for name in service.yields:
            assert name in service.domains, (service.id, name)
            assert any(name in other.shared for other in services if other is not service), (service.id, name)
