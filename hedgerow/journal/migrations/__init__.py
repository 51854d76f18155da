"""Migrations of the journal's tables, one per file in `versions/`; `journal.database.open_journal` runs
them at start.
"""
