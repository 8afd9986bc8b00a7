"""Read what a domain controller writes about a user into their ticket: the privilege attribute certificate ([MS-PAC]).

Kerberos has verified the signatures before. Two buffers are read: KERB_VALIDATION_INFO (2.5: the user and their groups,
as SIDs) and S4U_DELEGATION_INFO (2.9: the service that the ticket is for, and the hosts that acted for the user). Both
are NDR ([MS-RPCE] 2.2.6): fixed parts first, then what they point to, in order.
"""

import struct
from dataclasses import dataclass

PROTECTED_USERS = 525  # RID of that group ([MS-SAMR] 2.2.1.14)
NOT_DELEGATED = 0x4000  # USER_NOT_DELEGATED ([MS-SAMR] 2.2.1.12): "sensitive and cannot be delegated"
_HEADERS = 20  # bytes: the two of the serialization, and the reference to the structure itself
_ENABLED, _DENY_ONLY = 0x4, 0x10  # SE_GROUP_...: of a membership that counts, and that only forbids
_MOST = 4096  # of anything in a list; a user can be in 1015 groups


@dataclass(frozen=True, slots=True)
class LogonInfo:
    """A user.

    Arguments:
        name: of the account (sAMAccountName).
        domain: short name of its domain.
        sid: of the account.
        groups: SIDs of the user's groups, nested ones included.
        protected: whether the user is in Protected Users of their domain.
        sensitive: whether the account is marked as sensitive, so that it must not be delegated.
    """

    name: str
    domain: str
    sid: str
    groups: frozenset[str]
    protected: bool
    sensitive: bool


@dataclass(frozen=True, slots=True)
class DelegationInfo:
    """How a ticket for a user was obtained.

    Arguments:
        target: name of the service that the ticket is for, without its realm.
        services: who acted for the user, the first first; each as ACCOUNT@REALM.
    """

    target: str
    services: tuple[str, ...]


def logon_info(data: bytes) -> LogonInfo:
    """Read KERB_VALIDATION_INFO.

    Raises:
        ValueError: it is something else, or cut off.
    """
    reader = _Reader(data)
    reader.skip(48)  # times
    name = reader.string_head()
    others = [reader.string_head() for _ in range(5)]
    reader.skip(4)  # counts of logons
    user, primary, count, group_list = reader.words(4)
    reader.skip(4 + 16)  # flags, session key
    server, domain = reader.string_head(), reader.string_head()
    (domain_sid,) = reader.words(1)
    reader.skip(8)
    (flags,) = reader.words(1)
    reader.skip(4 + 16 + 8)
    extra_count, extra_list, resource_sid, resource_count, resource_list = reader.words(5)
    # What was pointed to, in that order.
    account = reader.string(name)
    for other in others:
        reader.string(other)
    rids = {primary, *reader.memberships(group_list, count)}
    reader.string(server)
    domain_name = reader.string(domain)
    base = reader.sid() if domain_sid else ""
    groups = {f"{base}-{rid}" for rid in rids}
    groups |= reader.sids(extra_list, extra_count)
    resource = reader.sid() if resource_sid else ""
    groups |= {f"{resource}-{rid}" for rid in reader.memberships(resource_list, resource_count)}
    return LogonInfo(
        name=account,
        domain=domain_name,
        sid=f"{base}-{user}",
        groups=frozenset(groups),
        protected=PROTECTED_USERS in rids,
        sensitive=bool(flags & NOT_DELEGATED),
    )


def delegation_info(data: bytes) -> DelegationInfo:
    """Read S4U_DELEGATION_INFO.

    Raises:
        ValueError: it is something else, or cut off.
    """
    reader = _Reader(data)
    target = reader.string_head()
    count, services = reader.words(2)
    name = reader.string(target)
    if not services:
        return DelegationInfo(name, ())
    heads = [reader.string_head() for _ in range(reader.count(count))]
    return DelegationInfo(name, tuple(reader.string(head) for head in heads))


class _Reader:
    """Reads NDR, little-endian, whose parts are aligned to four bytes as far as it is used here."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"\x01\x10\x08\x00":
            raise ValueError("it is no NDR of the version and byte order that Kerberos has")
        self._data = data
        self._at = _HEADERS

    def skip(self, size: int) -> None:
        self._take(size)

    def words(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._take(4 * count))

    def string_head(self) -> tuple[int, int]:
        """Read the head of an RPC_UNICODE_STRING: return its length in bytes, and whether there is a string."""
        length, _, pointer = struct.unpack("<HHI", self._take(8))
        return length, pointer

    def string(self, head: tuple[int, int]) -> str:
        length, pointer = head
        if not pointer:
            return ""
        _, offset, actual = self.words(3)
        text = self._take(2 * actual)
        self._take(-2 * actual % 4)
        if offset or 2 * actual < length:
            raise ValueError("a text is shorter than it says")
        return text[:length].decode("utf-16-le")

    def memberships(self, pointer: int, count: int) -> set[int]:
        if not pointer:
            return set()
        pairs = [self.words(2) for _ in range(self.count(count))]
        return {rid for rid, attributes in pairs if _counts(attributes)}

    def sids(self, pointer: int, count: int) -> set[str]:
        if not pointer:
            return set()
        heads = [self.words(2) for _ in range(self.count(count))]
        found = [(self.sid(), attributes) for sid, attributes in heads if sid]
        return {sid for sid, attributes in found if _counts(attributes)}

    def sid(self) -> str:
        """SID ([MS-DTYP] 2.4.2), before which NDR says how many subauthorities it has."""
        self.skip(4)
        revision, count = self._take(2)
        authority = int.from_bytes(self._take(6), "big")
        return "-".join(map(str, ("S", revision, authority, *self.words(count))))

    def count(self, expected: int) -> int:
        """Read the length of a list, which NDR repeats before its elements."""
        (found,) = self.words(1)
        if found != expected or found > _MOST:
            raise ValueError("a list is not as long as it says")
        return found

    def _take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise ValueError("it is cut off")
        self._at += size
        return found


def _counts(attributes: int) -> bool:
    return bool(attributes & _ENABLED) and not attributes & _DENY_ONLY
