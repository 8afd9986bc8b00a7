"""Security identifiers and descriptors as the directory keeps them ([MS-DTYP] 2.4.2, 2.4.4 to 2.4.6).

They hold who may act for users at a host (msDS-AllowedToActOnBehalfOfOtherIdentity). Entries that this module does not
understand are kept byte for byte: they belong to others.
"""

import struct
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

ALLOWED, DENIED = 0, 1  # ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE
FULL = 0x000F01FF  # every right on an object of the directory; what Windows' own tools write here
_ADMINISTRATORS = "S-1-5-32-544"  # BUILTIN\Administrators: the owner that Windows' tools give
_CONTROL_ACCESS, _GENERIC_ALL = 0x100, 0x10000000
_INHERIT_ONLY = 0x08  # an entry that is for children alone
_SELF_RELATIVE, _SACL_PRESENT, _DACL_PRESENT = 0x8000, 0x0010, 0x0004
_REVISION, _DS_REVISION = 2, 4  # of lists; the second where entries name kinds of objects
_HEADER = struct.Struct("<BBHIIII")
_LIST = struct.Struct("<BBHHH")
_ENTRY = struct.Struct("<BBH")


@dataclass(frozen=True, slots=True)
class Ace:
    """An entry of a list.

    Arguments:
        kind: its type; ALLOWED and DENIED are understood.
        body: all that follows its header.
    """

    kind: int
    flags: int
    body: bytes

    @property
    def mask(self) -> int:
        """The access mask; 0 for other kinds."""
        return int.from_bytes(self.body[:4], "little") if self.kind in (ALLOWED, DENIED) else 0

    @property
    def sid(self) -> str:
        """The SID; empty for other kinds, or if it cannot be read."""
        if self.kind not in (ALLOWED, DENIED):
            return ""
        try:
            return sid_text(self.body[4:])
        except ValueError:
            return ""


