"""Draws docs/architecture.svg from the imports: `python -m tools.architecture`.

A package is a box on a floor above all that it imports, and arrows point to what it imports. Arrows that follow from
others are left out. In a box are the packages of the package; a row imports from the rows below it alone.
"""

import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
NAME = "vmferry"
WIDEST = 15  # modules in a folder; whoever looks for one reads all their names

Arrows = set[tuple[str, str]]

# All lengths are in pixels. A letter of the fonts is at most so wide:
_LETTER = 6.6
_LINE = 20
_PAD = 10
_GAP = 26
_BETWEEN = 56  # between two floors
_COLOURS = ("#eef3fb", "#fdf3e3", "#ecf7ee", "#f7eef8", "#fbeeee", "#eef8f8")


# --- what is imported ---------------------------------------------------------------------------------------------
def imports() -> dict[str, set[str]]:
    """Return the modules of vmferry, each with those of them that it imports."""
    graph = grimp.build_graph(NAME, include_external_packages=False)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)}


def arrows(modules: Mapping[str, Iterable[str]], package: str) -> Arrows:
    """Return the arrows between the parts of a package; a part is a module or a package right inside it."""

    def part(module: str) -> str:
        inside = module.removeprefix(f"{package}.")
        return inside.partition(".")[0] if inside != module else ""

    found = {(part(module), part(other)) for module, others in modules.items() for other in others}
    return {(one, other) for one, other in found if one and other and one != other}


def reached(found: Arrows) -> dict[str, set[str]]:
    """Return what can be reached from each part along the arrows."""
    to: dict[str, set[str]] = {}
    for one, other in found:
        to.setdefault(one, set()).add(other)
    result = {}
    for start in to:
        seen: set[str] = set()
        ahead = list(to[start])
        while ahead:
            part = ahead.pop()
            if part not in seen:
                seen.add(part)
                ahead += to.get(part, ())
        result[start] = seen
    return result


def circle(found: Arrows) -> list[str]:
    """Return the parts that reach themselves along the arrows, sorted."""
    return sorted(part for part, others in reached(found).items() if part in others)


def floors(parts: Collection[str], found: Arrows) -> dict[str, int]:
    """Return the floor of each part: 0 for what imports nothing, else one above all that it imports.

    Raises:
        ValueError: there is a circle.
    """
    if circle(found):
        raise ValueError(f"no floors: {circle(found)} import each other")
    result: dict[str, int] = {}
    while len(result) < len(parts):
        for part in parts:
            below = [other for one, other in found if one == part]
            if part not in result and all(other in result for other in below):
                result[part] = 1 + max((result[other] for other in below), default=-1)
    return result


def needed(found: Arrows) -> Arrows:
    """Return the arrows that do not follow from others."""
    further = reached(found)
    return {
        (one, other)
        for one, other in found
        if not any(other in further.get(way, ()) for first, way in found if first == one and way != other)
    }


# --- what is wrong ------------------------------------------------------------------------------------------------
def declared() -> dict[str, int]:
    """Return the layer of each package as pyproject.toml declares it; the lowest is 0."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers" and "containers" not in one)
    return {
        name.strip().removeprefix(f"{NAME}."): number
        for number, line in enumerate(reversed(layers))
        for name in line.replace("|", ":").split(":")
    }


def faults(modules: Mapping[str, Iterable[str]], layers: Mapping[str, int]) -> list[str]:
    """Return what is wrong with the structure, in sentences.

    Arguments:
        modules: what each module imports.
        layers: the layer of each package right inside vmferry.
    """
    found = []
    packages = sorted({module.rpartition(".")[0] for module in modules} - {""})
    for package in packages:
        inside = [module for module in modules if module.rpartition(".")[0] == package and module not in packages]
        if len(inside) > WIDEST:
            found.append(f"{package} has {len(inside)} modules, more than {WIDEST}")
        if round_trip := circle(arrows(modules, package)):
            found.append(f"in {package}, {', '.join(round_trip)} import each other")
    if round_trip := circle({(module, other) for module, others in modules.items() for other in others}):
        found.append(f"{', '.join(round_trip)} import each other")
    for one, other in sorted(arrows(modules, NAME)):
        if one not in layers or other not in layers:
            found.append(f"{one} or {other} has no layer in pyproject.toml")
        elif layers[one] < layers[other]:
            found.append(f"{one} imports {other}, which is a layer above it")
    return found


# --- the picture --------------------------------------------------------------------------------------------------
@dataclass
class Box:
    """A package on its floor; or, without rows, the place where a long arrow passes a floor."""

    name: str
    rows: list[list[str]] = field(default_factory=list)
    """The packages in it, from the top."""
    x: float = 0
    y: float = 0
    top: float = 0
    """Of its floor, as is `bottom`: on its own floor an arrow goes straight down, so that it crosses no box."""
    bottom: float = 0

    @property
    def width(self) -> float:
        """Of the widest row, or of the name."""
        if not self.name:
            return 8
        widest = max((sum(map(_width, row)) for row in self.rows), default=0)
        return max(widest, _width(self.name) * 1.3) + _PAD

    @property
    def height(self) -> float:
        """Of all rows and the name."""
        return (len(self.rows) + 1) * _LINE + _PAD + (4 if self.rows else 0)

    @property
    def middle(self) -> float:
        """Where arrows begin and end."""
        return self.x + self.width / 2


def _width(name: str) -> float:
    return len(name) * _LETTER + 16


def _rows(modules: Mapping[str, Iterable[str]], package: str) -> list[list[str]]:
    """Return the rows of a package's box: the packages in it by their floors, from the top."""
    prefix = f"{package}."
    parts = {module.removeprefix(prefix).partition(".")[0] for module in modules if module.startswith(prefix)}
    by_floor: dict[int, list[str]] = {}
    for part, floor in sorted(floors(parts, arrows(modules, package)).items()):
        if any(module.startswith(f"{prefix}{part}.") for module in modules):
            by_floor.setdefault(floor, []).append(part)
    return [by_floor[floor] for floor in sorted(by_floor, reverse=True)]


