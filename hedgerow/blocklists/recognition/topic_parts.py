"""Parts of names that keep a site open although it looks like a topic, and parts that leave no doubt. Pure.

For these topics a wrong block does more harm than a wrong pass. So a name with a word of help, recovery, prevention,
law, news or history is never judged, whatever else it says. A name of a field such as health or education, or under a
top-level domain of the public interest, is judged only if it has a clear part. For the topics about which help
matters most, a clear part is always needed.
"""

from __future__ import annotations

import re
from typing import Final

from hedgerow.blocklists.recognition.name_parts import any_of, is_code, names_a_field, names_help, own_labels


def is_open_topic(host: str, topic: str) -> bool:
    """Return whether a name stays open although it looks like a topic.

    >>> is_open_topic("drug-rehab-center.com", "drugs"), is_open_topic("buy-weed-seeds.com", "drugs")
    (True, False)
    >>> is_open_topic("suicide-prevention-chat.com", "self-harm"), is_open_topic("proana-tips.com", "self-harm")
    (True, False)
    >>> is_open_topic("holocaust-memorial.net", "hate"), is_open_topic("gundam-model-shop.com", "weapons")
    (True, True)
    """
    if is_harmless_topic(host):
        return True
    labels = own_labels(host)
    name = f".{'.'.join(labels)}."
    if has_clear_part(name, topic):
        return False
    return topic in _CLEAR_ONLY or names_a_field(name) or is_code(labels)


def is_undressing(text: str) -> bool:
    """Return whether the text of a name is one of a maker of undressed pictures of people.

    >>> is_undressing(".undress-ai.app."), is_undressing(".nudify.online."), is_undressing(".dressing-room.com.")
    (True, True, False)
    """
    return any(word in text for word in _UNDRESSING_WORDS) and _UNDRESSING.search(text) is not None


def has_clear_part(name: str, topic: str) -> bool:
    """Return whether a name between two dots has a part that leaves no doubt about a topic."""
    return _CLEAR[topic].search(name) is not None


def is_harmless_topic(host: str) -> bool:
    """Return whether a name is one of help, recovery, research, law or history, or of another sense of such words."""
    name = f".{'.'.join(own_labels(host))}."
    return "xn--" in name or names_help(name) or _HARMLESS.search(name) is not None


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(any_of(*words.split()))


_HARMLESS: Final = _any_of(r"""
    rehab recover therap treatment counsel praevention prevenc prevenz sucht beratung hilfe(?![a-z]) lifeline hotline
    support aiuto ajuda ayuda aide(?![a-z]) apoio sober sobriety detox quit(?!o) harm-?reduc overdos smoke-?free
    smoking-?cessat stop(?:p)?-?(?:smok|vap|drug|hate|gun|bull|viol|suicid|rauch|racis|rassis) (?<![a-z])stop-
    (?:drug|gun|hate|tobacco|violence|alcohol|smoke|nicotine|vape|drogen|rauch)-?frei?e?(?![a-z])
    (?:drug|gun|hate|tobacco|violence|alcohol|smoke|nicotine|vape)-?free(?![a-z])
    anti-?(?:drug|drog|gun|hate|nazi|rac|rass|semit|suicid|bull|smok|taba|vap|fasc|fasz|terror|viol|diskrim|discrim|defam)
    antifa(?![a-z]) against(?!-?(?:jew|islam|muslim)) (?<![a-z])gegen (?<![a-z])contra-?(?:la|el|o|il|le|as?)(?![a-z])
    museum memorial gedenk shoah holocaust(?!-?(?:hoax|lie|fraud)) remembr histor archiv document research studies
    stud(?:y|ium) institut univers academ educa laws?(?![a-z]) lawyer law-?(?:cent|firm|school|office|group) attorney
    lawsuit legal(?!-?high) justic court polic(?:e|y|ies|ia)(?![a-z]) reform(?!at) commission decriminal legali[sz]
    norml(?![a-z]) advoca alliance(?=-?(?:for|against))
    drug-?(?:test|check|info|polic|aware|educ|interact|discov|develop|deliver|target|bank|abuse|scan|court|war|store|label)
    gun-?(?:violence|control|safe|sense|lock|law|owner|dam|ther|nar|powder) hate-?(?:crime|speech|watch|map|monitor)
    knife-?crime domestic gewaltfrei opfer(?![a-z]) victim survivor exit-?(?:deutsch|usa|program) aussteig
    suicide-?(?:prevent|hotline|lifeline|crisis|loss|aware|bereav|stop|watch|squad|note|forum-?support)
    dating-?(?:viol|abus|scam|safe|advice) carbon-?dat radio-?carbon radiometric
    blood-?(?:bank|don|test|pressure|sugar) eating-?dis essst anorexi bulimi(?!a-?tips) tca(?![a-z])
    gam(?:es?|er|ers|ing)(?![a-z]) minecraft roblox anime(?![a-z]) manga comic(?!-?sex) tattoo recip rezept kitchen
    cook cosplay costume paint(?:ball|ing|s)? nail(?!s?-?bomb) glue massage(?!-?date) toys?(?![a-z]) kids child kinder
    tennis badminton squash-?club golf football soccer rugby cricket volleyball basketball theat(?:er|re) orchest
    symphon choir ballet opera(?![a-z]) festival hotel restaurant
    weed-?(?:control|kill|remov|eat|wack|whack|man|barrier) sea-?weed tumble-?weed gore-?tex
""")
"""Parts of names of help, recovery, prevention, law, history and of other senses. Next to them, nothing else counts."""

