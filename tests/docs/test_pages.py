"""The pages that are written by hand: the index names all, links lead somewhere, the walk through the code exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "vmferry"
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_the_index_names_every_page() -> None:
    named = set(_LINK.findall((DOCS / "README.md").read_text()))
    pages = {page.name for page in DOCS.iterdir() if page.suffix in (".md", ".svg", ".json")} - {"README.md"}
    assert pages - named == set()


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))], ids=str)
def test_each_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_design_has_short_lines() -> None:
    written = (DOCS / "design.md").read_text().partition("<!-- What follows is written by")[0]
    assert [line for line in written.splitlines() if len(line) > 100] == []


def test_each_file_that_the_design_names_exists() -> None:
    named = set(re.findall(r"\b[a-z_]+(?:/[a-z_]+)+\.py\b", (DOCS / "design.md").read_text()))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (SOURCE / name).exists() and not (ROOT / name).exists()] == []


def test_the_walk_through_the_code_leads_from_hop_to_hop() -> None:
    """Each hop is a file that has the name of the hop, and calls the next by the word that is given."""
    text = (DOCS / "design.md").read_text().partition("### The walk")[2].partition("\n#")[0]
    hops = re.findall(r"^\d+\. `([\w/]+\.py)`, `(\w+)`(?:, calls `([^`]+)`)?", text, re.MULTILINE)
    assert len(hops) > 12
    assert len(hops) == len(re.findall(r"^\d+\. ", text, re.MULTILINE))
    for file, name, calls in hops:
        code = (SOURCE / file).read_text()
        assert re.search(rf"^\s*(?:async )?(?:def|class) {name}\b", code, re.MULTILINE), f"{file} has no {name}"
        assert not calls or calls in code, f"{file} does not name {calls}"
    assert hops[0][0] == "cli/main.py"
    assert "migrateToURI3" in (SOURCE / hops[-1][0]).read_text()
