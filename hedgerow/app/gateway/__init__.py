"""The process of the gateway: nftables, traffic of devices, bandwidth of seats, and the tunnel home, as the snapshot in
force says.

It runs without control, and imports nothing of it.
"""
