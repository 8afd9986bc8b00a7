"""Who may do what: people on this host by their user and groups, other hosts by their callers."""

import grp
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.ad.pac import LogonInfo
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.messages.offer import Caller, CallerMethod
from vmferry.core.policy.settings import HostSettings
from vmferry.store.peers import ANYBODY, Peer

_SID = re.compile(r"@S-1(-\d+)+")  # a group of the domain ([MS-DTYP] 2.4.2.1)


class UserRole(IntEnum):
    """What a caller may do; each includes the ones before it."""

    VIEWER = 1
    OPERATOR = 2
    ADMINISTRATOR = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class UnixUser:
    """The process at the other end of a unix socket, as the kernel knows it (unix(7), SO_PEERCRED)."""

    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who was let in, and their role."""

    caller: Caller
    role: UserRole


def login(config: Config, user: UnixUser, settings: HostSettings | None = None) -> Login:
    """Say who a user of this host is and which role they have; of several the highest.

    Arguments:
        settings: name people besides root and the group of vmferry.toml.

    Raises:
        AccessError: they have none (NOT_ALLOWED).
    """
    settings = settings or HostSettings()
    caller = Caller(name=user_name(user.uid), host=config.name, method=CallerMethod.UNIX)
    group = config.group_id()
    if user.uid == 0 or is_among(settings.administrators, caller.name, user):
        return Login(caller, UserRole.ADMINISTRATOR)
    if (group is not None and group in user.groups) or is_among(settings.operators, caller.name, user):
        return Login(caller, UserRole.OPERATOR)
    if is_among(settings.viewers, caller.name, user):
        return Login(caller, UserRole.VIEWER)
    raise _refusal(config, caller, "use vmferry", UserRole.VIEWER)


def domain_login(
    config: Config, principal: str, logon: LogonInfo | None, settings: HostSettings, sids: Mapping[str, str]
) -> Login:
    """Say which role a user of the domain has; of several the highest.

    Only the settings give one, by the own name or by a group that the domain says they are in. A user of this host who
    has the same name is somebody else.

    Arguments:
        principal: NAME@REALM, as their ticket says.
        logon: what the domain says of them.
        sids: the SID (with a leading @) of each group of the domain that the settings name.

    Raises:
        AccessError: they have none (NOT_ALLOWED).
    """
    caller = Caller(name=principal, host=config.name, method=CallerMethod.KERBEROS)
    known = known_as(principal, logon)
    roles = (
        (UserRole.ADMINISTRATOR, settings.administrators),
        (UserRole.OPERATOR, settings.operators),
        (UserRole.VIEWER, settings.viewers),
    )
    for role, people in roles:
        if any(sids.get(one, one).lower() in known for one in people):
            return Login(caller, role)
    raise _refusal(config, caller, "use vmferry", UserRole.VIEWER)


def known_as(principal: str, logon: LogonInfo | None) -> set[str]:
    """Give what a user of the domain can be called in the settings: their name, and @ and the SIDs of their groups."""
    return {principal.lower()} | {f"@{sid}".lower() for sid in (logon.groups if logon else ())}


def require_people(names: Iterable[str], host: str) -> None:
    """See that users and groups exist on this host, the domain's included.

    Arguments:
        names: of users, and of groups with a leading @.
        host: its name, for the error.

    Raises:
        UsageError: one does not (PERSON_UNKNOWN).
    """
    for name in names:
        if name.startswith("token ") or "@" in name.removeprefix("@") or _SID.fullmatch(name):
            continue  # of the domain, which knows
        try:
            if name.startswith("@"):
                grp.getgrnam(name[1:])
            else:
                pwd.getpwnam(name)
        except KeyError as error:
            kind = "group" if name.startswith("@") else "user"
            raise UsageError(codes.PERSON_UNKNOWN, host=host, kind=kind, name=name.removeprefix("@")) from error


def is_among(people: Iterable[str], name: str, user: UnixUser) -> bool:
    """Say whether a user of this host is among people, by name or group."""
    return name in people or any(_number(one[1:]) in user.groups for one in people if one.startswith("@"))


def _number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:  # it was removed since
        return -1


def require(config: Config, login: Login, role: UserRole, action: str) -> None:
    """Hold a caller to the role an action needs.

    Arguments:
        action: what they want to do, as in "is not allowed to ...".

    Raises:
        AccessError: their role is lower (NOT_ALLOWED).
    """
    if login.role < role:
        raise _refusal(config, login.caller, action, role)


def require_peer(config: Config, peer: Peer, caller: Caller) -> None:
    """Hold a paired host to the callers it may speak for on this host.

    Raises:
        AccessError: they are not among them (NOT_ALLOWED).
    """
    if ANYBODY not in peer.callers and caller.name not in peer.callers:
        raise _refusal(config, caller, f"move VMs here from {peer.name}", UserRole.OPERATOR)


def _refusal(config: Config, caller: Caller, action: str, role: UserRole) -> AccessError:
    return AccessError(codes.NOT_ALLOWED, host=config.name, caller=caller.name, action=action, role=str(role))


def user_name(uid: int) -> str:
    """Give what a user of this host is called."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of a container, or one who was removed
        return f"uid {uid}"
