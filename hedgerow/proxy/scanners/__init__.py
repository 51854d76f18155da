"""Checks of response bodies.

A `Scanner` makes one check (kind of file, macros, words). A `BodyScan` decodes one body and runs the scanners over it.
A `BodyScanner` runs that scan inline while it is short, and as a `ScanJob` in the process of a `ScanPool` from then on.
Deliberately absent: HTTP, and the block page, which the caller renders from a scan's `Decision`.
"""
