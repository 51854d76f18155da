"""The workers put together: what each kind is made of, and what all have in common. The work itself is in `dns` and `proxy`."""
