"""The commands of `hedgerow`, one module a topic. `hedgerow.app.cli` puts them together."""
