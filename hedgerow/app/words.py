"""What the supervisor and its children say to each other: lines on a child's standard output and input."""

READY = b"ready\n"
"""A child serves."""

RENEW = b"renew\n"
"""A child serves on and wants a successor."""

RETIRE = b"retire\n"
"""Its successor serves: it may go when its last connection is over."""
