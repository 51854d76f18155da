"""The languages in which Hedgerow speaks to people: on pages, on block pages and in notices."""

LANGUAGES = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "pt": "Português"}
"""By their ISO 639 codes, each under its own name."""
