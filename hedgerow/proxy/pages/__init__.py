"""The proxy's own pages. Their words are in the YAML files of this package, one per language."""
