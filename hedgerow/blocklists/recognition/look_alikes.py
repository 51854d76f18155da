"""Names that imitate well-known ones: other characters, swapped, doubled, missing and wrong letters, added words, a
name in front. Pure.

The kinds are those of `dnstwist`, without those that ordinary names have too, such as a short name with another letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from hedgerow.blocklists.recognition.name_model import Recognition
from hedgerow.blocklists.recognition.name_parts import SECOND_LEVEL, any_of

PHISHING: Final = "phishing"
IMITATED_FILE: Final = "imitated.txt"

_FOREIGN, _ALIKE, _IN_FRONT, _ADDED, _MISSPELT = 99, 96, 95, 93, 90
"""Confidence in percent by kind; not calibrated, but in the order of how rarely an honest name has that form."""

_MIN_ALIKE, _MIN_MISSPELT, _MIN_OMITTED, _MIN_WRONG = 6, 7, 9, 10
"""Fewest characters of a name of which a look-alike of that kind counts."""

_PLAIN = str.maketrans("013457i", "oleastl")
_CONFUSABLE = str.maketrans("аасԁеғһіјкӏорԛѕսѵѡхуүαβεικνορτυχωđħıłøŧŋ", "aacdefhijklopqsuvwxyyabeiknoptuxwdhilotn")
"""Letters that look like one of ASCII (Unicode, “Confusables”), in addition to those that only have an accent."""

_REAL_SUFFIXES: Final = frozenset({"com", "net", "org", "de", "fr", "es", "it", "uk", "br", "pt"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILLERS: Final = _words("""
    my the get for your now online center centre id web app service services customer kunden kunde clientes cliente
    clienti clients client
    pelanggan musteri klient de fr es uk us br
""")
"""Words that phishers add to a name, and that count only together with one of `_LURES`."""
_LURES: Final = _words("""
    www com login logon signin verify verification verified secure security account accounts support unlock confirm
    recovery recover reset
    auth password billing payment update wallet free gift gifts giftcard giftcards giveaway reward rewards bonus prize
    promo claim generator
    robux vbucks nitro refund invoice hack
    anmelden anmeldung einloggen konto kundenkonto kundenservice kundenportal sicherheit verifizieren verifizierung
    bestaetigen bestaetigung
    freischalten entsperren aktualisieren aktualisierung geschenk zoll rechnung zahlung pushtan gratis kostenlos
    connexion compte securite verifier confirmer paiement facture cadeau remboursement gratuit gratuits
    cuenta acceso seguridad verificar verificacion confirmar pago factura regalo regalos desbloquear actualizar
    conta acesso seguranca verificacao pagamento fatura presente atualizar
    accesso accedi sicurezza verifica conferma fattura regali sbloccare aggiorna
    inloggen rekening veilig verifieren bevestigen betaling
    logowanie bezpieczenstwo weryfikacja platnosc darmowe nagroda
    giris hesap guvenlik dogrulama odeme bedava hediye ucretsiz
    vhod akkaunt bezopasnost podarok podarki besplatno oplata
    hadiah klaim masuk akun
