"""Messages between hosts: their base class, and the kinds of text in them.

Two hosts need not have the same release. Therefore:

- The reader ignores what it does not know. A new property has a default, and a default never changes.
- The sender leaves out properties that have their default (`wire`), so that an older reader does not meet them.
- The sender names in `requires` what the reader must understand; a reader that does not know it refuses the message.
- Text is never used as it comes: each has one of the types below. tests/core/test_message.py checks this for all
  messages.
"""

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from vmferry.core import codes
from vmferry.core.errors import InternalError, PreflightError
from vmferry.core.redaction import not_secret
from vmferry.core.text import cleaned, printable

UNDERSTOOD: frozenset[str] = frozenset()
"""What this release understands of what a message can require."""

_REQUIREMENT = "requirement-unknown"
_DOCUMENT = 2 << 20  # characters
_BITS = 63
_PATH_MAX = 4096  # limits.h


def _exact(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that cannot be shown")
    return not_secret(text)


def _document(text: str) -> str:
    if any(one < " " and one not in "\n\r\t" for one in text) or "\x7f" in text:
        raise ValueError("it has control characters")
    return text


def _base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


Line = Annotated[str, AfterValidator(printable)]
"""A sentence or a word for people: made printable, and cut if it is too long."""

Exact = Annotated[str, StringConstraints(max_length=_PATH_MAX), AfterValidator(_exact)]
"""A name or a path: refused unless it is printable, because a changed one would be another one."""

Document = Annotated[str, StringConstraints(max_length=_DOCUMENT), AfterValidator(_document)]
"""XML or PEM: several lines, which nobody is shown unchanged."""

Hex = Annotated[str, StringConstraints(max_length=256, pattern=r"^([0-9a-f]{2})*$")]
"""Bytes of a digest or a secret."""

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A key as core/jobkey.py makes it."""

Base64 = Annotated[str, StringConstraints(max_length=256 << 10, pattern=r"^[A-Za-z0-9+/=]*$"), AfterValidator(_base64)]
"""Bytes of another protocol."""

Values = Annotated[dict[str, Any], BeforeValidator(cleaned)]
"""A JSON object with unknown properties: all its texts are made printable."""


class Value(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _sized(cls, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > _BITS:  # neither a file nor SQLite has a larger one
            raise PydanticCustomError("too-large", "the number is too large")
        return value


class Message(Value):
    """A whole message."""

    requires: list[Line] = Field(
        default=[], max_length=64, description="what the reader must understand, or refuse the message"
    )

    @field_validator("requires")
    @classmethod
    def _understood(cls, names: list[str]) -> list[str]:
        unknown = ", ".join(name for name in names if name not in UNDERSTOOD)
        if unknown:
            raise PydanticCustomError(_REQUIREMENT, "{what} is not known here", {"what": unknown})
        return names

    def wire(self) -> dict[str, Any]:
        """Return the message as it is sent: JSON without properties that have their default."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Named(Message):
    """One of several messages that can stand in a place; `do` is its name on the wire."""

    do: ClassVar[str]

    def wire(self) -> dict[str, Any]:
        """Return the message as it is sent: JSON with its name, and without what has its default."""
        return {"do": self.do, **super().wire()}


Kind = TypeVar("Kind", bound=Message)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def load(text: str | bytes | bytearray) -> Any:
    """Return the JSON value that another host sent.

    Raises:
        ValueError: the text is not JSON (RFC 8259 has neither NaN nor Infinity), or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("its JSON is too deep") from error


def read(kind: type[Kind], value: Any, host: str) -> Kind:
    """Parse the answer of another host.

    Arguments:
        value: the JSON value.
        host: this host's name.

    Raises:
        PreflightError: release-older; the message needs what this release does not know.
        InternalError: protocol; the value is not such a message.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        needed = unknown(error.errors())
        if needed is not None:
            raise PreflightError(codes.RELEASE_OLDER, host=host, what=needed) from error
        raise InternalError(codes.PROTOCOL, why=f"{kind.__name__} {fault(error)}") from error


class _Invalid(Protocol):
    """An error of pydantic's, or of FastAPI's."""

    def errors(self) -> Sequence[Any]: ...


def fault(error: _Invalid) -> str:
    """Return which field is wrong first and what is wrong with it, without the value: that may be a secret."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def unknown(errors: Iterable[Any]) -> str | None:
    """Return what a message needs that this release does not know; None if something else is wrong with it.

    Arguments:
        errors: of pydantic's ValidationError.
    """
    for error in errors:
        if error["type"] == _REQUIREMENT:
            return str(error["ctx"]["what"])
        if error["type"] in ("enum", "literal_error"):
            where = ".".join(str(part) for part in error["loc"] if part != "body")
            return printable(f"{where} {error['input']}", 200)
    return None
