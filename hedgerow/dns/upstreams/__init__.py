"""Upstreams: which one is asked, over which channel, and for how long. Their answers are judged by the resolver."""
