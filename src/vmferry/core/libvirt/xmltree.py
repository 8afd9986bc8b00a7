"""Read XML as libvirt writes it.

The tree keeps names as they are written (`v:x`, with `xmlns:v` as an ordinary attribute): libvirt writes prefixes as it
read them, so what is carried over stays as its owner wrote it. Syntax that libvirt never writes is refused, so that
there is only one way to read what is judged here.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from vmferry.core import codes
from vmferry.core.errors import UsageError

# Deeper than any domain is, and shallow enough for every recursion below.
_DEPTH_MAX = 64
_ATTRIBUTES_MAX = 64  # of one element
# Longer than any argument of a program may be (MAX_ARG_STRLEN of Linux), so of no use to QEMU.
_VALUE_MAX = 128 << 10


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The limits of a document.

    The default is more than any domain has: one with 500 disks has about 6,000 elements and 300 KiB.

    Arguments:
        size: bytes.
        elements: how many in all.
    """

    size: int = 1 << 20
    elements: int = 10_000


_DOMAIN = DocumentLimits()


class _Parser:
    """Build a tree.

    Comments are left out, and are allowed only in <metadata>, the one part that is not libvirt's own.
    """

    def __init__(self, limits: "DocumentLimits") -> None:
        self._limits = limits
        self._builder = TreeBuilder()
        self._path: list[str] = []
        self._count = 0
        self._text = 0  # characters since the last tag
        self._expat = expat.ParserCreate("utf-8")
        self._expat.buffer_text = True
        self._expat.ordered_attributes = False
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._data
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.XmlDeclHandler = self._refuse_declaration
        self._expat.ProcessingInstructionHandler = self._refuse_instruction
        self._expat.CommentHandler = self._comment

    def parse(self, xml: str) -> Element:
        """Parse a whole document."""
        try:
            data = xml.encode()
            if len(data) > self._limits.size:
                refuse(f"it has {len(data)} bytes, more than {self._limits.size}")
            self._expat.Parse(data, True)
        except expat.ExpatError as error:
            refuse(f"it is not well-formed ({error})")
        except UnicodeEncodeError:
            refuse("it is not Unicode")
        return self._builder.close()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) == _DEPTH_MAX:
            refuse(f"its elements are more than {_DEPTH_MAX} deep")
        self._count += 1
        if self._count > self._limits.elements:
            refuse(f"it has more than {self._limits.elements} elements")
        if len(attributes) > _ATTRIBUTES_MAX:
            refuse(f"an element has more than {_ATTRIBUTES_MAX} attributes")
        if any(len(value) > _VALUE_MAX for value in attributes.values()):
            refuse(f"an attribute is longer than {_VALUE_MAX} characters")
        self._text = 0
        self._path.append(tag)
        self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._path.pop()
        self._text = 0
        self._builder.end(tag)

    def _data(self, text: str) -> None:
        self._text += len(text)
        if self._text > _VALUE_MAX:
            refuse(f"a text is longer than {_VALUE_MAX} characters")
        self._builder.data(text)

    def _comment(self, _text: str) -> None:
        if self._path[1:2] != ["metadata"]:
            refuse("it has a comment outside <metadata>")

    def _refuse_doctype(self, *_details: object) -> None:
        refuse("it has a DOCTYPE")

    def _refuse_declaration(self, *_details: object) -> None:
        refuse("it has an XML declaration")

    def _refuse_instruction(self, *_details: object) -> None:
        refuse("it has a processing instruction")


def refuse(why: str) -> NoReturn:
    """Refuse a document.

    Raises:
        UsageError: bad-request.
    """
    raise UsageError(codes.BAD_REQUEST, detail=f"the XML cannot be used: {why}")


@lru_cache(maxsize=8)  # a check reads the same two or three documents many times
def parse(xml: str, limits: DocumentLimits = _DOMAIN) -> Element:
    """Parse XML as libvirt writes it; the tree is shared and must not be changed.

    Raises:
        UsageError: bad-request; the text is not well-formed, is too big, or has what libvirt never writes: a DOCTYPE, a
            declaration, a processing instruction, a comment outside <metadata>, very deep elements.
    """
    return _Parser(limits).parse(xml)


def fresh(xml: str) -> Element:
    """Parse XML, as `parse` does, into a tree of the caller's own."""
    return _Parser(_DOMAIN).parse(xml)
