"""The languages in which Hedgerow speaks to people: on pages, on block pages and in notices."""

from typing import Literal

type LanguageCode = Literal["en", "de", "fr", "es", "pt", "pt-BR"]

LANGUAGES = {
    "en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "pt": "Português (Portugal)", "pt-BR": "Português (Brasil)",
}  # fmt: skip
"""Names of the languages in themselves, by language tag (BCP 47); `pt` is European Portuguese. The same as `LanguageCode`."""
