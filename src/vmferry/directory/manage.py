"""Shows and changes who may act for whom; every change is written down as it is made, and none twice."""

from collections.abc import Callable, Iterable, Sequence

from vmferry.core import codes
from vmferry.core.ad import delegation
from vmferry.core.ad.delegation import ALL, Account, Change, Delegations, HostDelegation
from vmferry.core.errors import UsageError
from vmferry.core.messages.signin import Service
from vmferry.directory import accounts
from vmferry.directory.connection import Directory

Told = Callable[[Change], None]


def show(directory: Directory, names: Sequence[str] = ()) -> Delegations:
    """Tell who may act for users at which host.

    Arguments:
        names: hosts; one: that one, with every other; none: every host that has VMs come and go.

    Raises:
        UsageError: account-unknown.
        UnreachableError: directory-unreachable.
    """
    named = [accounts.host(directory, name) for name in dict.fromkeys(names)]
    known = {one.dn: one for one in named}
    if len(named) < 2:
        known |= {one.dn: one for one in accounts.hosts(directory)}
    found = sorted(known.values(), key=lambda one: one.name)
    return Delegations(
        controller=directory.controller,
        hosts=[
            HostDelegation(
                name=one.name,
                account=one.dn,
                unconstrained=one.unconstrained,
                names=accounts.faults(directory, one)[0],
            )
            for one in found
        ],
        links=[
            delegation.link(source, destination, service, samba=directory.samba)
            for source in found
            for destination in found
            if source is not destination and (len(named) != 1 or named[0].dn in (source.dn, destination.dn))
            for service in ALL
        ],
    )


def grant(
    directory: Directory,
    source: str,
    destination: str,
    *,
    services: Sequence[Service] = ALL,
    any_protocol: bool = True,
    resource_based: bool = False,
    tell: Told,
    dry_run: bool = False,
) -> None:
    """Let one host act for users at another.

    Arguments:
        tell: is told each change: after it is made, or with `dry_run` in place of making it.

    Raises:
        UsageError: account-unknown, delegation-to-itself.
        AccessError: write-refused, attribute-refused, privilege-missing.
        UnreachableError: directory-unreachable.
        InternalError: directory-failed.
    """
    one, two = _pair(directory, source, destination)
    if resource_based:
        changes = delegation.grant_at_resource(one, two)
    else:
        changes = delegation.grant(one, two, services, any_protocol=any_protocol, samba=directory.samba)
    _make(directory, changes, one, two, tell, dry_run=dry_run)


def revoke(directory: Directory, source: str, destination: str, *, tell: Told, dry_run: bool = False) -> None:
    """Let one host no longer act for users at another, whichever way it could; arguments and errors as for `grant`."""
    one, two = _pair(directory, source, destination)
    _make(directory, delegation.revoke(one, two, samba=directory.samba), one, two, tell, dry_run=dry_run)


def register(
    directory: Directory, name: str, *, tell: Told, confirm: Callable[[str], None], dry_run: bool = False
) -> None:
    """Mend the service names of a host.

    Arguments:
        confirm: is asked before a name is taken from another account; raises what it likes if the answer is no.

    Raises:
        UsageError: account-unknown.
        AccessError: attribute-refused, service-name-taken.
        UnreachableError: directory-unreachable.
        InternalError: directory-failed.
    """
    account = accounts.host(directory, name)
    faults, found = accounts.faults(directory, account)
    for fault in faults:
        others = [holder for holder in fault.holders if holder != account.name]
        if others and not dry_run:
            confirm(f"Take the service name {fault.name} from {', '.join(others)}, for {account.name}?")
    _make(directory, delegation.register(account, faults, found), account, account, tell, dry_run=dry_run)


def _pair(directory: Directory, source: str, destination: str) -> tuple[Account, Account]:
    one, two = accounts.host(directory, source), accounts.host(directory, destination)
    if one.dn == two.dn:
        raise UsageError(codes.DELEGATION_TO_ITSELF, host=one.name)
    return one, two


def _make(
    directory: Directory, changes: Iterable[Change], source: Account, destination: Account, tell: Told, *, dry_run: bool
) -> None:
    for change in changes:
        if not dry_run:
            directory.modify(change, source.name, destination.name)
        tell(change)
