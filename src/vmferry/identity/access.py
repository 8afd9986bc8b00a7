"""Who may do what: people on this host by their user and groups, paired hosts by their callers."""

import pwd
from dataclasses import dataclass
from enum import IntEnum

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.offer import Caller
from vmferry.store.peers import ANYBODY, Peer


class Role(IntEnum):
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
    """Somebody who was let in, and her role."""

    caller: Caller
    role: Role


def login(config: Config, user: UnixUser) -> Login:
    """Say who a user of this host is and which role she has.

    Raises:
        AccessError: she is neither root nor in the group (NOT_ALLOWED).
    """
    caller = Caller(name=user_name(user.uid), host=config.name, method="unix")
    group = config.group_id()
    if user.uid == 0:
        return Login(caller, Role.ADMINISTRATOR)
    if group is not None and group in user.groups:
        return Login(caller, Role.OPERATOR)
    raise _refusal(config, caller, "use vmferry", Role.VIEWER)


def require(config: Config, login: Login, role: Role, action: str) -> None:
    """Hold a caller to the role an action needs.

    Arguments:
        action: what she wants to do, as in "is not allowed to ...".

    Raises:
        AccessError: her role is lower (NOT_ALLOWED).
    """
    if login.role < role:
        raise _refusal(config, login.caller, action, role)


def require_peer(config: Config, peer: Peer, caller: Caller) -> None:
    """Hold a paired host to the callers it may speak for on this host.

    Raises:
        AccessError: she is not among them (NOT_ALLOWED).
    """
    if ANYBODY not in peer.callers and caller.name not in peer.callers:
        raise _refusal(config, caller, f"move VMs here from {peer.name}", Role.OPERATOR)


def _refusal(config: Config, caller: Caller, action: str, role: Role) -> AccessError:
    return AccessError(codes.NOT_ALLOWED, host=config.name, caller=caller.name, action=action, role=str(role))


def user_name(uid: int) -> str:
    """Give what a user of this host is called."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of a container, or one who was removed
        return f"uid {uid}"
