"""The wheel: what a program that uses `vmferry.client` installs."""

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

pytest.importorskip("hatchling")


def test_it_holds_all_modules_and_says_that_they_have_types(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (made,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
    assert "vmferry/py.typed" in names  # PEP 561: without it mypy takes nothing of it
    wanted = {str(file.relative_to(SOURCE)) for file in (SOURCE / "vmferry").rglob("*.py")}
    assert wanted - names == set()
