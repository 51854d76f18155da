"""From the YAML file as people write it to a `Policy`, or to all mistakes in it at once. Nothing here decides."""
