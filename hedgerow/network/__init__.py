"""Who is on the network: the kernel's neighbour table, which says which MAC address is behind an IP address.

Absent for now: discovery by name, DHCP leases, the gateway that keeps traffic on the path.
"""
