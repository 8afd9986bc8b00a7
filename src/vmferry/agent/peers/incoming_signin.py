"""Signs other hosts in, as the destination: for whom they act, as the domain says, and whether they may do it."""

import base64
import binascii
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vmferry.agent.peers.site_hosts import PORT
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.ad.pac import DelegationInfo, LogonInfo
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.hostport import bracketed, host_port
from vmferry.core.messages.offer import Proposal
from vmferry.core.messages.signin import Service, SignedIn, SignIn
from vmferry.core.policy.settings import Authentication
from vmferry.identity import access, certificates, kerberos, limits
from vmferry.identity.access import UserRole
from vmferry.identity.certificates import checked, fingerprint
from vmferry.identity.kerberos import Accepted, HostKeys
from vmferry.identity.signin import SERVICES
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer, PeerKind, Peers
from vmferry.store.settings import Settings

LASTS = 120.0  # seconds between a sign-in and the last request that it is good for
MOST = 256  # sign-ins of one host that are known at a time

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a sign-in was good for."""

    caller: str
    peer: str  # fingerprint
    services: frozenset[Service]
    until: float
    logon: LogonInfo


@dataclass(frozen=True, slots=True)
class SignIns:
    """Takes sign-ins, and knows them again.

    Arguments:
        clock: gives seconds that only go forward.
    """

    config: Config
    peers: Peers
    settings: Settings
    keys: HostKeys
    jobs: Jobs
    clock: Callable[[], float] = time.monotonic
    passes: dict[str, _Pass] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: SignIn, address: str, bound: bytes) -> SignedIn:
        """Sign a host in.

        Arguments:
            address: where it calls from.
            bound: the binding of its TLS connection.

        Raises:
            AccessError: authentication-differs, ticket-..., sign-in-wrong, user-protected, not-allowed.
        """
        self.require_same(request)
        accepted = {service: self._accept(request, service, token, bound) for service, token in request.tokens.items()}
        if "migration" not in accepted:
            raise self._wrong(request, f"it shows no ticket for {kerberos.MIGRATION}")
        first = accepted["migration"]
        if any(one.principal != first.principal for one in accepted.values()):
            raise self._wrong(request, "its tickets are of different users")
        services = frozenset(accepted)
        answer = self.let_in(request, address, bound, first.principal, first.logon, services)
        answers = {service: base64.b64encode(one.answer).decode() for service, one in accepted.items()}
        return answer.model_copy(update={"tokens": answers})

    def require_same(self, request: SignIn) -> None:
        """Hold a host to authenticate as this one does.

        Raises:
            AccessError: authentication-differs.
        """
        here = self.settings.host().authenticates(keys=self.keys.serves(kerberos.MIGRATION))
        if here is not request.authentication:
            raise AccessError(
                codes.AUTHENTICATION_DIFFERS,
                source=request.name,
                here=request.authentication.value,
                host=self.config.name,
                there=here.value,
            )

    def let_in(
        self,
        request: SignIn,
        address: str,
        bound: bytes,
        principal: str,
        logon: LogonInfo | None,
        services: frozenset[Service],
    ) -> SignedIn:
        """Let a host in for a user who has been made out.

        Arguments:
            address: where it calls from.
            bound: the binding of its TLS connection.
            principal: the user, NAME@REALM.
            services: for which it came.

        Raises:
            AccessError: sign-in-wrong, user-protected, not-allowed.
            UsageError: peer-name-taken, bad-request.
        """
        if logon is None:
            raise self._wrong(request, "the ticket has nothing of Active Directory in it")
        if logon.protected or logon.sensitive:
            kind = "in Protected Users" if logon.protected else "marked as sensitive"
            raise AccessError(codes.USER_PROTECTED, user=principal, why=kind, host=self.config.name)
        settings, sids = self.settings.host(), self.settings.sids()
        login = access.domain_login(self.config, principal, logon, settings, sids)
        access.require(self.config, login, UserRole.OPERATOR, f"move VMs here from {request.name}")
        peer = self._meet(request, address, bound)
        secret = secrets.token_hex(32)
        with self.lock:
            now = self.clock()
            for old in [one for one, known in self.passes.items() if known.until < now]:
                del self.passes[old]
            its = [one for one, known in self.passes.items() if known.peer == peer.fingerprint]
            for old in its[: max(0, len(its) - MOST + 1)]:  # the oldest first
                del self.passes[old]
            self.passes[secret] = _Pass(principal, peer.fingerprint, services, now + LASTS, logon)
        log.info("%s signed in for %s", peer.name, principal)
        return SignedIn(name=self.config.name, tokens={}, caller=principal, secret=secret)

    def require(self, peer: Peer, vm: Proposal, secret: str) -> None:
        """Hold a host to the user for whom it signed in.

        Arguments:
            secret: that it was given then; empty: it shows none.

        Raises:
            AccessError: sign-in-needed, service-not-proven, not-allowed, operator-restricted.
        """
        settings, name = self.settings.host(), self.config.name
        here = settings.authenticates(keys=self.keys.serves(kerberos.MIGRATION))
        if here is Authentication.CERTIFICATE and not secret and peer.kind is not PeerKind.DOMAIN:
            access.require_peer(self.config, peer, vm.caller)
            limits.require_allowed(settings, name, vm.caller, limits.of_peer(vm.caller), vm.vm, name)
            return
        known = self._known(secret)
        if known is None or known.peer != peer.fingerprint or known.caller != vm.caller.name:
            raise AccessError(codes.SIGN_IN_NEEDED, source=peer.name, host=self.config.name)
        if vm.options.include_storage and "storage" not in known.services:
            service = f"{kerberos.STORAGE}/{self.config.name}"
            raise AccessError(codes.SERVICE_NOT_PROVEN, source=peer.name, host=self.config.name, service=service)
        is_caller = limits.of_domain(known.caller, known.logon, self.settings.sids())
        limits.require_allowed(settings, name, vm.caller, is_caller, vm.vm, name)

    def require_recent(self, peer: Peer) -> None:
        """Hold a host that the domain vouches for to a sign-in that still lasts, or to a job that has not ended.

        Nobody has paired with it: its certificate alone says that it could act for a user once, and no more.

        Raises:
            AccessError: sign-in-needed.
        """
        if peer.kind is not PeerKind.DOMAIN or self.jobs.active_with(peer.name):
            return
        with self.lock:
            now = self.clock()
            if any(known.peer == peer.fingerprint and known.until >= now for known in self.passes.values()):
                return
        raise AccessError(codes.SIGN_IN_NEEDED, source=peer.name, host=self.config.name)

    def _known(self, secret: str) -> _Pass | None:
        with self.lock:
            known = self.passes.get(secret)
        return known if known is not None and known.until >= self.clock() else None

    def _accept(self, request: SignIn, service: Service, token: str, bound: bytes) -> Accepted:
        try:
            accepted = self.keys.accept(base64.b64decode(token, validate=True), bound)
        except binascii.Error as error:
            raise UsageError(codes.BAD_REQUEST, detail="a token is not base64") from error
        why = self._objection(request, SERVICES[service], accepted.delegation)
        if why is not None:
            raise self._wrong(request, why)
        return accepted

    def _objection(self, request: SignIn, service: str, acted: DelegationInfo | None) -> str | None:
        """Say what is wrong with a ticket: the key is one for all services, so that only the domain's word tells."""
        if acted is None or not acted.services:
            return "nobody acts for the user in the ticket: it is the user's own"
        target = acted.target.replace("\\", "").partition("@")[0]  # Samba escapes spaces
        if target.partition("/")[0].lower() != service.lower():
            return f"the ticket is for `{target}`, and not for `{service}`"
        account = acted.services[-1].partition("@")[0].partition("/")[0]
        if account.rstrip("$").lower() != request.name.partition(".")[0].lower() or not account.endswith("$"):
            return f"the ticket says that {account} acts, and the host says that it is {request.name}"
        realm, own = acted.services[-1].partition("@")[2], self.keys.account().realm
        if realm.lower() not in (
            "",
            own.lower(),
        ):  # a trusted domain may have a host of that name
            return f"the ticket says that {acted.services[-1]} acts, and this host is of {own}"
        return None

    def _wrong(self, request: SignIn, why: str) -> AccessError:
        return AccessError(codes.SIGN_IN_WRONG, source=request.name, host=self.config.name, why=why)

    def _meet(self, request: SignIn, address: str, bound: bytes) -> Peer:
        """Remember the host and its certificate, by which it is known from now on."""
        try:
            certificate = checked(request.certificate)
            if not certificates.proven(certificate, bound, base64.b64decode(request.proof, validate=True)):
                raise self._wrong(request, "the certificate that it names is not its own")
        except (ValueError, binascii.Error) as error:
            raise UsageError(codes.BAD_REQUEST, detail=f"its certificate or proof is unusable ({error})") from error
        here = bracketed(address)
        reach = request.reach
        where, port = host_port(here + reach if reach.startswith(":") else reach or here, PORT)
        known = self.peers.get(request.name)
        if (
            request.authentication is Authentication.CREDSSP
            and known is not None
            and known.fingerprint != fingerprint(certificate)
        ):  # the domain vouches for the user alone; with their password another host may take this one's name
            raise UsageError(codes.PEER_NAME_TAKEN, local=self.config.name, host=request.name)
        met = Peer(
            request.name,
            where,
            port,
            certificate,
            fingerprint(certificate),
            (),
            time.time(),
            "the domain",
            PeerKind.DOMAIN,
        )
        return self.peers.meet(met, self.config.name)
