"""The proxy's own pages, in the words of `*.yaml` beside this file."""
