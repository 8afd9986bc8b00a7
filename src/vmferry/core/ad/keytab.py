"""Read which names a keytab has keys for (MIT krb5, doc/formats/keytab_file_format), without the keys."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeytabEntry:
    """One key of a keytab.

    Arguments:
        name: of the principal, without its realm; a space or slash in a part stands for itself.
        number: the key's version.
    """

    name: str
    realm: str
    number: int


def entries(data: bytes) -> list[KeytabEntry]:
    """Return the entries of a keytab.

    Raises:
        ValueError: the bytes are not a keytab, or are cut off.
    """
    if data[:2] != b"\x05\x02":
        raise ValueError("it is no keytab")
    at, found = 2, []
    try:
        while at + 4 <= len(data):
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            if size > 0:  # less is a hole that another key has left
                found.append(_entry(data[at : at + size]))
            at += abs(size)
            if size == 0:
                break
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("it is cut off") from error
    return found


def account(found: list[KeytabEntry]) -> KeytabEntry | None:
    """Return the newest entry of the host's own account in the domain, whose name ends in $."""
    accounts = [entry for entry in found if entry.name.endswith("$") and "/" not in entry.name]
    return max(accounts, key=lambda entry: entry.number, default=None)


def serves(found: list[KeytabEntry], service: str) -> bool:
    """Return whether there is a key for a service, under any host name; a key of the account serves all services."""
    return account(found) is not None or any(entry.name.lower().startswith(f"{service}/".lower()) for entry in found)


def _entry(data: bytes) -> KeytabEntry:
    (count,) = struct.unpack_from(">H", data)
    at, parts = 2, []
    for _ in range(count + 1):
        (size,) = struct.unpack_from(">H", data, at)
        parts.append(data[at + 2 : at + 2 + size].decode())
        at += 2 + size
    number = data[at + 8]
    (size,) = struct.unpack_from(">H", data, at + 11)
    end = at + 13 + size
    if len(data) >= end + 4:  # there since versions went beyond 255
        number = struct.unpack_from(">I", data, end)[0] or number
    return KeytabEntry("/".join(parts[1:]), parts[0], number)
