"""Reading of the data files of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hedgerow.blocklists.yaml_files import read_yaml

_FOLDER = Path(__file__).parents[1]  # importlib.resources would load zipfile and more into every worker


def read_data(name: str) -> Any:
    """Return the content of a YAML file of the package, such as `lifelines.yaml`."""
    return read_yaml(_FOLDER / name)


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names, without `.yaml`, of the data files in a folder of the package."""
    return tuple(sorted(entry.stem for entry in (_FOLDER / folder).glob("*.yaml")))
