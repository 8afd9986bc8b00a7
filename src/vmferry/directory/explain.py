"""Find in the directory why a KDC refuses a ticket: its error is the same for all reasons."""

from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.ad import delegation, descriptor
from vmferry.core.ad.delegation import CONTROL, SENSITIVE, SERVICES, Account, DelegationKind, NameFault, Protocol
from vmferry.core.ad.pac import PROTECTED_USERS
from vmferry.core.errors import AccessError, VmferryError
from vmferry.core.messages.signin import Service
from vmferry.directory import accounts
from vmferry.directory.connection import Directory
from vmferry.identity import kerberos

_NESTED = "member:1.2.840.113556.1.4.1941:"  # LDAP_MATCHING_RULE_IN_CHAIN ([MS-ADTS] 3.1.1.3.4.4.3)
_FAULTS = {
    "missing": codes.SERVICE_NAME_MISSING,
    "elsewhere": codes.SERVICE_NAME_ELSEWHERE,
    "duplicate": codes.SERVICE_NAME_DUPLICATE,
}


@dataclass(frozen=True, slots=True)
class UserAccount:
    """A user's account.

    Arguments:
        protected: why nobody may act for the user; empty if others may.
    """

    dn: str
    protected: str


def explain(
    directory: Directory, source: str, destination: str, user: str, service: Service, *, with_ticket: bool = False
) -> VmferryError | None:
    """Find why the domain does not let a host act for a user at a service of another host.

    This only reads, and any account of the domain may do it.

    Arguments:
        source, destination: short or full names; the destination's is that of the ticket.
        user: NAME@REALM, or NAME of this domain.
        with_ticket: whether the user came to the source with a ticket of their own.

    Returns:
        The first reason, as the error to raise; None if the directory shows no reason.

    Raises:
        UnreachableError: directory-unreachable.
    """
    try:
        one, two = accounts.host(directory, source), accounts.host(directory, destination)
        found = person(directory, user, one.name)
    except VmferryError as error:
        if error.code in (codes.ACCOUNT_UNKNOWN, codes.PRINCIPAL_UNKNOWN):
            return error
        raise
    if found and found.protected:
        return AccessError(codes.USER_PROTECTED, user=user, why=found.protected, host=two.name)
    faults = accounts.faults(directory, two)[0]
    return name_error(two, faults, kerberos.asked(SERVICES[service], destination)) or link_error(
        directory, one, two, service, with_ticket=with_ticket
    )


def person(directory: Directory, user: str, host: str) -> UserAccount | None:
    """Return a user's account; None if the user is of another domain, which is not searched.

    Arguments:
        host: the host that would act for the user, for errors.

    Raises:
        AccessError: principal-unknown.
        UnreachableError: directory-unreachable.
    """
    name, _, realm = user.partition("@")
    found = directory.search(
        "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={name})(userPrincipalName={user})))",
        ("sAMAccountName", "objectSid", "primaryGroupID", CONTROL),
        name=name,
        user=user,
    )
    if not found:
        if realm and realm.lower() != directory.domain:
            return None
        raise AccessError(codes.PRINCIPAL_UNKNOWN, user=user, host=host)
    dn, entry = found[0]
    domain_sid = descriptor.sid_text(entry["objectsid"][0]).rpartition("-")[0]
    primary = f"{domain_sid}-{entry['primarygroupid'][0].decode()}"
    if int(entry[CONTROL.lower()][0]) & SENSITIVE:
        return UserAccount(dn, "marked as sensitive, not to be delegated")
    return UserAccount(dn, _protection(directory, dn, primary, f"{domain_sid}-{PROTECTED_USERS}"))


def name_error(account: Account, faults: list[NameFault], asked: str) -> VmferryError | None:
    """Return the fault of the service name for which a ticket is requested; None if there is none."""
    names = {asked.lower(), asked.replace(" ", "\\ ").lower()}
    for fault in faults:
        if fault.name.lower() in names:
            holders = ", ".join(fault.holders)
            return AccessError(_FAULTS[fault.fault], name=fault.name, host=account.name, holders=holders)
    return None


def link_error(
    directory: Directory, source: Account, destination: Account, service: Service, *, with_ticket: bool
) -> VmferryError | None:
    """Return what a delegation lacks; None if it is complete."""
    found = delegation.link(source, destination, service, samba=directory.samba)
    named = {"source": source.name, "host": destination.name, "service": SERVICES[service]}
    if found.missing or found.kind is DelegationKind.NONE:
        return AccessError(codes.DELEGATION_ABSENT, **named)
    # On Samba, resource-based delegation also needs "any protocol" for users who come without a ticket.
    kerberos_only = found.protocol is Protocol.KERBEROS or (directory.samba and not source.any_protocol)
    return AccessError(codes.DELEGATION_KERBEROS_ONLY, **named) if kerberos_only and not with_ticket else None


def _protection(directory: Directory, dn: str, primary: str, protected: str) -> str:
    """Return how a user is in Protected Users: directly, or through a group; empty if the user is not."""
    if primary == protected:
        return "in Protected Users, the user's primary group"
    inside = f"(&(objectSid={{protected}})({_NESTED}={{dn}}))"
    groups = directory.search("(objectSid={primary})", ("cn",), primary=primary)
    for member, by in [(dn, ""), *((group, f" by the user's primary group, {group}") for group, _ in groups)]:
        if directory.search(inside, ("cn",), protected=protected, dn=member):
            direct = directory.search("(&(objectSid={protected})(member={dn}))", ("cn",), protected=protected, dn=dn)
            return f"in Protected Users{'' if direct else by or ' by a group in it'}"
    return ""
