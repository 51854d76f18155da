"""A parent's phone, two children's devices, and the Hedgerow between them.

`Home` is a running Hedgerow with simulated apps behind it. One child's tablet has its DNS only. The other one's laptop
also uses the proxy and trusts the certificate. `Hand` is a parent's hand on the pages, which counts what it does.
"""

from parent_jobs.hand import Hand
from parent_jobs.home import BOTH, DNS_ONLY, WITH_CERTIFICATE, Child, Home, running_home

__all__ = ["BOTH", "DNS_ONLY", "WITH_CERTIFICATE", "Child", "Hand", "Home", "running_home"]
