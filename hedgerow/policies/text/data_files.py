"""Reading of the data files of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[1]  # importlib.resources would load zipfile and more into every worker

# libyaml, if PyYAML was built with it, is ten times as fast, and every process reads these files at its start.
YamlLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_data(name: str) -> Any:
    """Return the content of a YAML file of the package, such as `lifelines.yaml`."""
    return yaml.load((_FOLDER / name).read_bytes(), Loader=YamlLoader)  # noqa: S506  (a safe loader)


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names, without `.yaml`, of the data files in a folder of the package."""
    return tuple(sorted(entry.stem for entry in (_FOLDER / folder).glob("*.yaml")))
