"""May this device have it now?

Nouns: Policy, Person, Device, Profile, Schedule, Ruleset, Request, Decision (all in `model`, but Ruleset in `ruleset`).
`load` turns the YAML file into a Policy, `ruleset` says what holds for a device at a moment, `decide` judges a request by it,
`explain` tells each step of that judgement, and `observe` says what of it may be remembered.

Deliberately absent: sockets, processes and the clock. Time is always an argument, in seconds since the epoch.
"""
