"""Fetching and compiling of the lists that a policy names. `updater` decides when."""
