"""The DNS resolver: names are judged where they are resolved.

Nouns: a `Query` is a question as it came over the wire; a `Draft` is an answer before it is fitted to a client; a
`CacheEntry` is a finished answer in the cache of `answer_cache`; a `Resolution` is an upstream's answer before it is
judged; a `Miss` is a query that needs an upstream; a `Channel` carries questions to one upstream; a `Client` is a
device with its ruleset.

`wire`, `answers` and `upstreams.responses` are pure: bytes in, bytes out. `resolver` is the miss path, `server.udp` the
hot path.

Deliberately absent: rules (`policies.decide` is passed in), the journal (an `observe` callable is passed in), and a
parsing library: a query that is answered from the cache is never parsed, and another one must cost microseconds.
"""
