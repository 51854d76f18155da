"""Categories of hosts and URLs, from lists.

A `Source` is a list. A format's parser turns its text into rules and `Problem`s. The compiler turns many sources into a
generation, a directory of mapped files. The `Catalogue` opens a generation and says which categories a host or URL has.

Deliberately absent: clients and what they may do, DNS, and HTTP apart from downloads.
"""
