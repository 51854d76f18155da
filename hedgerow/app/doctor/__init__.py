"""Checks of an installation, and of the ways round the filter that a device has."""
