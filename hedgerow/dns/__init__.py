"""The resolver: names are judged where they are resolved.

Nouns: a `Query` is one question as it came over the wire; a `Draft` is an answer before it is fitted to the asker; an `CacheEntry` is a
finished answer in the wire-level cache; a `Channel` carries questions to one upstream; a `Http1Client` is a device with what holds for it.

`wire` and `answers` are pure: bytes in, bytes out. `resolver` is the miss path, `listeners` and `datagrams` are the hot path.
Deliberately absent: rules (`policies.decide` is passed in), the journal (an `observe` callable is passed in), and a library for
parsing: a query that is answered from the cache is never parsed, and one that is not must cost microseconds.
"""
