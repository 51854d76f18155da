"""A gate and an inspector at work on loopback, in processes of their own, with real rules and our real resolver behind them.

The nouns: a `Stand` is both processes under one policy; a `World` is what they are told; a `Told` is what they said they saw.
Deliberately absent: the supervisor, the journal and the command line, which have tests of their own.
"""

from proxy_stand.stand import Stand, proxy_stand

__all__ = ["Stand", "proxy_stand"]
