"""Hedgerow filters a home's or a café's network for the children on it.

One policy file, two enforcement points (DNS and HTTP(S)) and one pure function, `policies.decide.decide`, that both of
them call. ARCHITECTURE.md at the root of the repository shows the parts and the main flows.
"""

__version__ = "0.2.0"