""")
"""Words of phishers, in the languages in which most of them write, and what is typed to a name by mistake."""
_LURES_BEHIND: Final = re.compile(
    "|".join(rf"(?<![a-z]){word}(?![a-z])" if len(word) < 6 else word for word in _LURES - {"www", "com"})
)
"""The same behind a name that comes first, as the domain does there; short ones as whole words only, since
`contact` has `conta`.
"""
_MAX_LABEL = 40


class LookAlikes:
    """Look-alikes of a set of names, each a label such as `paypal`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._alike = {_plain(name): name for name in self._names if len(name) >= _MIN_ALIKE}
        self._misspelt = {
            variant: name
            for name in sorted(self._names)
            for variant in _misspellings(name)
            if variant not in self._names
        }
        self._by_plain = {_plain(name): name for name in self._names}
        self._long: dict[tuple[int, str], list[str]] = {}
        for name in sorted(self._names):
            if len(name) >= _MIN_WRONG:
                self._long.setdefault((len(name), name[0]), []).append(name)

    @classmethod
    def load(cls, folder: Path) -> LookAlikes:
        """Read the names that ship with Hedgerow."""
        lines = (
            line.partition("#")[0].split() for line in (folder / IMITATED_FILE).read_text(encoding="utf-8").splitlines()
        )
        return cls(name for line in lines for name in line)

    def judge(self, host: str) -> Recognition | None:
        """Return the finding about a canonical host that imitates a name; None for most hosts."""
        return self.judge_site(host) or self.judge_front(host)

    def judge_site(self, host: str) -> Recognition | None:
        """Return the finding about the label of a host's site."""
        labels = host.split(".")
        if len(labels) < 2:
            return None
        label = labels[_place_of_site(labels)]
        if label in self._names or len(label) > _MAX_LABEL:
            return None
        is_foreign = label.startswith("xn--")
        if is_foreign:
            label = _in_ascii(label)
            if label in self._names:
                return _found(_FOREIGN, label)
        elif (name := self._alike.get(_plain(label))) is not None:
            return _found(_ALIKE, name)
        elif (
            labels[-1] not in _PUBLIC_INTEREST
            and (name := self._misspelt.get(label) or self._with_wrong_letter(label)) is not None
        ):
            return _found(_MISSPELT, name)
        name = self._with_added_words(label)
        return None if name is None else _found(_FOREIGN if is_foreign else _ADDED, name)

    def judge_front(self, host: str) -> Recognition | None:
        """Return the finding about a name whose domain comes before another one, as in
        `paypal.com.login-site.example`.

        Delivery networks put the names of their customers in front of their own, too, but without a word of phishers.
        """
        labels = host.split(".")
        if len(labels) < 3:
            return None
        site = len(labels) + _place_of_site(labels)
        for place, (name, suffix) in enumerate(pairwise(labels[: site + 1])):
            if (
                name in self._names
                and suffix.partition("-")[0] in _REAL_SUFFIXES
                and (place + 1 < site or "-" in suffix)
            ):
                label, rest = labels[site], ".".join(labels[place + 1 : site + 1])
                if label in self._names or len(label) > _MAX_LABEL or label.startswith("xn--"):
                    return None
                return _found(_IN_FRONT, name) if _LURES_BEHIND.search(rest) else None
        return None

    def _with_added_words(self, label: str) -> str | None:
        """Return the name that a label consists of, or a form of it, apart from at least one word of a phisher, digits
        and hyphens.
        """
        fronts, ends = _added_words(label, 1), _added_words(label, -1)
        if len(fronts) == len(ends) == 1:
            return None  # most labels
        for start, has_lure in fronts.items():
            for length, has_other in ends.items():
                rest = label[start : len(label) - length]
                if (has_lure or has_other) and (
                    name := self._by_plain.get(_plain(rest)) or self._misspelt.get(rest)
                ) is not None:
                    return name
        return None

    def _with_wrong_letter(self, label: str) -> str | None:
        """Return the long name that differs from a label of the same length by one letter, which is not the first."""
        for name in self._long.get((len(label), label[0]), ()):
            if sum(map(str.__ne__, name, label)) == 1:
                return name
        return None


_PUBLIC_INTEREST = frozenset({"org", "ngo", "ong", "health", "hospital", "care", "charity", "church", "foundation"})
"""Top-level domains under which a name that differs by a letter is rather another organisation's, such as the hospital
at pinerest.org.
"""


def _place_of_site(labels: list[str]) -> int:
    """Return the index of the label that somebody registered, counted from the end."""
    return -3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL else -2


def _found(confidence: int, name: str) -> Recognition:
    return Recognition(PHISHING, confidence, name)


def _plain(label: str) -> str:
    """Return a label with one letter for all characters that look alike."""
    return label.translate(_PLAIN).replace("rn", "m").replace("vv", "w").replace("cl", "d")


def _misspellings(name: str) -> Iterator[str]:
    """Yield a name with two letters swapped, one doubled, and one missing; its first letter stays."""
    for n in range(1, len(name)):
        if len(name) >= _MIN_MISSPELT and n + 1 < len(name):
            yield name[:n] + name[n + 1] + name[n] + name[n + 2 :]
        if len(name) >= _MIN_MISSPELT:
            yield name[:n] + name[n] + name[n:]
        if len(name) >= _MIN_OMITTED and n + 1 < len(name):
            yield name[:n] + name[n + 1 :]


def _in_ascii(label: str) -> str:
    """Return an international label with the letters of ASCII that its own look like; the label itself if it can't be
    decoded.
    """
    try:
        shown = label.removeprefix("xn--").encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return "".join(each for each in unicodedata.normalize("NFKD", shown) if not unicodedata.combining(each)).translate(
        _CONFUSABLE
    )


_WORD: Final = {
    step: re.compile(
        f"-+|[0-9]+|{any_of(*sorted((word[::step] for word in _LURES | _FILLERS), key=lambda word: (-len(word), word)))}"  # noqa: E501
    )
    for step in (1, -1)
}
"""An added word by the direction in which it is read."""
_MAX_WORDS: Final = 6


def _added_words(label: str, step: int) -> dict[int, bool]:
    """Return the lengths of what may be added words at one end of a label, each with whether a lure is among them."""
    text, found, length, has_lure = label[::step], {0: False}, 0, False
    while len(found) <= _MAX_WORDS and (match := _WORD[step].match(text, length)):
        has_lure = has_lure or match[0][::step] in _LURES
        length = match.end()
        found[length] = has_lure
    return found
