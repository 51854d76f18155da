"""Conformance of HTTP proxies: cases from the RFCs, origins and clients whose every byte is ours, and the proxies that
are compared.
"""

from http_conformance.outcome import Outcome as Outcome
