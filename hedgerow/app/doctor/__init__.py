"""Checks of an installation, and of the known bypasses for one device. `Finding` is the result of a check."""
