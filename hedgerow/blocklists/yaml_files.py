"""Reading of the YAML files that come with Hedgerow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# libyaml, if PyYAML was built with it, is ten times as fast, and every start reads many of these files.
YamlLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.load(path.read_bytes(), Loader=YamlLoader)  # noqa: S506  (a safe loader)
