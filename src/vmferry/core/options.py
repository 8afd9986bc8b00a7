"""How the data of a move travels, as an administrator or a user chooses it."""

from enum import StrEnum


class Encryption(StrEnum):
    """Whether the data of a move is encrypted on the network."""

    REQUIRED = "required"
    OFF = "off"


class Performance(StrEnum):
    """How the data of a move travels."""

    TCP = "tcp"
    COMPRESSION = "compression"
    SMB = "smb"
