"""Edits of the policy file: what a page or the API changes becomes a change of its YAML text."""
