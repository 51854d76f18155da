"""The control process: what it keeps, one module each. `process` puts them together, `publisher` puts what holds into force.

Workers do without it. Nothing here answers a query or a request of a device.
"""
