"""Parts of host names: those that are judged, and those that rule out a block. Pure."""

from __future__ import annotations

import re
from typing import Final

from hedgerow.blocklists.names import load_public_suffixes, short_domain

MAX_TEXT: Final = 50
"""Characters of a name that are judged: the last ones, with those of the registered domain."""
MAX_SHAPE: Final = 20
"""Characters of the shape of a name."""
SECOND_LEVEL: Final = frozenset({"co", "com", "net", "org", "ne", "or", "gen", "web"})
"""Labels under which names of countries are registered, whether the list of public suffixes says so or not."""


def site_part(host: str) -> str:
    """Return the end of a host by which its site is judged: the registered domain, with the label before it unless that
    is a machine's.

    Hosts with the same one get the same text, and imitate the same name. Where more labels may count, it is the whole
    host.

    >>> site_part("cdn7.www.example.org"), site_part("a.garden.example.org"), site_part("www.example.co.uk")
    ('example.org', 'garden.example.org', 'www.example.co.uk')
    """
    domain = short_domain(host)
    site, _, top = domain.partition(".")
    if not domain or is_uninformative_label(site) or (len(top) == 2 and site in SECOND_LEVEL):
        return host
    label = host[: -len(domain) - 1].rpartition(".")[2]
    return domain if is_uninformative_part(label) else f"{label}.{domain}"


def is_uninformative_label(label: str) -> bool:
    """Return whether a label says nothing about a site."""
    return label.rstrip("0123456789-") in _MACHINES


def is_uninformative_part(label: str) -> bool:
    """Return whether a label before that of a site says nothing about it.

    >>> (is_uninformative_part("cdn7"), is_uninformative_part("20870592p"), is_uninformative_part("live-chat"),
    ...  is_uninformative_part("garden"))
    (True, True, True, False)
    """
    return is_uninformative_label(label) or _NUMBERED.search(label) is not None


def text_of(host: str) -> str:
    """Return the text that is judged: the last three labels between dots, without those of machines and without a
    hoster's name.

    A word for what somebody is, or of medicine, becomes a hyphen.

    >>> (text_of("www.example.org"), text_of("cdn7.a.garden.example.org"), text_of("someone.blogspot.com"),
    ...  text_of("gaychoir.de"))
    ('.example.org.', '.garden.example.org.', '.someone.', '.-choir.de.')
    """
    return _NEUTRAL.sub("-", f".{'.'.join(own_labels(host))}."[-MAX_TEXT:])


def shape_of(text: str) -> str:
    """Return the labels of a text that have digits, with `#` for each of them and in capitals: mirrors of a site differ
    in their numbers.

    Only gambling is judged by them.

    >>> shape_of(".12win7.com."), shape_of(".winter.com.")
    ('##WIN#.', '')
    """
    shape = _DIGIT.sub("#", text)
    return (
        "" if shape == text else "".join(f"{label}." for label in shape.split(".") if "#" in label).upper()[:MAX_SHAPE]
    )


_DIGIT: Final = re.compile("[0-9]")


def own_labels(host: str) -> list[str]:
    """Return the last three labels of a host, without those of machines and without a hoster's name."""
    labels, least = host.split("."), 2
    if len(labels) > 2:
        hosters = load_public_suffixes().hosters
        for count in (2, 3):
            if len(labels) > count and ".".join(labels[-count:]) in hosters:
                del labels[-count:]
                least = 1
                break
        while len(labels) > least and (len(labels) > 3 or is_uninformative_part(labels[0])):
            del labels[0]
    return labels


def is_inconclusive(host: str) -> bool:
    """Return whether a name is of a kind that harmless sites have too, without an explicit part, so that it does not
    justify a block.

    >>> (is_inconclusive("gay-youth.org"), is_inconclusive("gayporntube.com"), is_inconclusive("garden.com"),
    ...  is_inconclusive("15880.com"))
    (True, False, False, True)
    >>> is_inconclusive("gambling-addiction-casino.com"), is_inconclusive("xn--80a.com")
    (True, True)
    """
    labels = own_labels(host)
    name = ".".join(labels)
    neutral = _NEUTRAL.sub("-", name)
    if "xn--" in name or names_help(f"{name}."):
        return True
    if _EXPLICIT.search(neutral):  # most names that are asked about
        return False
    return names_a_field(f".{name}.") or is_code(labels) or not _has_indicative_word(labels)


def names_help(name: str) -> bool:
    """Return whether a name with a dot at its end is one of help."""
    return _HELP.search(name) is not None


def names_a_field(name: str) -> bool:
    """Return whether a name between two dots has a word for people, or of health, education, news or the like."""
    return _NEUTRAL.search(name) is not None or _FIELDS.search(name) is not None


