"""Kerberos, by MIT's library (python-gssapi): accepting tickets, and acting for somebody at another host.

What is asked for is always Kerberos 5 with mutual authentication, and bound to the TLS connection it goes through
(RFC 5929, tls-server-end-point): the initiator's library takes the binding in, and the acceptor's refuses another one.
An acceptor that finds none at all lets it pass, so that here the flag is looked at that says there was one.

A host's credential is made anew each time: it keeps tickets, and with them what the domain allowed before.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmferry.core import codes
from vmferry.core.ad import keytab, pac
from vmferry.core.ad.delegation import API as API
from vmferry.core.ad.delegation import MIGRATION as MIGRATION
from vmferry.core.ad.delegation import STORAGE as STORAGE
from vmferry.core.ad.pac import DelegationInfo, LogonInfo
from vmferry.core.errors import InternalError, VmferryError
from vmferry.identity.kerberos_errors import explained, refusal, words

_OWN = "MEMORY:vmferry"
_KERBEROS, _SPNEGO = "1.2.840.113554.1.2.2", "1.3.6.1.5.5.2"
_LOGON_INFO, _DELEGATION_INFO = b"urn:mspac:logon-info", b"urn:mspac:delegation-info"


def binding(certificate: bytes) -> bytes:
    """Give what stands for a TLS server's certificate in a channel binding (RFC 5929, 4.1).

    Arguments:
        certificate: DER.
    """
    from vmferry.identity import certificates

    algorithm = certificates.parsed_der(certificate).signature_hash_algorithm
    name = algorithm.name if algorithm is not None and algorithm.name not in ("md5", "sha1") else "sha256"
    return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """Somebody whose ticket was accepted.

    Arguments:
        principal: NAME@REALM.
        logon: what the domain says of them; None, where it says nothing (a realm without Active Directory).
        delegation: who acted for them; None: nobody did, it is their own ticket.
        answer: for who sent the ticket, so that they know this host.
        credential: with which this host may act for them, if the domain lets it; None: it cannot.
    """

    principal: str
    logon: LogonInfo | None
    delegation: DelegationInfo | None
    answer: bytes
    credential: Any


class Initiation:
    """The first half of showing a ticket: `token` goes to the service, `finish` takes its answer."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.token: bytes = context.step()

    def finish(self, answer: bytes, host: str) -> None:
        """See that the service is the right one.

        Raises:
            AccessError: ticket-refused: it is not.
        """
        with explained(host=host):
            self._context.step(answer)
            if not self._context.complete:
                raise refusal(codes.TICKET_REFUSED, host=host, why="it did not show who it is")


