"""Reading of policy files: from YAML to a `Policy`, or to all mistakes at once."""
