"""How the journal's tables came to be, one step a file under `versions/`; `journal.store.open_journal` takes them at start."""
