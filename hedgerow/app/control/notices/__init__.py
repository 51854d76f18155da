"""Notices about events, and the process that sends one."""
