"""Parsing helpers that know nothing of a policy: YAML with positions, suggestions, addresses, data files."""
