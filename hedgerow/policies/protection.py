"""The protections of a device: the ways in which its traffic reaches Hedgerow."""

from __future__ import annotations

from enum import StrEnum


class Protection(StrEnum):
    """Evidence that a device uses a protection. Workers report it, and the pages show when each was last seen."""

    DNS = "dns"  # it asked our resolver
    PROXY = "proxy"  # it connected to the proxy's port by itself
    GATEWAY = "gateway"  # the gateway redirected its connection
    CERTIFICATE = "certificate"  # it sent a request under our certificate
    REFUSED_CERTIFICATE = "refused-certificate"  # it rejected our certificate
