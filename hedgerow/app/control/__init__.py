"""The control process. `process` composes its parts; `publisher` makes and publishes snapshots.

Workers run without it. Deliberately absent: anything that answers a query or a request of a device.
"""