def is_sensitive(host: str) -> bool:
    """Return whether a name may tell something about whoever opens the site: words of health, help, people, schools and
    communities.

    International names are sensitive too, since the words in them can't be read here.

    >>> is_sensitive("essstoerung-hilfe.de"), is_sensitive("bunny-club.org"), is_sensitive("kleine-eisenbahn.net")
    (True, True, False)
    """
    return "xn--" in host or any(words.search(f".{host}.") for words in (_HELP, _NEUTRAL, _FIELDS))


def is_code(labels: list[str]) -> bool:
    """Return whether the site itself has a short name that may mean anything."""
    is_short = _CODE.fullmatch(labels[0].replace("-", "")) is not None
    return is_short and (len(labels) < 3 or ".".join(labels[1:]) in load_public_suffixes().registries)


def _has_indicative_word(labels: list[str]) -> bool:
    """Return whether ambiguous words are not alone."""
    return any(
        len(_AMBIGUOUS.sub("", label).strip("-0123456789")) > 2 or not _AMBIGUOUS.search(label)
        for label in labels[:-1] or labels
    )


def without_ambiguous(text: str) -> str:
    """Return a text with a hyphen for each word of ordinary sites, unless something explicit is next to it."""
    plain = _AMBIGUOUS.sub("-", text)
    return text if plain == text or _EXPLICIT.search(plain) else plain


def any_of(*words: str) -> str:
    """Return a regular expression of alternatives.

    Those with the same first letter are grouped, since `re` tries each at each character.

    Where all of them begin with a letter, it skips the characters with which none begins.
    """
    groups: dict[str, list[str]] = {}
    for word in words:
        letter = word[0] if word[0].isalnum() else ""
        groups.setdefault(letter, []).append(word[len(letter) :])
    return "|".join(f"{letter}(?:{'|'.join(rests)})" for letter, rests in groups.items())


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(any_of(*words.split()))


_NEUTRAL: Final = _any_of(
    r"""
    gays? lesb(?:i(?:an|enne|ana|ca|sch|jka)s?|en)? lgbt(?:qia?|q|i)? queers? homosex(?:uals?|uell|uel|ual)?
    bisex(?:uals?)? intersex
    asexual transgender transsex(?:uals?)? schwul sexual(?:ity|idad|idade|itaet|ite)? sexuell?e?
    se[ksx]+ual(?:nosc|nost|iteit|itet)?
    cinsel(?:lik)? abortion aborto avortement abtreibung condoms? kondome? preservati[fv](?:os?|e|i|es)? prezerwatywy?
    hiv aids
    chlamydia syphilis herpes breast prostate vagina vulva penis urolog androlog gyna?ecolog ginecolog gynekolog sexolog
    seksuolog
    sexopedag birth-?control contracepti(?:on|ve)s? contraception anticoncep(?:cao|cion|tivos?) verhuetung antykoncepcj
    fertility
    menopause menstruat(?:ion|ie)
    safer?@ pre-?marital@ talk(?:ing)?about@ lets-?talk@ hablemos-?de@ parlons@ falando-?(?:de|sobre)@ rozmawiajmyo@
    sex-?(?:ed(?:ucat(?:ion|or)s?)?|work(?:ers?)?|arbeit|abuse|assault)
    sex-?(?:offend(?:er)?s?|traffick(?:ing)?|addict(?:ion|s)?|therap(?:y|ist)s?|positiv(?:e|ity)) szexmunka szexualis
    sexarbeid
    travaildusexe trabajosexual porn-?(?:addict(?:ion|s)?|free|sucht|blocker) anti-?porno? quit-?porno?
    s(?<!nons)(?<!non-s)top-?porno?
""".replace("@", "-?(?:sex(?:e|o)?|seks)")
)
"""Words that must not count, whatever lists contain: names of sites for and about people, and of health, have them
too.
"""

