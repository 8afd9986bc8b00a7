"""Verify a delegation in two parts: what the directory says, and what the KDC does with the host's own keys."""

from collections.abc import Iterator, Sequence

from vmferry.core import codes
from vmferry.core.ad import delegation
from vmferry.core.ad.delegation import SERVICES, Account, NameFault, Protocol
from vmferry.core.ad.verification import DelegationCheck, Seen, StepState, VerificationStep, compare
from vmferry.core.errors import AccessError, InternalError, UnreachableError, VmferryError
from vmferry.core.messages.signin import Service
from vmferry.directory import accounts, controllers
from vmferry.directory import explain as reasons
from vmferry.directory.connection import Directory, DirectoryConnector
from vmferry.identity import kerberos
from vmferry.identity.kerberos import HostKeys

_SELF, _GIVEN = "KDC: user's ticket", "The KDC issues it."


def verify(
    connector: DirectoryConnector,
    source: str,
    destination: str,
    user: str,
    services: Sequence[Service],
    keys: HostKeys,
) -> DelegationCheck:
    """Verify that the domain lets a host act for a user at another host.

    Arguments:
        connector: connects to the directory; if it names no controller, all controllers are compared.
        user: NAME@REALM, or NAME of this domain.
        keys: the keys of this host; the KDC is tried if this host is the source.

    Raises:
        AccessError: ticket-missing, ticket-expired, directory-refused.
        UnreachableError: directory-unreachable.
        InternalError: directory-library, kerberos-library.
    """
    with connector() as directory:
        steps: list[VerificationStep] = []
        try:
            one, two = accounts.host(directory, source), accounts.host(directory, destination)
        except VmferryError as error:
            if error.code is not codes.ACCOUNT_UNKNOWN:
                raise
            steps.append(VerificationStep.of("accounts", error))
        else:
            known = f"{user}@{directory.domain.upper()}" if "@" not in user else user
            steps.append(VerificationStep.ok("accounts", f"{one.dn}; {two.dn}"))
            steps.append(_agreed(connector, directory, one, two))
            steps += _directory(directory, one, two, destination, known, services)
            steps += _kdc(directory, one, destination, known, services, keys)
        return DelegationCheck(
            source=source, destination=destination, user=user, controller=directory.controller, steps=steps
        )


def _directory(
    directory: Directory, one: Account, two: Account, called: str, user: str, services: Sequence[Service]
) -> Iterator[VerificationStep]:
    """Yield the steps that read the directory."""
    try:
        person = reasons.person(directory, user, one.name)
        protected = person.protected if person else ""
        if protected:
            raise AccessError(codes.USER_PROTECTED, user=user, why=protected, host=two.name)
        yield VerificationStep.ok(
            "user", f"Hosts may act for {person.dn}." if person else f"{user} is of another domain."
        )
    except AccessError as error:
        yield VerificationStep.of("user", error)
    faults = accounts.faults(directory, two)[0]
    for service in services:
        found = delegation.link(one, two, service, samba=directory.samba)
        asked = kerberos.asked(SERVICES[service], called)
        wrong = reasons.name_error(two, faults, asked)
        yield (
            VerificationStep.of(f"{service} name", wrong) if wrong else VerificationStep.ok(f"{service} name", asked)
        )
        wrong = reasons.link_error(directory, one, two, service, with_ticket=True)
        only = " Only for users who come with a ticket." if found.protocol is Protocol.KERBEROS else ""
        yield (
            VerificationStep.of(f"{service} delegation", wrong)
            if wrong
            else VerificationStep.ok(f"{service} delegation", f"It is {found.kind.value}.{only}")
        )


def _kdc(
    directory: Directory, one: Account, called: str, user: str, services: Sequence[Service], keys: HostKeys
) -> Iterator[VerificationStep]:
    """Yield the steps that ask the KDC for the tickets of a move."""
    proxies = {f"KDC: {service} ticket": service for service in services}
    why = _absent(keys, one)
    if why:
        error = AccessError(codes.KDC_UNTRIED, source=one.name, host=called, user=user, why=why)
        yield from (VerificationStep.of(name, error, StepState.NOT_TRIED) for name in (_SELF, *proxies))
        return
    try:
        credential = keys.impersonate(user)  # S4U2Self
    except VmferryError as refused:
        yield VerificationStep.of(_SELF, refused)
        return
    yield VerificationStep.ok(_SELF, _GIVEN)
    for name, service in proxies.items():
        try:
            kerberos.initiate(credential, SERVICES[service], called, None, source=one.name, user=user)  # S4U2Proxy
        except VmferryError as refused:
            yield VerificationStep.of(name, _explained(directory, one, called, user, service, refused))
        else:
            yield VerificationStep.ok(name, _GIVEN)


def _explained(
    directory: Directory, one: Account, called: str, user: str, service: Service, error: VmferryError
) -> VmferryError:
    """Return the reason why the KDC refuses: its error is the same for many reasons."""
    if error.code not in (codes.DELEGATION_REFUSED, codes.SERVICE_UNKNOWN):
        return error
    found = reasons.explain(directory, one.name, called, user, service)
    unexplained = AccessError(
        codes.DELEGATION_UNEXPLAINED, source=one.name, user=user, service=SERVICES[service], host=called
    )
    return found or (unexplained if error.code is codes.DELEGATION_REFUSED else error)


def _absent(keys: HostKeys, one: Account) -> str:
    """Return why this host does not have the source's keys; empty if it has them."""
    try:
        name = keys.account().name.rstrip("$").lower()
    except InternalError as error:
        return str(error.fields.get("why", error.reason))
    return "" if name == one.name else f"this is {name}"


def _agreed(connector: DirectoryConnector, directory: Directory, one: Account, two: Account) -> VerificationStep:
    """Return the step that compares the domain's controllers."""
    seen = {directory.controller: _seen(directory, one, two)}
    away: dict[str, VmferryError] = {}
    try:
        names = [] if connector.controller else controllers.find(directory.domain)
    except UnreachableError:  # the DNS, which answered a moment ago, no longer does
        names = []
    for name in names:
        if name == directory.controller:
            continue
        try:
            with connector(name) as other:
                seen[name] = _seen(other, accounts.host(other, one.name), accounts.host(other, two.name))
        except VmferryError as error:
            away[name] = error
    return compare(seen, away)


def _seen(directory: Directory, one: Account, two: Account) -> Seen:
    faults: list[NameFault] = accounts.faults(directory, two)[0]
    links = [delegation.link(one, two, service, samba=directory.samba) for service in delegation.ALL]
    return Seen(links=links, names=faults)
