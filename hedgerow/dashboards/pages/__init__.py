"""HTML pages, rendered on the server, that work without scripts and load nothing from other hosts.

Each module has a `PageGroup` for one subject. `words` provides the sentences and `templates/` the layout. Jinja escapes
all text; no template uses `safe`.
"""
