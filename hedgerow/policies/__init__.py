"""Decisions: may this device have this host or URL now?

Nouns: `Policy`, `Person`, `Device`, `Profile`, `Request`, `Decision` and `Grant` (in `model`), `Schedule` (in
`time_model`), `Ruleset`. `reading.load` turns a YAML file into a `Policy`. A `Ruleset` holds the rules in force for a
device. `decide` judges a request by it, `explain` describes each step, and `privacy.observe` returns what may be
stored.

Deliberately absent: sockets, processes and the clock. Time is always an argument, in seconds since the epoch.
"""
