"""Load balancers, whose connections and datagrams begin with a header that names the client (the PROXY protocol)."""

from __future__ import annotations

from collections.abc import Callable

from hedgerow.policies.text.addresses import IpNetwork
from hedgerow.proxy_protocol import ProxyProtocolError, is_sender, parse_header


class LoadBalancers:
    """The load balancers of the policy in force. `on_rejected` is called for what lacks a header."""

    def __init__(self, networks: Callable[[], tuple[IpNetwork, ...]], on_rejected: Callable[[], None]) -> None:
        self._networks, self.on_rejected = networks, on_rejected

    def sends_header(self, address: str) -> bool:
        """Return whether what comes from an address begins with a header."""
        return is_sender(address, self._networks())

    def unwrap(self, address: str, data: bytes) -> tuple[str, bytes] | None:
        """Return the client's address and the content of a datagram from any address; None without the header that it must have."""
        if not self.sends_header(address):
            return address, data
        try:
            header = parse_header(data)
        except ProxyProtocolError:
            self.on_rejected()
            return None
        return header.client or address, data[header.size :]
