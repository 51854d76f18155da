"""A laboratory of network namespaces: a house with a router that runs Hedgerow, its devices, and a small internet of real servers.

Nouns: a `Space` (one machine: a namespace of its own), the `Internet`, the `House`. Needs root; leaves nothing behind.
"""

from lab.house import House, house
from lab.internet import Internet, internet
from lab.spaces import Space, spaces

__all__ = ["House", "Internet", "Space", "house", "internet", "spaces"]