def _place(boxes: dict[str, Box], where: dict[str, int], found: Arrows) -> tuple[float, float]:
    """Give each box its position, so that arrows are short and cross little; return width and height of it all."""
    order = {floor: sorted(name for name in boxes if where[name] == floor) for floor in sorted(set(where.values()))}
    ends = {name: [b for a, b in found if a == name] + [a for a, b in found if b == name] for name in boxes}
    width = max(sum(boxes[name].width + _GAP for name in names) for names in order.values())
    for _pass in range(12):
        for floor in [*order, *reversed(order)]:
            names = order[floor]
            middles = {name: [boxes[end].middle for end in ends[name]] or [boxes[name].middle] for name in names}
            names.sort(key=lambda name: (sum(middles[name]) / len(middles[name]), name))
            free = width - sum(boxes[name].width for name in names)
            x = 0.0
            for name in names:
                x += free / (len(names) + 1)
                boxes[name].x = x
                x += boxes[name].width
    y = float(_PAD)
    for floor in reversed(order):
        highest = max(boxes[name].height for name in order[floor])
        for name in order[floor]:
            box = boxes[name]
            box.y, box.top, box.bottom = y + (highest - box.height) / 2, y, y + highest
        y += highest + _BETWEEN
    return width, y - _BETWEEN + _PAD


def draw(modules: Mapping[str, Iterable[str]]) -> str:
    """Return the picture as SVG."""
    found = needed(arrows(modules, NAME))
    parts = sorted({part for arrow in found for part in arrow})
    where = floors(parts, found)
    boxes = {part: Box(part, _rows(modules, f"{NAME}.{part}")) for part in parts}
    paths: list[list[str]] = []
    steps: Arrows = set()
    for one, other in sorted(found):
        path = [one]
        for floor in range(where[one] - 1, where[other], -1):
            name = f"{one} {other} {floor}"
            boxes[name], where[name] = Box(""), floor
            path.append(name)
        paths.append([*path, other])
        steps |= set(zip(path, [*path[1:], other], strict=True))
    width, height = _place(boxes, where, steps)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">',
        "<title>The packages of vmferry and what they import</title>",
        "<!-- Drawn from the imports by `python -m tools.architecture`. -->",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        *(_arrow([boxes[name] for name in path]) for path in paths),
    ]
    for part in parts:
        lines += _box(boxes[part], _COLOURS[where[part] % len(_COLOURS)])
    return "\n".join([*lines, "</svg>", ""])


def _arrow(path: list[Box]) -> str:
    """Return an arrow that goes down from floor to floor; it bends between them alone."""
    x, y = path[0].middle, path[0].bottom
    line = f"M{x:.0f} {path[0].y + path[0].height:.0f}V{y:.0f}"
    for box in path[1:]:
        half = (y + box.top) / 2
        line += f"C{x:.0f} {half:.0f} {box.middle:.0f} {half:.0f} {box.middle:.0f} {box.top:.0f}"
        x, y = box.middle, box.bottom
        line += f"V{box.y if box.name else y:.0f}"
    return f'<path d="{line}" fill="none" stroke="#555" marker-end="url(#head)"/>'


def _box(box: Box, colour: str) -> list[str]:
    """Return a package and the packages in it."""
    lines = [
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="5" '
        f'fill="{colour}" stroke="#555"/>',
        f'<text x="{box.middle:.0f}" y="{box.y + 18:.0f}" text-anchor="middle" font-weight="bold" '
        f'font-size="13">{escape(box.name)}</text>',
    ]
    for number, row in enumerate(box.rows, start=1):
        y = box.y + 8 + number * _LINE
        x = box.middle - sum(map(_width, row)) / 2
        for name in row:
            width = _width(name)
            lines += [
                f'<rect x="{x + 2:.0f}" y="{y:.0f}" width="{width - 4:.0f}" height="{_LINE - 3}" rx="3" '
                'fill="white" stroke="#999"/>',
                f'<text x="{x + width / 2:.0f}" y="{y + 12:.0f}" text-anchor="middle">{escape(name)}</text>',
            ]
            x += width
    return lines


def main() -> int:
    """Say what is wrong, or write the picture; return the exit code."""
    modules = imports()
    wrong = faults(modules, declared())
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if not wrong:
        PICTURE.write_text(draw(modules))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
