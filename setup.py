"""Record the commit in what is built; everything else about the build stands in pyproject.toml."""

import os
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """Write `hedgerow/commit.txt`, from HEDGEROW_COMMIT or the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the checkout itself is read
        commit = os.environ.get("HEDGEROW_COMMIT", "")
        if not commit:
            found = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=False)
            commit = found.stdout.strip()
        if commit:
            Path(self.build_lib, "hedgerow", "commit.txt").write_text(f"{commit}\n", "ascii")


setup(cmdclass={"build_py": BuildWithCommit})
