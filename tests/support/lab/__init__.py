"""A lab of network namespaces: a house with a router that runs Hedgerow, its devices, and a small internet of real
servers.

Nouns: `Space` (a machine in its own namespace), `Internet`, `House`. It needs root and leaves nothing behind.
"""

from lab.house import House, house
from lab.internet import Internet, internet
from lab.spaces import Space, spaces

__all__ = ["House", "Internet", "Space", "house", "internet", "spaces"]
