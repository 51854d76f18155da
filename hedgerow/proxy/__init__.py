"""Enforce at HTTP(S): an explicit proxy port and a transparent one, three lanes.

Nouns: the `Gate` reads the first head of a connection (and the ClientHello of a tunnel) before anything is dialled, and chooses a
lane; a `Tunnel` relays bytes it cannot read; the `Inspector` judges every request of a connection, which is an `DohRequest` over
`ReportLine`s
with mitmproxy's HTTP layers in between; a `CheckCopy` is all that one snapshot of the policy tells either of them; an introduction is how
the gate vouches to the inspector for a client; `ProxyAuthenticator` know who has said by name and password which device it is.

Deliberately absent: rules (all of them are in `policies.decide`), name resolution (a callable is passed in, so that DNS and proxy
agree), remembering (observations and access requests go to callables), and a cache of what origins answered.
"""
