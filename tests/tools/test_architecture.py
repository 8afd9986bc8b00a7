"""The structure as the imports have it, and its picture in docs/."""

import xml.etree.ElementTree as ElementTree

import pytest

from tools import architecture

LAYERS = {"cli": 2, "agent": 1, "core": 0}


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    return architecture.imports()


def test_the_structure_is_sound(modules: dict[str, set[str]]) -> None:
    """No circle, no arrow upwards, no folder that is too wide."""
    assert len(modules) > 200
    assert architecture.faults(modules, architecture.declared()) == []


def test_the_picture_is_what_the_imports_are(modules: dict[str, set[str]]) -> None:
    assert architecture.PICTURE.read_text() == architecture.draw(modules), "run: python -m tools.architecture"


def test_each_package_and_each_arrow_is_drawn(modules: dict[str, set[str]]) -> None:
    picture = ElementTree.fromstring(architecture.draw(modules))
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in picture.iter(f"{space}text")]
    found = architecture.arrows(modules, "vmferry")
    assert {part for arrow in found for part in arrow} <= set(words)
    assert {"messages", "worker", "transport", "http"} <= set(words)
    arrows = [path for path in picture.iter(f"{space}path") if path.get("marker-end")]
    assert len(arrows) == len(architecture.needed(found))


def structure(**imported: str) -> dict[str, set[str]]:
    """Return modules of vmferry by what they import; `__` stands for a dot."""
    made = {"vmferry": set(), **{f"vmferry.{package}": set[str]() for package in LAYERS}}
    for name, others in imported.items():
        made[f"vmferry.{name.replace('__', '.')}"] = {f"vmferry.{other}" for other in others.split()}
    return made


def test_a_sound_structure_has_no_fault() -> None:
    sound = structure(cli__main="agent.http core.job", agent__http="core.job", core__job="")
    assert architecture.faults(sound, LAYERS) == []


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (structure(core__job="agent.http", agent__http=""), "core imports agent, which is a layer above it"),
        (structure(core__a="core.b", core__b="core.a"), "in vmferry.core, a, b import each other"),
        (structure(agent__a="core.b", core__b="agent.a"), "in vmferry, agent, core import each other"),
        (structure(core__a="new.b", new__b=""), "core or new has no layer in pyproject.toml"),
        (structure(**{f"core__m{number}": "" for number in range(16)}), "vmferry.core has 16 modules, more than 15"),
    ],
)
def test_each_kind_of_fault_is_found(made: dict[str, set[str]], fault: str) -> None:
    assert fault in architecture.faults(made, LAYERS)


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    found = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert architecture.needed(found) == {("a", "b"), ("b", "c"), ("a", "d")}
