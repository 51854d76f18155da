"""Suites of conformance for resolvers, run from outside against Hedgerow and Unbound.

The nouns: `Resolver` (a running program), `Outcome` (of one case). `messages` are single queries after the RFCs,
`streams` what holds for connections, `aliases` an authoritative server behind the resolver, and `validation` a
validating resolver in front of it. Deliberately absent: anything imported from the program under test.
"""

from http_conformance.outcome import Outcome

from dns_conformance.servers import Resolver

__all__ = ["Outcome", "Resolver"]
