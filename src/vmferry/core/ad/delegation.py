"""Delegation in Active Directory: who may act for users at which host, what to write, to remove, and what is missing.

There are two kinds with the same effect. Classic: the account of the acting host lists the services
(msDS-AllowedToDelegateTo), and a flag says whether the user must have come with a ticket ([MS-SFU] 1.3.3; [MS-ADTS]
2.2.16). Resource-based: the account of the target host lists who may act there
(msDS-AllowedToActOnBehalfOfOtherIdentity), for all of its services.

This module is pure: directory/ reads accounts and carries out changes.
"""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.ad import descriptor
from vmferry.core.ad.descriptor import Descriptor
from vmferry.core.messages.signin import Service

MIGRATION = "Microsoft Virtual System Migration Service"
STORAGE = "cifs"
API = "HTTP"
SERVICES: dict[Service, str] = {"migration": MIGRATION, "storage": STORAGE}
ALL: tuple[Service, ...] = ("migration", "storage")

TARGETS = "msDS-AllowedToDelegateTo"
ACTING = "msDS-AllowedToActOnBehalfOfOtherIdentity"
CONTROL = "userAccountControl"
NAMES = "servicePrincipalName"
# Flags of userAccountControl ([MS-ADTS] 2.2.16).
UNCONSTRAINED = 0x80000
SENSITIVE = 0x100000
ANY_PROTOCOL = 0x1000000
_IMPLIED = {STORAGE, API.lower()}  # a KDC takes host/NAME for these as well ([MS-ADTS], sPNMappings)


class DelegationKind(StrEnum):
    """The kind of a delegation."""

    CLASSIC = "classic"
    RESOURCE = "resource-based"
    NONE = "none"


class Protocol(StrEnum):
    """How a user must have come to the host that acts for them."""

    ANY = "any"
    KERBEROS = "kerberos-only"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Account:
    """The computer account of a host.

    Arguments:
        dn: distinguished name in the directory.
        name: the short name of the host.
        full: the name of the host in the domain's DNS.
        sids: its own SID first, then those of its groups, as far as they are visible.
        control: userAccountControl.
        targets: services that it may delegate to.
        names: its service principal names.
        acting: who may act for others at this host; None if nobody may.
    """

    dn: str
    name: str
    full: str
    sids: tuple[str, ...]
    control: int
    targets: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    acting: Descriptor | None = None

    @property
    def unconstrained(self) -> bool:
        """Whether it may act for every user at every host."""
        return bool(self.control & UNCONSTRAINED)

    @property
    def any_protocol(self) -> bool:
        """Whether it may act for users who came without a ticket."""
        return bool(self.control & ANY_PROTOCOL)


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one attribute of one account: the values to add and to remove, and no others.

    A single value, such as flags, is replaced as a whole, so that no change made in between is lost.

    Arguments:
        account: the host's name, for people.
        says: the change in words, one line for each value.
    """

    account: str
    dn: str
    attribute: str
    add: tuple[bytes, ...] = ()
    remove: tuple[bytes, ...] = ()
    says: tuple[str, ...] = ()


class DirectoryChange(BaseModel):
    """What was changed in the directory, or would be."""

    model_config = ConfigDict(frozen=True)

    account: str = Field(description="the host's name")
    place: str = Field(description="of the account in the directory")
    attribute: str
    added: list[str]
    removed: list[str]

    @classmethod
    def of(cls, change: Change) -> Self:
        """Return what a change wrote."""
        added, removed = ([one[2:] for one in change.says if one[0] == mark] for mark in "+-")
        return cls(account=change.account, place=change.dn, attribute=change.attribute, added=added, removed=removed)


class DelegationLink(BaseModel):
    """Whether a host may act for users towards a service of another."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(description="the host that acts")
    destination: str = Field(description="the host that is acted at")
    service: Service
    kind: DelegationKind
    protocol: Protocol = Field(description="`any`, or `kerberos-only`: users need a ticket with which they come")
    missing: list[str] = Field(description="service names that the source's account does not list; none where it may")


