"""The small internet: nameserver, origins, certificate authority and clients on loopback, for tests.

The nouns: `Zone` and `Nameserver` (with `Fault`s), `Authority`, `Origins`, `SmallInternet` (all of them together), the
clients `kdig`, `curl` and `dnsperf`, and `Hedgerow`, the program under test as its user starts it. Deliberately absent:
anything that leaves loopback, and anything imported from the program under test.
"""

from small_internet.nameserver import Fault, Nameserver, nameserver
from small_internet.origins import Origins, origins
from small_internet.whole import SmallInternet, small_internet

__all__ = ["Fault", "Nameserver", "Origins", "SmallInternet", "nameserver", "origins", "small_internet"]
