"""Filtering of HTTP(S): an explicit proxy port, a transparent one, and three lanes (refuse, tunnel, inspect).

Nouns: the `Gate` reads the first request of a connection (and the ClientHello of a tunnel) before anything is dialled,
and chooses a lane. A `Tunnel` relays bytes that it cannot read. The `Inspector` judges every request of a connection,
an `InspectedConnection` of `Stream`s with mitmproxy's HTTP layers in between. A `ProxyPolicy` is all that a snapshot
tells either of them. A `HandoverHeader` introduces a client to an inspector. The `ProxyAuthenticator` knows which users
have signed in.

Deliberately absent: rules (they are in `policies.decide`), name resolution (a callable is passed in, so that DNS and
proxy agree), the journal (observations and requests for access go to callables), and a cache of responses.
"""