class NameFault(BaseModel):
    """A service name that leads to no account, to the wrong one, or to several: tickets for it fail."""

    model_config = ConfigDict(frozen=True)

    name: str
    fault: str = Field(description="`missing`, `elsewhere` or `duplicate`")
    holders: list[str] = Field(description="accounts that have it")


class HostDelegation(BaseModel):
    """A host's account."""

    model_config = ConfigDict(frozen=True)

    name: str
    account: str = Field(description="its place in the directory")
    unconstrained: bool = Field(description="it may act for everybody everywhere; dangerous, and not needed")
    names: list[NameFault] = Field(description="what is wrong with its service names")


class Delegations(BaseModel):
    """Who may act for users at which host."""

    model_config = ConfigDict(frozen=True)

    controller: str = Field(description="the domain controller that was asked")
    hosts: list[HostDelegation]
    links: list[DelegationLink]


def principal(service: str, name: str, *, samba: bool) -> tuple[str, ...]:
    """Return the names under which a service of a host is known.

    Arguments:
        samba: whether the domain is Samba's. Its KDC looks up names with spaces with a backslash before each space. The
            names are also written as Windows has them, because its tools and other controllers know only these.
    """
    plain = f"{service}/{name}"
    return (plain, plain.replace(" ", "\\ ")) if samba and " " in plain else (plain,)


def names_of(account: Account, services: Iterable[str], *, samba: bool) -> list[str]:
    """Return the names of some services of a host, with its short name and its full one."""
    hosts = dict.fromkeys((account.name, account.full))
    return [one for service in services for host in hosts for one in principal(service, host, samba=samba)]


def wanted(destination: Account, services: Collection[Service], *, samba: bool) -> list[str]:
    """Return the services that a host's account must list so that the host may act at another."""
    return names_of(destination, (SERVICES[one] for one in services), samba=samba)


def grant(
    source: Account, destination: Account, services: Collection[Service], *, any_protocol: bool, samba: bool
) -> list[Change]:
    """Return the changes that let one host act for users at another, classic; none if it may already.

    Nothing is removed, and "any protocol" is never turned off: others may need it.
    """
    changes = []
    listed = _folded(source.targets)
    missing = [one for one in wanted(destination, services, samba=samba) if one.lower() not in listed]
    if missing:
        changes.append(_values(source, TARGETS, add=missing))
    if any_protocol and not source.any_protocol:
        changes.append(_flags(source, source.control | ANY_PROTOCOL))
    return changes


def revoke(source: Account, destination: Account, *, samba: bool) -> list[Change]:
    """Return the changes after which one host may no longer act at another, whatever the kind.

    "Any protocol" is removed with the last service that the account lists.
    """
    changes = []
    # Of a domain that was Samba's once, both forms go, whoever is asked.
    going = _folded(wanted(destination, ALL, samba=True))
    remove = [one for one in source.targets if one.lower() in going]
    if remove:
        changes.append(_values(source, TARGETS, remove=remove))
        if len(remove) == len(source.targets) and source.any_protocol:
            changes.append(_flags(source, source.control & ~ANY_PROTOCOL))
    return changes + _acting(destination, source, descriptor.disallow(destination.acting, source.sids[0]))


def grant_at_resource(source: Account, destination: Account) -> list[Change]:
    """Return the change that lets one host act for users at another, resource-based; None if it may already."""
    if descriptor.allows(destination.acting, set(source.sids)):
        return []
    return _acting(destination, source, descriptor.allow(destination.acting, source.sids[0]))


