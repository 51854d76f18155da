"""Servers of all transports, from the octets of clients to those of answers.

The resolver decides what an answer says.
"""
