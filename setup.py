"""Build the extension, record the commit in what is built, and make the links of the README absolute.

Everything else stands in pyproject.toml. Without a compiler and Python's headers, or with HEDGEROW_PURE=1, there is no
extension. HEDGEROW_PLATFORM is the platform in the wheel's name, such as `manylinux2014_x86_64`; without it, it is the
machine's own.
"""

import os
import re
import subprocess
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# The limited API of 3.12: one file for all versions of Python. Without symbols and paths, so that the same source gives
# the same octets.
PIECES = Extension(
    "hedgerow.blocklists.recognition._pieces",
    ["hedgerow/blocklists/recognition/_pieces.c"],
    define_macros=[("Py_LIMITED_API", "0x030C0000")],
    extra_compile_args=["-g0"],
    extra_link_args=["-Wl,--strip-all"],
    py_limited_api=True,
    optional=True,
)
RELATIVE_LINK = re.compile(r'(!?)(\[[^]]*\]\(|<img src=")(?![a-z]+:|#)([^)"]+)')


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


def absolute_readme() -> str:
    """Return the README for package indexes, which have none of the files that it links to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    source, tag = project["urls"]["Source"], f"v{project['version']}"

    def absolute(found: re.Match[str]) -> str:
        is_image = found[1] or found[2].startswith("<img")
        return f"{found[1]}{found[2]}{source}/{'raw' if is_image else 'blob'}/{tag}/{found[3]}"

    return RELATIVE_LINK.sub(absolute, (ROOT / "README.md").read_text("utf-8"))


extensions = [] if os.environ.get("HEDGEROW_PURE") else [PIECES]
platform = os.environ.get("HEDGEROW_PLATFORM")
tags = {"py_limited_api": "cp312"} | ({"plat_name": platform} if platform else {})
setup(
    cmdclass={"build_py": BuildWithCommit},
    ext_modules=extensions,
    options={"bdist_wheel": tags} if extensions else {},
    long_description=absolute_readme(),
    long_description_content_type="text/markdown",
)
