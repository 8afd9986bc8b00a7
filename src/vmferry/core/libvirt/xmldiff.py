"""Compare two XML documents of libvirt."""

from collections.abc import Iterator
from itertools import islice
from xml.etree.ElementTree import Element

from vmferry.core.libvirt.xmltree import parse

# A hostile XML can have a million; nobody reads more than the first few.
_DIFFERENCES_MAX = 50


def differences(expected: str, found: str) -> list[str]:
    """Return the places in which two XML documents differ; none if they are equivalent.

    The order of attributes and white space between elements do not matter. All else does: the order of elements, every
    attribute, every text. (libvirt 9.0 sends the XML of VIR_MIGRATE_PARAM_DEST_XML to the other host unchanged, if it
    came
    from XMLDesc with MIGRATABLE and SECURE.)

    Raises:
        UsageError: bad-request; see `xmltree.parse`.
    """
    return list(islice(_differ(parse(expected), parse(found), ""), _DIFFERENCES_MAX))


def _differ(expected: Element, found: Element, path: str) -> Iterator[str]:
    place = f"{path}/{expected.tag}" if path else expected.tag
    if expected.tag != found.tag:
        yield f"{place} is now <{_short(found.tag)}>"
        return
    for key in sorted(expected.attrib.keys() | found.attrib.keys()):
        if expected.get(key) != found.get(key):
            yield f"{place}@{key} {_changed(expected.get(key), found.get(key))}"
    if _content(expected) != _content(found):
        yield f"{place} {_changed(_content(expected), _content(found))}"
    for one, other in zip(expected, found, strict=False):
        yield from _differ(one, other, place)
        if _blank(one.tail) != _blank(other.tail):
            yield f"{place} {_changed(_blank(one.tail), _blank(other.tail))}"
    for missing in list(expected)[len(found) :]:
        yield f"{place}/{missing.tag} is missing"
    for added in list(found)[len(expected) :]:
        yield f"{place}/{_short(added.tag)} was added"


def _content(element: Element) -> str:
    """Return an element's text; white space before its first child is only layout."""
    return _blank(element.text) if len(element) else element.text or ""


def _blank(text: str | None) -> str:
    return (text or "").strip()


def _changed(expected: str | None, found: str | None) -> str:
    if expected is None:
        return f"was added: {_short(found or '')}"
    if found is None:
        return "is missing"
    return f"is {_short(found)} instead of {_short(expected)}"


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 120 else f"{shown[:100]}..."
