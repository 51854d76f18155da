"""Devices of the network: their discovery, and DHCP leases that other machines report."""
