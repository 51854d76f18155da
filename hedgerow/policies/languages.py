"""The languages in which Hedgerow speaks to people, by their ISO 639 codes: on pages, on block pages and in notices."""

LANGUAGES = ("en", "de", "fr", "es", "pt")
