"""How a move gets into another host: by what the hosts are to each other, or as the user, by Kerberos."""

import logging
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmferry.agent.peers.site_hosts import PORT
from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError, VmferryError
from vmferry.core.hostport import host_port
from vmferry.core.messages.offer import Caller, CallerMethod, MoveOptions
from vmferry.core.messages.signin import Service
from vmferry.core.policy.settings import Authentication, HostSettings
from vmferry.identity import kerberos, signin
from vmferry.identity.certificates import fingerprint
from vmferry.identity.kerberos import HostKeys
from vmferry.identity.signin import SignInHost
from vmferry.store.peers import Peer, PeerKind, Peers
from vmferry.store.settings import Settings

_PASSWD = Path("/etc/passwd")

log = logging.getLogger("vmferry.agent")


@dataclass(frozen=True, slots=True)
class Entry:
    """A move's way into the destination.

    Arguments:
        peer: the destination.
        caller: for whom it takes the VM.
        secret: by which it knows that; empty: it takes this host's word.
    """

    peer: Peer
    caller: Caller
    secret: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Password:
    """A user's password, on its way to one sign-in; it has no representation that a log could show."""

    text: str


Enter = Callable[[str, MoveOptions, Caller, Any], Entry | None]
"""Signs in at a destination, as Entrance.enter does."""


@dataclass(frozen=True, slots=True)
class OutgoingSignIn:
    """Signs in at other hosts for those who ask this one for moves. It blocks.

    Arguments:
        certificate: this host's, PEM.
        explain: finds why the domain refuses (agent/peers/domain.py).
        local_users: the file of users that are this host's alone.
    """

    config: Config
    certificate: str
    peers: Peers
    settings: Settings
    keys: HostKeys
    sign_in: Callable[..., Any] = signin.sign_in
    sign_in_with_password: Callable[..., Any] = signin.sign_in_with_password
    explain: Callable[..., VmferryError] = lambda error, *_, **__: error
    local_users: Path = _PASSWD

    def enter(self, destination: str, options: MoveOptions, caller: Caller, credential: Any) -> Entry | None:
        """Sign in at a destination for a user, where this host's moves are authenticated so.

        Arguments:
            destination: as they named it.
            credential: with which this host may act for them: their ticket or Password; None: they showed neither.

        Returns:
            None where hosts take each other's word for whom they act.

        Raises:
            AccessError: principal-missing, delegation-refused, ...; or what the destination answered.
            UnreachableError: host-unreachable, kdc-unreachable.
            UsageError: service-unknown, peer-name-taken.
        """
        settings = self.settings.host()
        how = settings.authenticates(keys=self.keys.serves(kerberos.MIGRATION))
        if how is Authentication.CERTIFICATE:
            return None
        place = self._place(destination)
        if how is Authentication.CREDSSP:
            user, password = self._signed_in(settings, caller, destination, credential)
            answer, certificate = self.sign_in_with_password(self.config, place, self.certificate, password, user)
        else:
            if credential is None or isinstance(credential, Password):
                user = self._principal(settings, caller, destination)
                credential = self.keys.impersonate(user)
            else:
                user = caller.name
            services: Sequence[Service] = ("migration", "storage") if options.include_storage else ("migration",)
            with_ticket = user == caller.name
            try:
                answer, certificate = self.sign_in(self.config, place, self.certificate, credential, user, services)
            except VmferryError as error:
                raise self.explain(error, place.name, user, with_ticket=with_ticket) from error
        met = Peer(
            name=answer.name,
            address=place.address,
            port=place.port,
            certificate=certificate,
            fingerprint=fingerprint(certificate),
            callers=(),
            paired_at=time.time(),
            paired_by="the domain",
            kind=PeerKind.DOMAIN,
        )
        log.info("signed in at %s for %s", answer.name, answer.caller)
        taken = self.peers.meet(met, self.config.name)
        return Entry(taken, Caller(name=answer.caller, host=self.config.name, method=how.value), answer.secret)

    def _signed_in(self, settings: HostSettings, caller: Caller, destination: str, credential: Any) -> tuple[str, str]:
        """Give who is signed in here, and their password: CredSSP hands on what its user has typed on this host.

        Raises:
            AccessError: credssp-forbidden, credssp-not-signed-in, principal-missing, password-needed.
        """
        name = self.config.name
        if self.config.forbid_credssp:
            raise AccessError(codes.CREDSSP_FORBIDDEN, host=name)
        if caller.method != CallerMethod.UNIX:
            raise AccessError(codes.CREDSSP_NOT_SIGNED_IN, caller=caller.name, host=name, destination=destination)
        user = self._principal(settings, caller, destination)
        if not isinstance(credential, Password):
            raise AccessError(codes.PASSWORD_NEEDED, user=user, host=destination)
        return user, credential.text

    def _place(self, destination: str) -> SignInHost:
        known = self.peers.get(destination)
        if known is not None:
            return SignInHost(known.name, known.address, known.port)
        name, port = host_port(destination, PORT)
        return SignInHost(name, name, port)

    def _principal(self, settings: HostSettings, caller: Caller, destination: str) -> str:
        r"""Say who a user of this host is in the domain.

        Somebody who only has the name of a user of the domain is not that user: who is in /etc/passwd has to be named
        in the settings. Other users come from the domain, by SSSD or winbind (nsswitch.conf(5)), or from one that it
        trusts.
        DOMAIN\user does not say which in Kerberos' words: such a user has to be named, too.
        """
        if caller.method == CallerMethod.UNIX:
            named = settings.principals.get(caller.name)
            if named is not None:
                return named if "@" in named else f"{named}@{self.keys.account().realm}"
            if _is_user(caller.name) and not self._is_local(caller.name) and "\\" not in caller.name:
                name, _, domain = caller.name.partition("@")
                return f"{name}@{domain.upper() or self.keys.account().realm}"
        raise AccessError(codes.PRINCIPAL_MISSING, caller=caller.name, host=self.config.name, destination=destination)

    def _is_local(self, name: str) -> bool:
        with self.local_users.open(encoding="utf-8", errors="surrogateescape") as lines:
            return any(line.partition(":")[0] == name for line in lines)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
