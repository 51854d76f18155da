"""The network: its devices, and the gateway that keeps them from bypassing the filter.

Nouns: `Neighbours` (MAC addresses by IP address) · `Lease` (a device as a DHCP server knows it) · `AccessState` (open,
guarded, held or closed) · `DeviceStates` (every device's state until an instant) · `Gateway` (the interfaces and ports
that the rules are made for).

Deliberately absent: routing, masquerading and DHCP, which are the router's own, and any nftables table but
`inet hedgerow`.
"""
