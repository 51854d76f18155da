"""The proxy's own pages.

Their English texts are in `en.yaml`; the other languages have them in the message catalogues.
"""
