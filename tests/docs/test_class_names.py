"""One name, one concept: no two public classes of vmferry have the same name."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "vmferry"
# Names that still stand for two classes. The list only gets shorter: take a name out when its second class is renamed.
ALLOWED: set[str] = {"Lock"}


def _public_classes() -> dict[str, list[str]]:
    """Return the modules that define each public class, at any depth of the module."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    return found


def test_no_public_class_name_is_used_twice() -> None:
    found = _public_classes()
    assert len(found) > 100
    doubles = {name: places for name, places in found.items() if len(places) > 1}
    assert {name: places for name, places in doubles.items() if name not in ALLOWED} == {}


def test_no_name_is_allowed_that_is_used_once() -> None:
    found = _public_classes()
    assert [name for name in sorted(ALLOWED) if len(found[name]) < 2] == []