_CLEAR: Final = {
    "dating": _any_of(r"""
        dating matchmak match-?maker hook-?ups? flirt single-?b(?:oe|o)rse partner-?(?:suche|vermittl|boerse)
        kontaktanzeig seitensprung rencontres?(?![a-z]) celibataires? agence-?matrimon incontri(?![a-z]) namoro
        solter[oa]s relatiebureau randki seznamk tarskeres znakomst sugar-?(?:dad|bab) speed-?dat blind-?date
        (?:russian|ukrain\w*|asian|thai|filipina|latin|slavic|mail-?order|foreign)-?(?:brides?|women|wives|girls)
        meet-?(?:singles|women|girls|men|local)
        singles(?=\.|-?(?:chat|club|dat|meet|online|finder|net|suche|usa|uk|match|event|4)) people-?meet
        personals(?![a-z]) arkadaslik shaadi matrimon
    """),
    "drugs": _any_of(r"""
        (?:cannabis|marijuana|marihuana|weed|ganja|hemp|hanf|wiet)-?(?:seed|samen|shop|store|dispens|deliver|market|online|4-?sale)
        (?:seeds?|shop|store|buy|order|graines|semillas|semi)-?(?:de-?)?(?:cannabis|marijuana|marihuana|weed|ganja)
        grow-?shop head-?shop smart-?shop (?<![a-z])bongs?(?![a-z]) bong-?(?:shop|world) ganja legal-?highs?
        magic-?mushroom magic-?truffle shroom(?:s|ery) seed-?bank(?=-?(?:cannabis|weed|420)) 420(?!\d) viagra kamagra
        cialis levitra sildenafil tadalafil xanax oxyconti oxycodon tramadol percocet vicodin no-?prescription
        without-?prescription sans-?ordonnance sin-?receta rezeptfrei research-?chem kratom mdma cocaina dianabol
        trenbolon
        (?:buy|order|cheap|kaufen|acheter|comprar)-?(?:cocain|kokain|lsd|mdma|ecstasy|ketamin|heroin|drug|drog|steroid)
        (?:rx|pills?|meds)-?(?:online|shop|store|express|mart|4-?less)
    """),
    "alcohol-tobacco": _any_of(r"""
        vap(?:e|or)s?-?(?:shop|store|juice|pen|world|king|direct|outlet|s?uperstore) vaping(?![a-z]) e-?liquids?
        e-?juice e-?cigs?(?![a-z]) e-?cigar e-?zigar cigars?-?(?:shop|world|king|online|lounge) cigarettes? zigaretten
        tabak-?(?:shop|waren|laden) (?<![a-z])snus(?![a-z]) hookah shisha liquor-?(?:store|shop|online|mart)
        nicotine-?pouch (?:wine|beer|whisky|whiskey|vodka|wein|bier)-?(?:shop|store|versand|online|delivery)
    """),
    "weapons": _any_of(r"""
        (?<![a-z])guns?-?(?:shop|store|broker|dealer|sale|auction|parts|for-?sale|4-?sale|mart|depot) firearms?
        (?<![a-z])ammo(?![a-z]) ammunition(?!-?museum) (?<![a-z])ar-?15 (?<![a-z])ak-?47 waffen-?(?:shop|laden|handel)
        armurerie handguns? shotguns? airguns? (?<![a-z])rifles?-?(?:shop|store|sale)
    """),
    "hate": _any_of(r"""
        white-?(?:power|pride|nationalis|suprem|resist|revolution|surviv|genocid) (?<![a-z])aryans?(?!a|o|e|i)
        aryan-?(?:nation|brother|wom|88) (?<![a-z])(?:neo-?)?nazis?(?![a-z]) nazi-?(?:party|forum|front|music|skin)
        (?<!\d)(?:1488|14-?88)(?!\d) skin-?heads? hammer-?skin blood-?(?:and|n|&)?-?hono combat-?18
        (?<![a-z])kkk(?![a-z]) ku-?klux klans(?:men|man) (?<![a-z])klan(?![a-z]) holo-?hoax
        holocaust-?(?:hoax|lie|fraud) niggers? chimp-?out faggots? (?<![a-z])kikes? god-?hates rahowa
        (?<![a-z])zog(?![a-z]) jew-?(?:watch|hat) hitler(?!-?(?:bio|jugend-?dok))
        national-?soziali(?:st|smus)(?!-?dok) national-?socialis al-?qa(?:e|i)da(?!-?(?:trial|watch)) mujahid mujahed
        jihad(?=-?(?:media|forum|unspun|online|net|\.)) incels?(?=[.-]|-?forum) black-?pill
    """),
    "violence": _any_of(r"""
        (?<![a-z])(?:best|live|real|deep|raw|daily|xxx)?-?gore-?(?:video|tube|zone|pic|photo|site|clip|world|hub|net|tv|center|grish|\.)
        snuff-?(?:film|movie|tube|video|x) behead decapit faces-?of-?death death-?(?:video|tube|addict)
        watch-?people-?d see-?gore (?:street|real|brutal|bum|hood|ghetto|backyard|school|girl)-?fights?
        (?<![a-z])bagarr (?:murder|execution|torture|killing|cartel|brutal|fatal)-?(?:video|clip|tube|photo)s?
        narco-?(?:video|ejecu) crush-?video hooligan(?=s?-?(?:fight|tv|net|\.)) dog-?fights? cock-?fight(?:s|ing)?
        (?:crime-?scene|morgue|autopsy)-?(?:photo|pic)
    """),
    "self-harm": _any_of(r"""
        pro-?ana(?:-?(?:mia|tips?|blog|forum|diet|world|girls?|princess|life|buddy|coach|goals|thin|and|y|community|club|skinny|nation))
        (?<![a-z])(?:my-?|i-?)?pro-?ana-?s?(?![a-z]) (?<![a-z])pro-?mia-?(?:tips?|blog|forum|club|girls)?(?![a-z])
        thin-?spo(?![rtn]) thinspirat thinspirac bonespo meanspo
        (?<![a-z])(?:princesas-?)?ana-?(?:y|and|et|und|n)-?mia suicide-?(?:method|guide|kit|pact|partner|forum)
        ways-?to-?(?:die|kill) how-?to-?(?:die|kill-?(?:your|my)self|commit) kill-?(?:my|your)self exit-?bags?
        painless-?(?:suicid|death) sanctioned-?suicid selbstmord-?(?:method|forum) suicid-?arse
        (?:self-?harm|self-?injury)-?(?:blog|pic|tips) edtwt wanna?-?be-?thin thin-?is-?beaut
        starving-?for-?(?:perf|beaut) blue-?whale-?(?:chall|game)
    """),
    "ai-chat": _any_of(r"""
        (?<![a-z])ai-?(?:girl-?friend|boy-?friend|waifu|companion|sex|gf|lover|soul-?mate|romance) nsfw-?(?:ai|char)
        (?:virtual|cyber)-?(?:girl|boy)-?friend (?:girl|boy)-?friend-?(?:ai|gpt|bot) waifu-?(?:ai|chat|bot)
        (?:novia|namorada|fidanzata|freundin)-?(?:ia|ki|virtual) nudif
        undress-?(?:ai|app|her|girl|bot|photo|baby|with) ai-?undress deep-?nude cloth(?:es)?-?off-?ai
        (?:ai|deep-?fake)-?nudes? nudes?-?ai clothe?s?-?remover-?(?:ai|free|online|app) ai-?clothe?s?-?remov
    """),
}
"""Parts of names that leave no doubt about a topic, also next to words of a field."""

_CLEAR_ONLY: Final = frozenset({"hate", "self-harm", "violence", "weapons"})
"""Topics that a name is taken for only by a clear part."""

_UNDRESSING_WORDS: Final = ("undress", "nudif", "nude", "cloth")
_UNDRESSING: Final = _any_of(r"""
    nudif(?:y|ier) undress-?(?:ai|app|er(?![a-z])|her(?![a-z])|girl|bot|photo|baby) ai-?undress deep-?nudes?(?![a-z])
    cloth(?:es)?-?off(?![a-z]) clothoff-?ai cloth(?:es)?-?remov(?:er|e)-?(?:ai|app|\.) remove-?clothes-?(?:ai|app|\.)
""")
