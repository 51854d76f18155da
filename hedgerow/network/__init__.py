"""The network: its devices, and the gateway that keeps them from bypassing the filter.

Nouns: `Neighbours` (MAC addresses by IP address) · `Lease` (a device as a DHCP server knows it) · `AccessState` (open, guarded, held or
closed) · `DeviceStates` (every device's state until an instant) · `Gateway` (the interfaces and ports that the rules are made for) ·
`SeatLine` (a café's seat, and the bandwidth that it has now).

Deliberately absent: routing, masquerading and DHCP, which are the router's own, and any nftables table but `inet hedgerow` and, for the
bandwidth of seats, `netdev hedgerow`.
"""
