"""The command that pages name works where somebody types it."""

from pathlib import Path

from hedgerow.dashboards.command import hedgerow_command


def program(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "hedgerow"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_checkout_is_called_by_its_path_and_a_package_by_its_name(tmp_path: Path) -> None:
    checkout, installed = program(tmp_path / "venv"), program(tmp_path / "bin")
    interpreter = str(checkout.with_name("python"))
    assert hedgerow_command(str(tmp_path / "nowhere"), interpreter) == str(checkout)
    assert hedgerow_command(str(installed.parent), interpreter) == "hedgerow"
    assert hedgerow_command(str(tmp_path / "nowhere"), str(tmp_path / "elsewhere" / "python")) == "hedgerow"
