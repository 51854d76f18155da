"""Drills: Hedgerow is broken in every way that an administrator would try, while users ask for names and open pages.

The nouns: a `Drill` breaks one thing, a `Household` is the Hedgerow under it, `DnsUsers` and `PageUsers` judge each
answer, and a `Tally` sums up what users lost. Deliberately absent: anything imported from the program under test.
"""
