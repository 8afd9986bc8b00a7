"""Show and change delegations. Each change is reported when it is made, and no change is made twice."""

from collections.abc import Callable, Iterable, Sequence

from vmferry.core import codes
from vmferry.core.ad import delegation
from vmferry.core.ad.delegation import ALL, Account, Change, Delegations, HostDelegation
from vmferry.core.errors import UsageError
from vmferry.core.messages.signin import Service
from vmferry.directory import accounts
from vmferry.directory.connection import Directory

OnChange = Callable[[Change], None]


def show(directory: Directory, names: Sequence[str] = ()) -> Delegations:
    """Return which host may act for users at which other host.

    Arguments:
        names: the hosts; if it is one, with every other host; if empty, all hosts that have the migration service.

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
    on_change: OnChange,
    dry_run: bool = False,
) -> None:
    """Let one host act for users at another host.

    Arguments:
        on_change: called for each change after it is made; with `dry_run`, instead of making it.

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
    _make(directory, changes, one, two, on_change, dry_run=dry_run)


def revoke(directory: Directory, source: str, destination: str, *, on_change: OnChange, dry_run: bool = False) -> None:
    """Remove all delegations from one host to another. Arguments and errors are those of `grant`."""
    one, two = _pair(directory, source, destination)
    _make(directory, delegation.revoke(one, two, samba=directory.samba), one, two, on_change, dry_run=dry_run)


def register(
    directory: Directory, name: str, *, on_change: OnChange, confirm: Callable[[str], None], dry_run: bool = False
) -> None:
    """Repair the service names of a host.

    Arguments:
        confirm: called before a name is taken from another account; raises an exception if the answer is no.

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
    _make(directory, delegation.register(account, faults, found), account, account, on_change, dry_run=dry_run)


def _pair(directory: Directory, source: str, destination: str) -> tuple[Account, Account]:
    one, two = accounts.host(directory, source), accounts.host(directory, destination)
    if one.dn == two.dn:
        raise UsageError(codes.DELEGATION_TO_ITSELF, host=one.name)
    return one, two


def _make(
    directory: Directory,
    changes: Iterable[Change],
    source: Account,
    destination: Account,
    on_change: OnChange,
    *,
    dry_run: bool,
) -> None:
    for change in changes:
        if not dry_run:
            directory.modify(change, source.name, destination.name)
        on_change(change)
