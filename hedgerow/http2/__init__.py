"""Limits on HTTP/2 connections that the DNS over HTTPS listener and the inspector share.

A `FrameBudget` reads the frame headers of a client's octets and limits how many may be processed. Deliberately absent: HTTP/2 itself,
which the library h2 speaks, and sockets.
"""
