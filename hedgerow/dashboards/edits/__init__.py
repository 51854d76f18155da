"""Edits of the policy file that keep its comments and order."""
