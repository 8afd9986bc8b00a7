"""The tables of docs/security.md and docs/reliability.md: each test that they name is one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def _tests(file: Path) -> set[str]:
    found = ast.walk(ast.parse(file.read_text()))
    return {one.name for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = _NAMED.findall((ROOT / "docs" / page).read_text())
    assert page != "security.md" or len(named) > 30
    for file, name in named:
        assert (ROOT / file).exists(), file
        assert name in _tests(ROOT / file), f"{file}::{name}"


def test_every_row_of_the_findings_has_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text().partition("## What was tried")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| finding", "| attack"))]
    assert rows
    assert [row for row in rows if not _NAMED.search(row)] == []
