"""A gate and an inspector on loopback, in processes of their own, with real rules and our real resolver.

The nouns: a `Stand` is both processes under one policy, a `World` is its configuration, a `Report` is one of its
observations. Deliberately absent: the supervisor, the journal and the command line, which have tests of their own.
"""

from proxy_stand.stand import Stand, proxy_stand

__all__ = ["Stand", "proxy_stand"]
