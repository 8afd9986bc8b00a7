"""Read accounts from the directory: hosts, users, groups, and the holders of service names."""

from collections.abc import Iterable

from vmferry.core import codes
from vmferry.core.ad import delegation, descriptor
from vmferry.core.ad.delegation import ACTING, CONTROL, MIGRATION, NAMES, TARGETS, Account, Registered
from vmferry.core.errors import UsageError
from vmferry.directory.connection import Directory, Entry

_ATTRIBUTES = ("sAMAccountName", "dNSHostName", "objectSid", CONTROL, TARGETS, NAMES, ACTING)
_AT_ONCE = 20  # names in one query


def host(directory: Directory, name: str) -> Account:
    """Return a host's computer account.

    Arguments:
        name: the host's short or full name.

    Raises:
        UsageError: account-unknown.
        UnreachableError: directory-unreachable.
    """
    found = directory.search(
        "(&(objectCategory=computer)(|(sAMAccountName={account})(dNSHostName={name})))",
        _ATTRIBUTES,
        account=f"{name.partition('.')[0]}$",
        name=name,
    )
    # The host kvm1.other.example may have an account kvm1$ in another domain; this one is not it.
    fitting = [one for one in (_account(directory, dn, entry) for dn, entry in found) if _is(one, name)]
    if not fitting:
        raise UsageError(codes.ACCOUNT_UNKNOWN, host=name, domain=directory.domain)
    return fitting[0]


def hosts(directory: Directory) -> list[Account]:
    """Return the accounts of all hosts that have the migration service."""
    found = directory.search(f"(&(objectCategory=computer)({NAMES}={MIGRATION}/*))", _ATTRIBUTES)
    return sorted((_account(directory, dn, entry) for dn, entry in found), key=lambda one: one.name)


def registered(directory: Directory, names: Iterable[str]) -> Registered:
    """Return the holders of service names in the whole domain."""
    asked = sorted({name.lower() for name in names})
    holders: dict[str, dict[str, str]] = {}
    for at in range(0, len(asked), _AT_ONCE):
        some = asked[at : at + _AT_ONCE]
        pattern = "".join(f"({NAMES}={{n{number}}})" for number in range(len(some)))
        values = {f"n{number}": name for number, name in enumerate(some)}
        for dn, entry in directory.search(f"(|{pattern})", ("sAMAccountName", NAMES), **values):
            for value in _texts(entry, NAMES):
                if value.lower() in some:
                    holders.setdefault(value.lower(), {})[_name(entry)] = dn
    return Registered(holders)


def group_sid(directory: Directory, name: str) -> str:
    """Return the SID of a group.

    Arguments:
        name: its sAMAccountName, or its common name.

    Raises:
        UsageError: group-unknown.
        UnreachableError: directory-unreachable.
    """
    found = directory.search(
        "(&(objectCategory=group)(|(sAMAccountName={name})(cn={name})))", ("sAMAccountName", "objectSid"), name=name
    )
    # If one group has this account name and another this common name, the account name counts.
    found.sort(key=lambda one: _text(one[1], "sAMAccountName").lower() != name.lower())
    if not found:
        raise UsageError(codes.GROUP_UNKNOWN, group=name, domain=directory.domain)
    return descriptor.sid_text(found[0][1]["objectsid"][0])


def _account(directory: Directory, dn: str, entry: Entry) -> Account:
    name = _name(entry)
    acting = entry.get(ACTING.lower())
    return Account(
        dn=dn,
        name=name,
        full=_text(entry, "dNSHostName").lower() or f"{name}.{directory.domain}",
        sids=(descriptor.sid_text(entry["objectsid"][0]),),
        control=int(_text(entry, CONTROL) or 0),
        targets=tuple(_texts(entry, TARGETS)),
        names=tuple(_texts(entry, NAMES)),
        acting=descriptor.parse(acting[0]) if acting else None,
    )


def _name(entry: Entry) -> str:
    """Return the name of an account; for a host, without the trailing dollar sign."""
    return _text(entry, "sAMAccountName").rstrip("$").lower()


def _is(account: Account, name: str) -> bool:
    return name.lower() in (account.name, account.full)


def _texts(entry: Entry, attribute: str) -> list[str]:
    return [value.decode("utf-8", "replace") for value in entry.get(attribute.lower(), [])]


def _text(entry: Entry, attribute: str) -> str:
    return (_texts(entry, attribute) or [""])[0]


def faults(directory: Directory, account: Account) -> tuple[list[delegation.NameFault], Registered]:
    """Return the faults of a host's service names, and the holders of these names."""
    found = registered(directory, delegation.should_have(account, samba=directory.samba))
    return delegation.name_faults(account, found, samba=directory.samba), found
