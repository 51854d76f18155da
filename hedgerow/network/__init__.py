"""Who is on the network, and what keeps them on the path.

Nouns: a `Neighbours` table (IP → MAC), a `Lease` (what a DHCP server knows of a device), a `AccessState` (open, guarded or closed), a
`DeviceStates` (every device's standing until an instant), a `Gateway` (the interfaces and ports that the table of nftables rules is
made for).

Absent: routing, masquerading and DHCP, which are the router's own; any nftables table but `inet hedgerow`.
"""
