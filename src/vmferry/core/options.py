"""How the bytes of a move travel, as an administrator or a user chooses it."""

from enum import StrEnum


class Encryption(StrEnum):
    """Whether the migration's bytes are encrypted on the wire."""

    REQUIRED = "required"
    OFF = "off"


class Performance(StrEnum):
    """How a move's bytes travel."""

    TCP = "tcp"
    COMPRESSION = "compression"
    SMB = "smb"
