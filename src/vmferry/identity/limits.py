"""Holds operators to the VMs and destinations that the settings of a host name for them."""

import os
import pwd
from collections.abc import Callable, Mapping

from vmferry.core import codes
from vmferry.core.ad.pac import LogonInfo
from vmferry.core.errors import AccessError
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.restrictions import against
from vmferry.core.policy.settings import HostSettings
from vmferry.identity.access import UnixUser, is_among, known_as

IsCaller = Callable[[str], bool]  # says whether a user, @group or token of the settings names them


def of_unix(user: UnixUser, name: str) -> IsCaller:
    """Tell a user of this host."""
    return lambda who: is_among([who], name, user)


def of_token(name: str) -> IsCaller:
    """Tell the holder of a token.

    Arguments:
        name: as they are called, `token NAME`.
    """
    return lambda who: who == name


def of_domain(principal: str, logon: LogonInfo | None, sids: Mapping[str, str]) -> IsCaller:
    """Tell a user of the domain; arguments as for `domain_login`."""
    known = known_as(principal, logon)
    return lambda who: sids.get(who, who).lower() in known


def of_peer(caller: Caller) -> IsCaller:
    """Tell for whom another host asks: by name, and by the groups that this host knows a user of that name to be in."""
    in_group: IsCaller = of_token(caller.name)
    try:
        user = pwd.getpwnam(caller.name)
        in_group = of_unix(UnixUser(user.pw_uid, frozenset(os.getgrouplist(caller.name, user.pw_gid))), caller.name)
    except (KeyError, ValueError):
        pass  # unknown here: their name is all there is
    if "@" not in caller.name:
        return in_group
    return lambda who: who.lower() == caller.name.lower() or in_group(who)  # a domain's names have no case


def require_allowed(
    settings: HostSettings,
    host: str,
    caller: Caller,
    is_caller: IsCaller,
    vm: str,
    destination: str,
    principal: str | None = None,
) -> None:
    """Hold an operator to what they are limited to. Administrators are not limited.

    Arguments:
        settings: of the host on which the limits are.
        host: its name.
        principal: as whom a user of the host moves VMs in the domain (its realm may be left out): what they are limited
            to as that one holds too.

    Raises:
        AccessError: operator-restricted.
    """
    if any(is_caller(one) for one in ["root", *settings.administrators]):
        return
    broken = against(
        settings.restrictions, lambda who: is_caller(who) or _is_principal(who, principal or ""), vm, destination
    )
    if broken:
        rules = "; ".join(map(str, broken))
        raise AccessError(
            codes.OPERATOR_RESTRICTED, caller=caller.name, vm=vm, destination=destination, host=host, rules=rules
        )


def _is_principal(who: str, principal: str) -> bool:
    """Compare names of the domain, which have no case; one without a realm is of this host's."""
    name, _, realm = who.lower().partition("@")
    wanted, _, its = principal.lower().partition("@")
    return bool(name) and bool(realm) and name == wanted and its in ("", realm)
