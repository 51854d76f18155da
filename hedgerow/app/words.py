"""What the supervisor and its children say to each other: lines on a child's standard output and input."""

READY = b"ready\n"
"""A child serves."""

RENEW = b"renew\n"
"""A child serves on and wants a successor."""

BEAT = b".\n"
"""The event loop of a child goes round."""

BEAT_EVERY_S = 1.0
"""Seconds between two `BEAT`s of a child."""

RETIRE = b"retire\n"
"""Its successor serves: it may go when its last connection is over."""
