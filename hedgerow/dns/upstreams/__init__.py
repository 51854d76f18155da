"""Upstreams: their choice, the channels to them, and deadlines. Their answers are judged by the resolver."""