class HostKeys:
    """The keys of this host in the domain. They are read anew each time: a keytab may be renewed at any moment.

    Arguments:
        path: the keytab.
        host: this host's name, for errors.
    """

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host

    def account(self) -> keytab.KeytabEntry:
        """Give this host's account in the domain.

        Raises:
            InternalError: kerberos-keytab: there is none.
        """
        try:
            found = keytab.account(keytab.entries(self._path.read_bytes()))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise InternalError(codes.KERBEROS_KEYTAB, host=self._host, path=str(self._path), why=why) from error
        if found is None:
            why = "none is of a computer account"
            raise InternalError(codes.KERBEROS_KEYTAB, host=self._host, path=str(self._path), why=why)
        return found

    def serves(self, service: str) -> bool:
        """Tell whether there are keys for a service."""
        try:
            return keytab.serves(keytab.entries(self._path.read_bytes()), service)
        except (OSError, ValueError):
            return False

    def accept(self, token: bytes, bound: bytes, *, acting: bool = False) -> Accepted:
        """Accept a ticket for one of this host's services.

        Which one is not told: the account has one key for all. Only where a host acted for the user does
        `Accepted.delegation` say it.

        Arguments:
            token: as it came.
            bound: the binding of the connection by which it came.
            acting: whether this host is to act for the user elsewhere.

        Raises:
            AccessError: ticket-refused, -expired, -replayed, -unbound, clock-skewed, keytab-stale.
            InternalError: kerberos-keytab.
        """
        gssapi = _library(self._host)
        with explained(host=self._host, path=str(self._path)):
            credential = self._credential("both" if acting else "accept")
            context = gssapi.SecurityContext(creds=credential, usage="accept", channel_bindings=_bindings(bound))
            answer = context.step(token)
            if not context.complete or context.mech != gssapi.MechType.kerberos:
                raise refusal(codes.TICKET_REFUSED, host=self._host, why="it is no Kerberos ticket alone")
            require_bound(context, self._host)
            logon, delegation = self.vouched(context.initiator_name)
            delegated = context.delegated_creds if acting else None
            return Accepted(str(context.initiator_name), logon, delegation, answer or b"", delegated)

    def impersonate(self, principal: str) -> Any:
        """Get a credential for a user who showed no ticket (S4U2Self, [MS-SFU] 3.1.5.1).

        Raises:
            AccessError: principal-unknown, host-account-refused.
            UnreachableError: kdc-unreachable.
            InternalError: kerberos-keytab.
        """
        gssapi = _library(self._host)
        with explained(host=self._host, path=str(self._path), user=principal, account=self.account().name):
            name = gssapi.Name(principal, gssapi.NameType.kerberos_principal)
            return self._credential("both").impersonate(name, usage="initiate", mechs=[gssapi.MechType.kerberos])

    def tickets(self) -> str:
        """Get tickets of this host itself; gives their cache, the one in this process: krb5 destroys none by itself.

        Raises:
            AccessError: host-account-refused.
            UnreachableError: kdc-unreachable.
            InternalError: kerberos-keytab, kerberos-library.
        """
        with explained(host=self._host, path=str(self._path), account=self.account().name):
            assert self._credential("both", _OWN).lifetime is not None  # asked that, the library gets them
        return _OWN

    def acceptor(self) -> Any:
        """Give a credential to accept tickets with.

        Raises:
            InternalError: kerberos-keytab.
        """
        return self._credential("accept")

    def vouched(self, name: Any) -> tuple[LogonInfo | None, DelegationInfo | None]:
        """Give what the domain says of a user whose ticket was accepted: who they are, and who acts for them.

        Arguments:
            name: the accepted context's.

        Raises:
            AccessError: ticket-refused: it cannot be read.
        """
        attributes = _attributes(name)
        try:
            logon = pac.logon_info(attributes[_LOGON_INFO]) if _LOGON_INFO in attributes else None
            acting = pac.delegation_info(attributes[_DELEGATION_INFO]) if _DELEGATION_INFO in attributes else None
        except ValueError as error:
            why = f"what the domain says of the user cannot be read ({error})"
            raise refusal(codes.TICKET_REFUSED, host=self._host, why=why) from error
        return logon, acting

    def _credential(self, usage: str, cache: str = "") -> Any:
        gssapi = _library(self._host)
        found = self.account()
        store = {"keytab": str(self._path)}
        if usage == "accept":
            return gssapi.Credentials(usage="accept", store=store)
        store |= {"client_keytab": str(self._path), "ccache": cache or f"MEMORY:{secrets.token_hex(8)}"}
        name = gssapi.Name(f"{found.name}@{found.realm}", gssapi.NameType.kerberos_principal)
        return gssapi.Credentials(name=name, usage="both", store=store)


def require_bound(context: Any, host: str) -> None:
    """Hold an accepted context to be bound to a TLS connection.

    Raises:
        AccessError: ticket-unbound.
    """
    if _library(host).RequirementFlag.channel_bound not in context.actual_flags:
        raise refusal(codes.TICKET_UNBOUND, host=host)