@dataclass(frozen=True, slots=True)
class Acl:
    """A list of entries, in the order in which they count."""

    entries: tuple[Ace, ...]
    revision: int = _DS_REVISION


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A security descriptor; its parts are as they came.

    Arguments:
        control: its flags.
        owner, group: SIDs.
        dacl: who may; None: no list, which lets everybody.
        sacl: what is audited.
        reserved: a byte that some programs use.
    """

    control: int = _SELF_RELATIVE | _DACL_PRESENT
    owner: str | None = _ADMINISTRATORS
    group: str | None = None
    dacl: Acl | None = Acl(())
    sacl: Acl | None = None
    reserved: int = 0


def sid_text(data: bytes) -> str:
    """Return a SID in its text form; bytes after it are ignored.

    Raises:
        ValueError: the bytes are not a SID.
    """
    if len(data) < 8 or data[0] != 1 or len(data) < 8 + 4 * data[1] or data[1] > 15:
        raise ValueError("it is no security identifier")
    authority = int.from_bytes(data[2:8], "big")
    return "-".join(map(str, ("S", 1, authority, *struct.unpack_from(f"<{data[1]}I", data, 8))))


def sid_bytes(text: str) -> bytes:
    """Return a SID in its binary form.

    Raises:
        ValueError: the text is not a SID.
    """
    mark, revision, authority, *rest = text.split("-")
    if mark != "S" or revision != "1" or len(rest) > 15:
        raise ValueError(f"{text} is no security identifier")
    try:
        return (
            bytes((1, len(rest))) + int(authority).to_bytes(6, "big") + struct.pack(f"<{len(rest)}I", *map(int, rest))
        )
    except (OverflowError, struct.error) as error:
        raise ValueError(f"{text} is no security identifier") from error


def parse(data: bytes) -> Descriptor:
    """Parse a descriptor.

    Raises:
        ValueError: the bytes are not a descriptor, or are cut off.
    """
    try:
        revision, reserved, control, owner, group, sacl, dacl = _HEADER.unpack_from(data)
        if revision != 1 or not control & _SELF_RELATIVE:
            raise ValueError("it is no security descriptor")
        return Descriptor(
            control=control,
            owner=sid_text(data[owner:]) if owner else None,
            group=sid_text(data[group:]) if group else None,
            dacl=_list(data, dacl) if dacl and control & _DACL_PRESENT else None,
            sacl=_list(data, sacl) if sacl and control & _SACL_PRESENT else None,
            reserved=reserved,
        )
    except struct.error as error:
        raise ValueError("the security descriptor is cut off") from error


def build(descriptor: Descriptor) -> bytes:
    """Build a self-relative descriptor: owner, group, audit list, access list."""
    control = descriptor.control | _SELF_RELATIVE
    parts, places = b"", []
    for part in (
        None if descriptor.owner is None else sid_bytes(descriptor.owner),
        None if descriptor.group is None else sid_bytes(descriptor.group),
        None if descriptor.sacl is None else _list_bytes(descriptor.sacl),
        None if descriptor.dacl is None else _list_bytes(descriptor.dacl),
    ):
        places.append(0 if part is None else _HEADER.size + len(parts))
        parts += part or b""
    control = control | _SACL_PRESENT if descriptor.sacl is not None else control & ~_SACL_PRESENT
    # Present and nowhere is a list that lets everybody, as absent is: which of the two it was stays.
    control |= _DACL_PRESENT if descriptor.dacl is not None else 0
    return _HEADER.pack(1, descriptor.reserved, control, *places) + parts


def allows(descriptor: Descriptor | None, sids: AbstractSet[str]) -> bool:
    """Return whether one who has these SIDs may act for others here ([MS-SFU] 3.2.5.2.2): the first entry decides."""
    if descriptor is None:
        return False
    if descriptor.dacl is None:
        return True
    for entry in descriptor.dacl.entries:
        counts = entry.mask & (_CONTROL_ACCESS | _GENERIC_ALL) and not entry.flags & _INHERIT_ONLY
        if counts and entry.sid in sids:
            return entry.kind == ALLOWED
    return False


def allow(descriptor: Descriptor | None, sid: str) -> Descriptor:
    """Add one more SID that may act here; those that may already are left as they are."""
    found = descriptor or Descriptor()
    entry = Ace(ALLOWED, 0, FULL.to_bytes(4, "little") + sid_bytes(sid))
    if allows(descriptor, {sid}) or found.dacl is None or entry in found.dacl.entries:
        return found
    dacl = found.dacl
    return replace(found, dacl=replace(dacl, entries=(*dacl.entries, entry)))


def disallow(descriptor: Descriptor | None, sid: str) -> Descriptor | None:
    """Remove what lets a SID act here; return None if nothing is left, so that the attribute can be removed."""
    if descriptor is None or descriptor.dacl is None:
        return descriptor
    kept = tuple(one for one in descriptor.dacl.entries if one.kind != ALLOWED or one.sid != sid)
    if kept == descriptor.dacl.entries:
        return descriptor
    return replace(descriptor, dacl=replace(descriptor.dacl, entries=kept)) if kept else None


def _list(data: bytes, at: int) -> Acl:
    revision, _, size, count, _ = _LIST.unpack_from(data, at)
    if revision not in (_REVISION, _DS_REVISION) or at + size > len(data):
        raise ValueError("the access list cannot be read")
    end, at, entries = at + size, at + _LIST.size, []
    for _ in range(count):
        kind, flags, length = _ENTRY.unpack_from(data, at)
        if length < _ENTRY.size or at + length > end:
            raise ValueError("an entry of the access list is cut off")
        entries.append(Ace(kind, flags, data[at + _ENTRY.size : at + length]))
        at += length
    return Acl(tuple(entries), revision)


def _list_bytes(found: Acl) -> bytes:
    entries = [_ENTRY.pack(one.kind, one.flags, _ENTRY.size + len(one.body)) + one.body for one in found.entries]
    size = _LIST.size + sum(map(len, entries))
    return _LIST.pack(found.revision, 0, size, len(entries), 0) + b"".join(entries)