_FIELDS: Final = _any_of(r"""
    health wellness gesund sante(?![a-z]) salud saude salute sundhed halso terveys zdrow zdrav saglik klinik clini[cq]
    hospi(?:tal|ce)
    hopital ospedale krankenhaus medici medizin medecin medical doctor doktor arzt aerzt nurs(?:e|ing) pharma apothek
    farmaci patient
    cancer krebs therap rehab psych surger surgical dermat pediatr onkolog oncolog midwi[fv]e obstetri pregnan schwanger
    embaraz gravid
    grossesse reproducti pubert testicul cervical autis diabet disab handicap dement nutrition vaccin vacun impfung
    school schule
    escuela escola colegio ecole scuola skole szkol kollege college gymnasium lyce universi uniwersy academ akadem educa
    student teacher
    lehrer librar biblio museum museo musee instit campus kindergarten research scien history archiv language encyclop
    wiki govern
    gobierno regierung ministr minister municip parliament embass council county townof cityof stadt- gemeinde gmina
    mairie police
    polizei policia polici commission federal senat congres court legisl tribunal customs statistic justi[cz] pride
    rainbow equality
    rights derechos direitos droits diritti prawa support hilfe ayuda helpline hotline crisis survivor victim shelter
    charit foundation
    funda[cs] fondazion stiftung nadac associa asocia verein verband societ allian[cz] coalition network netzwerk
    cent(?:er|re|ro|rum)(?![a-z]) zentrum movement movimi?ento federa initiativ campaign advoca communit comunidad
    gemeinschaft youth
    jugend jeunes jovenes juvent famil parent eltern marriage diversit inclus solidar memorial church kirche iglesia
    igreja eglise
    chronic disease illness krankheit maladie enfermedad asthma allerg epilep lupus arthrit scleros dystroph migrain
    cardi[ao] kidney
    dental dentist zahn hearing wellbeing mental anxiety depress suicid grief trauma recovery violence gewalt violencia
    awareness
    township village county borough landkreis ayuntamiento comune prefeit nation(?!al) trib(?:al|e(?![a-z])) district
    sheriff rescue
    feuerwehr bombeir bomberos pompier ambulan emergen sewer transit airport housing election registr veteran senior
    elder alumni
    scholar kinder pupil usd\d labrys sapphi two-?spirit non-?binary genderq
    [.-]st-?(?:john|mary|luke|mark|paul|peter|david|andrew|james|joseph|george|ann|francis|vincent|elizabeth|clare|nicholas|patrick)
    [.-]st-?(?:thomas|michael|martin|louis|anthony|charles|bernard|dominic|benedict|agnes|edward|alban|barnabas|stephen|jude|helen)
    theolog seminary mosque synagog gospel wildlife
    cdn parish catholic christ bible jesus islam muslim jewish lotter(?:y|ie)s?\. same-?sex opposite-?sex scouts
    boys?-?love girls?-?love
    gazet journal herald tribun newspaper magazin zeitung diario noticias notizie actualit news radio
    \.(?:org|ngo|ong|foundation|health|hospital|clinic|doctor|care|charity|church)\.(?:[a-z]{2}\.)?$
    \.(?:lgbt|gay|museum|school|university|academy|education|aero|coop)\.(?:[a-z]{2}\.)?$
""")
"""Words of health, education, government, communities, news and machines, in several languages, and top-level domains
for these.
"""

_EXPLICIT: Final = _any_of(
    r"""
    porno? xxx x-?videos? xvid xnxx xham fuck cock(?!pit|tail|burn|er|atoo) dick(?!en|ins) cum(?!b|m|en|ul) nud[ei]
    naked nackt desnud
    tube(?!rc) anal(?!y|o) blow-?job milf escort call-?girl hentai c(?<!webc)(?<!web-c)ams(?![a-z])
    cam-?(?:girl|sex|chat) slut whore hooker
    prostitut bdsm fetish bondage domina erot boob tits puss(?:y|ies) hardcore bareback wank jerk strip(?!e) twink
    shemale lady-?boy trann
    orgy
    hook-?up hunks hung(?!a|er) jizz squirt creampie gang-?bang dildo orgasm incest bokep ngentot desi-?sex fick hure
    nutte
    sexe?-?(?:y|cam|chat|film|movie|video|clip|live|shop|toy|dat|pic|photo|foto|phone|tel)
    sexe?-?(?:kontakt|treff|spiel|game|porn|hot|free|girl|story|stories|tv|hd|x)
    phone@ telefon@ free@ live@ hot@ hard@ web@ phim@ clip@ video@ cyber@ hd@ gratis@ 69@ puta(?!t) culo(?![nr]) tetas
    baise salope
    chatte(?!r) porr pelado sikis casino kasino cassino bets?(?![a-z]) b(?<![a-z]b)et(?!h|a(?![a-z])|t?er|ty|hel|on)
    b(?<=[a-z]b)et(?=win|giris|tr|app|slot|tv|365) bahis giris slots?(?![a-z]) slot(?=gac|onl|88|777|dem) poker togel
    judi(?![ct]) gacor
    jackpot roulette baccarat bingo 777 888 1x-?(?:bet|slot|stav) \.(?:adult|porn|sex|xxx)$
""".replace("@", "-?sexo?")
)
"""Parts of names that leave no doubt, also together with one of those words."""

