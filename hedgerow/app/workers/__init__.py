"""Composition of the workers, and their common parts. The work itself is in `dns` and `proxy`."""