def link(source: Account, destination: Account, service: Service, *, samba: bool) -> DelegationLink:
    """Return whether one host may act for users towards a service of another."""
    listed = _folded(source.targets)
    names = wanted(destination, (service,), samba=samba)
    missing = [one for one in names if one.lower() not in listed]
    if descriptor.allows(destination.acting, set(source.sids)):
        kind, protocol, missing = DelegationKind.RESOURCE, Protocol.ANY, []
    elif len(missing) == len(names):
        kind, protocol = DelegationKind.NONE, Protocol.NONE
    else:
        kind, protocol = DelegationKind.CLASSIC, Protocol.ANY if source.any_protocol else Protocol.KERBEROS
    return DelegationLink(
        source=source.name,
        destination=destination.name,
        service=service,
        kind=kind,
        protocol=protocol,
        missing=missing,
    )


@dataclass(frozen=True, slots=True)
class Registered:
    """Who has which service names in the domain.

    Arguments:
        holders: for each name, in small letters, the accounts that have it: name -> place in the directory.
    """

    holders: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, str]:
        """Return the accounts that have a name."""
        return self.holders.get(name.lower(), {})


def should_have(account: Account, *, samba: bool) -> list[str]:
    """Return the service names that a host needs in the domain."""
    return names_of(account, (MIGRATION, STORAGE, API), samba=samba)


def name_faults(account: Account, registered: Registered, *, samba: bool) -> list[NameFault]:
    """Find what is wrong with the service names of a host.

    Arguments:
        registered: who has them, and who has host/NAME, which stands for some of them.
    """
    return [
        fault for name in should_have(account, samba=samba) if (fault := _fault(account, name, registered)) is not None
    ]


def register(account: Account, faults: Sequence[NameFault], registered: Registered) -> list[Change]:
    """Return the changes that correct the service names of a host: first others lose them, then the host gets them.

    A directory refuses a name that another account has.
    """
    losing: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        for holder, dn in registered.of(fault.name).items():
            if dn.lower() != account.dn.lower():
                losing.setdefault((holder, dn), []).append(fault.name)
    changes = [
        Change(holder, dn, NAMES, remove=_encoded(names), says=tuple(f"- {name}" for name in names))
        for (holder, dn), names in losing.items()
    ]
    having = _folded(account.names)
    adding = [fault.name for fault in faults if fault.name.lower() not in having]
    return [*changes, _values(account, NAMES, add=adding)] if adding else changes


def _fault(account: Account, name: str, registered: Registered) -> NameFault | None:
    here = name.lower() in _folded(account.names)
    others = [holder for holder, dn in registered.of(name).items() if dn.lower() != account.dn.lower()]
    if others:
        holders = [*([account.name] if here else []), *others]
        return NameFault(name=name, fault="duplicate" if here else "elsewhere", holders=holders)
    service, _, host = name.partition("/")
    implied = service.lower() in _IMPLIED and f"host/{host}".lower() in _folded(account.names)
    return None if here or implied else NameFault(name=name, fault="missing", holders=[])


def _values(account: Account, attribute: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Change:
    says = (*(f"+ {one}" for one in add), *(f"- {one}" for one in remove))
    return Change(account.name, account.dn, attribute, _encoded(add), _encoded(remove), says)


def _flags(account: Account, control: int) -> Change:
    """Replace flags as a whole: the old value is replaced, or nothing changes if someone else has changed them."""
    says = ("+ any protocol" if control & ANY_PROTOCOL else "- any protocol",)
    return Change(account.name, account.dn, CONTROL, _encoded([str(control)]), _encoded([str(account.control)]), says)


def _acting(destination: Account, source: Account, new: Descriptor | None) -> list[Change]:
    old = destination.acting
    if new == old:
        return []
    says = (f"{'-' if old and (new is None or len(_entries(new)) < len(_entries(old))) else '+'} {source.name}",)
    return [
        Change(
            destination.name,
            destination.dn,
            ACTING,
            (descriptor.build(new),) if new else (),
            (descriptor.build(old),) if old else (),
            says,
        )
    ]


def _entries(found: Descriptor) -> tuple[descriptor.Ace, ...]:
    return found.dacl.entries if found.dacl else ()


def _folded(names: Iterable[str]) -> AbstractSet[str]:
    """Return names as the directory compares them."""
    return {name.lower() for name in names}


def _encoded(values: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(value.encode() for value in values)
