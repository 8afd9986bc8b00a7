"""XDR (RFC 4506) as far as a migration's libvirt calls use it: strict, and bounded before it allocates.

Strict means: no bytes are left over, padding is zero, strings are UTF-8 without NUL (libvirt, written in C, would stop
reading at a NUL). So what is judged here is what libvirt will read.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_U64 = struct.Struct(">Q")
_DOUBLE = struct.Struct(">d")

# Limits of libvirt's src/remote/remote_protocol.x.
STRING_MAX = 4 * 1024 * 1024
COOKIE_MAX = 4 * 1024 * 1024
PARAMETERS_MAX = 64


class XdrError(ValueError):
    """The bytes are not valid."""


class ParameterType(IntEnum):
    """The types of libvirt's virTypedParameter."""

    INT = 1
    UINT = 2
    LLONG = 3
    ULLONG = 4
    DOUBLE = 5
    BOOLEAN = 6
    STRING = 7


Value = int | float | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of libvirt's typed parameters."""

    name: str
    type: ParameterType
    value: Value


class Reader:
    """Reads values one after the other from a payload.

    Every method raises XdrError if the bytes do not contain the value.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _number(self, kind: struct.Struct) -> int:
        return int(kind.unpack(self._take(kind.size))[0])

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise XdrError("it ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def i32(self) -> int:
        """Read an int."""
        return self._number(_I32)

    def u32(self) -> int:
        """Read an unsigned int."""
        return self._number(_U32)

    def fixed(self, count: int) -> bytes:
        """Read opaque data of a known length."""
        taken = self._take(count)
        if self._take(-count % 4).strip(b"\0"):
            raise XdrError("its padding is not zero")
        return taken

    def opaque(self, limit: int) -> bytes:
        """Read opaque data with its length."""
        count = self.u32()
        if count > limit:
            raise XdrError("a part of it is too long")
        return self.fixed(count)

    def string(self) -> str:
        """Read a string."""
        raw = self.opaque(STRING_MAX)
        if b"\0" in raw:
            raise XdrError("a string in it holds NUL")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise XdrError("a string in it is not UTF-8") from error

    def optional_string(self) -> str | None:
        """Read a string that may be absent."""
        present = self.u32()
        if present > 1:
            raise XdrError("a pointer in it is neither absent nor present")
        return self.string() if present else None

    def parameters(self) -> list[Parameter]:
        """Read a list of typed parameters."""
        count = self.u32()
        if count > PARAMETERS_MAX:
            raise XdrError("it has too many parameters")
        return [self._parameter() for _ in range(count)]

    def _parameter(self) -> Parameter:
        name = self.string()
        try:
            kind = ParameterType(self.u32())
        except ValueError as error:
            raise XdrError("a parameter in it has no known type") from error
        readers: dict[ParameterType, Callable[[], Value]] = {
            ParameterType.INT: self.i32,
            ParameterType.UINT: self.u32,
            ParameterType.LLONG: lambda: self._number(_I64),
            ParameterType.ULLONG: lambda: self._number(_U64),
            ParameterType.DOUBLE: lambda: float(_DOUBLE.unpack(self._take(8))[0]),
            ParameterType.BOOLEAN: self.i32,
            ParameterType.STRING: self.string,
        }
        return Parameter(name, kind, readers[kind]())

    def end(self) -> None:
        """Require that no bytes are left."""
        if self._at != len(self._data):
            raise XdrError("it goes on after its end")


class Writer:
    """Builds a payload; the reverse of Reader."""

    def __init__(self) -> None:
        self.data = bytearray()

    def i32(self, value: int) -> "Writer":
        """Write an int."""
        self.data += _I32.pack(value)
        return self

    def u32(self, value: int) -> "Writer":
        """Write an unsigned int."""
        self.data += _U32.pack(value)
        return self

    def fixed(self, value: bytes) -> "Writer":
        """Write opaque data of a known length."""
        self.data += value + bytes(-len(value) % 4)
        return self

    def opaque(self, value: bytes) -> "Writer":
        """Write opaque data with its length."""
        return self.u32(len(value)).fixed(value)

    def string(self, value: str) -> "Writer":
        """Write a string."""
        return self.opaque(value.encode())

    def optional_string(self, value: str | None) -> "Writer":
        """Write a string that may be absent."""
        return self.u32(0) if value is None else self.u32(1).string(value)

    def parameters(self, parameters: list[Parameter]) -> "Writer":
        """Write a list of typed parameters."""
        self.u32(len(parameters))
        for parameter in parameters:
            self.string(parameter.name).u32(parameter.type)
            if isinstance(parameter.value, str):
                self.string(parameter.value)
            else:
                self.data += _NUMBERS[parameter.type].pack(parameter.value)
        return self


_NUMBERS = {
    ParameterType.INT: _I32,
    ParameterType.UINT: _U32,
    ParameterType.LLONG: _I64,
    ParameterType.ULLONG: _U64,
    ParameterType.DOUBLE: _DOUBLE,
    ParameterType.BOOLEAN: _I32,
}