_HELP: Final = _any_of(r"""
    addiction sucht(?:hilfe|beratung) spielsucht adiccion dipendenza ludopat awareness prevention helpline anonymous\.
    gamcare
    survivors?(?![a-z]) traffick exploitation responsible-?g problem-?gambl gambling-?commission
""")
"""Parts of names of help, together with which even those words say nothing."""

_AMBIGUOUS: Final = _any_of(r"""
    g(?<!callg)(?<!call-g)(?<!camg)(?<!sexg)(?<![a-z]tg)irl(?:s(?!ex))? b(?<!ladyb)(?<!femb)(?<!playb)oy(?:s(?!ex))?
    lady(?!-?boy) ladies
    wom[ae]n t(?<!pret)een(?:s(?!ex))? loves(?!ex) love passions?(?!ex) intim[aeo]?(?![a-z]) romance
    exam(?!at)(?:en|ens|ina|s)?
    midsex mittelsex neighsex essex sussex wessex middlesex unissex sext(?:ant|on|et) angels? vegas
    sexo?-?(?:info|seguro|joven|atlas|corporel) sex-?(?:and|und|og|och)-?(?:relation|love|body|you|du|so(?![a-z]))
    strip-?till stripboek stripwinkel pornic(?:het)?(?![a-z]) pornainen sext(?:en|ner) sexau(?![a-z]) sexbierum sexsmith
    erosion
    tube(?=-?(?:fitting|station|amp|map|light)) (?:stadt|kurhaus)-?casino
    casino(?=-?(?:theat|drive|garten|kon[zc]ert|supermar))
    web-?cams?(?!-?(?:girl|sex|chat|slut)) vulkan(?!-?\d)
    amateur(?=e?s?-?(?:fuss|foot|soccer|radio|theat|astro|box|rugby|hockey|golf|orchest|musi|liga|sport|photo))
    slut(?:spurt|station|rea(?![a-z])|besikt|skede|spel|rapport|tid)
    porn(?:chai|th?ip|sawan|pim|thep|siri|sak|prasert|narong|wilai)
    (?<![a-z])(?:siri|som|supp?a|watth?ana|jira|jitra|am|um|ora|nat(?:ta|cha)|nutta|thiti|chana|kanya|wara|dara|rattana|patchara|kamol)porn
    (?<![a-z])(?:malai|chuti|sasi|uma|pana|suta|sata|saeng|aru|wila|yupa|benja|chala|kittiya|panna|thana|pen|sopa|baan)porn
""")
"""Words that ordinary sites use too, with towns and their webcams, Swedish words (`slut` is an end) and Thai names
(`porn` is a blessing): alone they do not justify a block.
"""

_CODE: Final = re.compile(r"[a-z\d]{1,4}|\d{1,6}|(?=.{5}$)[a-z]+\d[a-z]+")
"""A name that has, without hyphens, at most four characters, six digits, or five characters with a single digit:
abbreviations, numbers.
"""

_NUMBERED: Final = re.compile(r"\d{5}|(?:^|-)(?:live|tier|prod|stage|mqtt|eu|us|node)\d?-|\d-?[a-f]+\d+[a-f]+\d")
"""Parts of labels that number machines."""

_MACHINES: Final = frozenset(
    (
        "",
        "www",
        "m",
        "mobile",
        "amp",
        "cdn",
        "static",
        "statics",
        "img",
        "image",
        "images",
        "pic",
        "pics",
        "media",
        "assets",
        "api",
        "app",
        "apps",
        "s",
        "i",
        "a",
        "b",
        "c",
        "d",
        "t",
        "v",
        "metrics",
        "analytics",
        "stats",
        "track",
        "tracking",
        "ads",
        "ad",
        "mail",
        "smtp",
        "mx",
        "ns",
        "ftp",
        "blog",
        "shop",
        "store",
        "support",
        "help",
        "en",
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "ru",
        "us",
        "uk",
        "video",
        "videos",
        "tube",
        "stream",
        "live",
        "web",
        "go",
        "click",
        "login",
        "secure",
        "dev",
        "test",
        "staging",
        "beta",
        "old",
        "new",
        "forum",
        "wiki",
        "news",
        "models",
        "data",
        "docs",
        "jobs",
        "careers",
        "portal",
        "my",
        "cms",
        "files",
        "download",
        "downloads",
        "edge",
        "node",
        "gateway",
        "sso",
        "auth",
        "account",
        "accounts",
        "id",
        "chat",
        "status",
        "events",
        "community",
        "learn",
        "intranet",
        "remote",
        "vpn",
        "webmail",
        "autodiscover",
        "cpanel",
        "email",
        "link",
        "links",
        "survey",
        "maps",
        "gis",
        "open",
    )
)
"""First labels that say nothing about a site, apart from digits at their end."""
