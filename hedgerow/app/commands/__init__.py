"""The commands of `hedgerow`, one module per topic. `hedgerow.app.cli` puts them together."""
