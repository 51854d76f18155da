"""Snapshots: what they are made of, their publication and delivery to the workers."""