def own(user: str = "USER") -> Any:
    """Give the credential of who runs this process, from their ticket cache.

    Raises:
        AccessError: ticket-missing, ticket-expired.
    """
    gssapi = _library("this host")
    try:
        # Tickets only: a host's root would be the host itself, where krb5.conf names a client keytab.
        found = gssapi.Credentials(usage="initiate", store={"client_keytab": "MEMORY:none"})
        if found.lifetime == 0:
            raise refusal(codes.TICKET_EXPIRED)
    except gssapi.exceptions.ExpiredCredentialsError as error:
        raise refusal(codes.TICKET_EXPIRED) from error
    except gssapi.exceptions.GSSError as error:
        raise refusal(codes.TICKET_MISSING, why=words(error), user=user) from error
    return found


@contextmanager
def using(cache: str) -> Iterator[None]:
    """Have Kerberos use the tickets of a cache in this thread, in place of those of who runs this process.

    Arguments:
        cache: as krb5 names caches: `FILE:/...`, `MEMORY:...`.
    """
    _library("this host")
    from gssapi.raw import krb5_ccache_name

    krb5_ccache_name(cache.encode())
    try:
        yield
    finally:
        krb5_ccache_name(None)


def asked(service: str, host: str) -> str:
    """Give the service name for which Kerberos asks, without its realm: krb5.conf may lengthen the host's name."""
    gssapi = _library("this host")
    name = gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)
    return str(name.canonicalize(gssapi.MechType.kerberos)).rpartition("@")[0]


def has_ticket() -> bool:
    """Tell whether who runs this process has a ticket, however old."""
    try:
        own()
    except VmferryError as error:
        return error.code is codes.TICKET_EXPIRED
    return True


def initiate(
    credential: Any,
    service: str,
    host: str,
    bound: bytes | None,
    *,
    spnego: bool = False,
    source: str = "",
    user: str = "",
) -> Initiation:
    """Get a ticket for a service and make the message that shows it.

    Arguments:
        credential: the user's own, or one with which this host acts for them (S4U2Proxy, [MS-SFU] 3.1.5.2).
        host: the service's.
        bound: the binding of the connection by which the message will go; None: there is none.
        spnego: whether HTTP's Negotiate is to be spoken (RFC 4559).
        source: this host, for errors; user: for whom it acts.

    Raises:
        AccessError: delegation-refused, ticket-expired, clock-skewed, ...
        UsageError: service-unknown.
        UnreachableError: kdc-unreachable.
    """
    gssapi = _library(source or "this host")
    flags = gssapi.RequirementFlag
    with explained(host=host, source=source, user=user, service=service):
        name = gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)
        return Initiation(
            gssapi.SecurityContext(
                name=name,
                creds=credential,
                usage="initiate",
                mech=gssapi.OID.from_int_seq(_SPNEGO if spnego else _KERBEROS),
                flags=flags.mutual_authentication | flags.integrity | flags.replay_detection,
                channel_bindings=_bindings(bound),
            )
        )


def _library(host: str) -> Any:
    try:
        import gssapi
    except ImportError as error:
        raise InternalError(codes.KERBEROS_LIBRARY, host=host, why=str(error)) from error
    library: Any = gssapi
    library.SecurityContext.__DEFER_STEP_ERRORS__ = False  # or an acceptor's errors pass silently
    return library


def _bindings(bound: bytes | None) -> Any:
    if bound is None:
        return None
    from gssapi.raw import ChannelBindings

    return ChannelBindings(application_data=bound)


def _attributes(name: Any) -> dict[bytes, bytes]:
    """Give what the ticket says of its user, as far as the domain has signed it."""
    from gssapi.raw import get_name_attribute, inquire_name

    found = {}
    for wanted in (_LOGON_INFO, _DELEGATION_INFO):
        if wanted in (inquire_name(name).attrs or []):
            attribute = get_name_attribute(name, wanted)
            if attribute.authenticated and attribute.values:
                found[wanted] = attribute.values[0]
    return found
