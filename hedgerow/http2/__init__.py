"""Limits on HTTP/2 connections that the DNS over HTTPS listener and the inspector share.

The noun is `FrameBudget`: it reads the frame headers of what a client sends and says how much of it may be processed. Deliberately
absent: HTTP/2 itself, which the library h2 speaks, and everything about sockets.
"""
