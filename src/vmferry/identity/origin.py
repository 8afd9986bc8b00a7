"""Where a request comes from, as the listener knows it: nothing here is the caller's own word.

Each kind of caller is one class. It says which paths it can reach, how it gets a role, and how the audit log names it,
so that a further kind is a further class.
"""
# ruff: noqa: D102 (Origin documents the methods)

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Protocol

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.messages.offer import Caller
from vmferry.core.policy.settings import HostSettings
from vmferry.identity import access, limits, tokens
from vmferry.identity.access import Login, UnixUser
from vmferry.identity.kerberos import Accepted
from vmferry.identity.limits import IsCaller
from vmferry.store.peers import Peer


class Audience(Enum):
    """What a caller can reach: the paths for people, those for hosts, or those that are open to strangers."""

    PEOPLE = auto()
    HOSTS = auto()
    STRANGERS = auto()


class KnownHosts(Protocol):
    """The hosts that this one knows."""

    def by_fingerprint(self, fingerprint: str) -> Peer | None:
        """Return the paired host that has a certificate; None if there is none."""
        ...

    def admit(self, origin: "SiteHost", reach: str) -> Peer:
        """Return the host of the site that calls."""
        ...


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What decides on a person's role and limits.

    Arguments:
        config: this host's.
        settings: this host's, as an administrator made them.
        sids: returns the SID (with a leading @) of each group of the domain that the settings name.
    """

    config: Config
    settings: HostSettings
    sids: Callable[[], Mapping[str, str]]


class Origin(ABC):
    """A caller, as far as the connection or what came with the request shows who it is."""

    audience: ClassVar[Audience]
    method: ClassVar[str]
    """How the caller is known, for the audit log."""
    proved_by_request: ClassVar[bool] = False
    """Whether the request itself has shown who sends it, and not only the connection."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The remote address; `unix` for a process on this host."""

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The name in the audit log while nothing more is known; None for a stranger."""

    @property
    def share(self) -> str:
        """Whose connections and requests are counted together with these."""
        return type(self).__name__

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers that the response to this caller has in addition."""
        return ()

    @property
    def credential(self) -> Any:
        """The credential with which this host may act for the caller; None if there is none."""
        return None

    def stranger(self) -> "Stranger | None":
        """Return this caller if nothing is known of them; None if something is."""
        return None

    def login(self, policy: RolePolicy) -> Login:
        """Return who a person is and which role they have.

        Raises:
            AccessError: they have no role (NOT_ALLOWED), or this is no person (NOT_AUTHENTICATED).
        """
        raise AccessError(codes.NOT_AUTHENTICATED, host=policy.config.name)

    def is_caller(self, caller: Caller, policy: RolePolicy) -> IsCaller:
        """Return the test whether a name in the settings names this person.

        Arguments:
            caller: who they are, from `login`.

        Raises:
            AccessError: this is no person (NOT_AUTHENTICATED).
        """
        raise AccessError(codes.NOT_AUTHENTICATED, host=policy.config.name)

    def principal(self, caller: Caller, policy: RolePolicy) -> str | None:
        """Return as whom of the domain the settings let this person move VMs; None if they do not say."""
        return None

    def host(self, known: KnownHosts, reach: str) -> Peer | None:
        """Return which host this is; None if it is none that is known.

        Arguments:
            reach: where the host says that it is reached.
        """
        return None


@dataclass(frozen=True, slots=True)
class LocalUser(Origin):
    """A user of this host, who came by the unix socket."""

    audience = Audience.PEOPLE
    method = "unix"
    user: UnixUser

    @property
    def address(self) -> str:
        return "unix"

    @property
    def name(self) -> str:
        return access.user_name(self.user.uid)

    @property
    def share(self) -> str:
        return f"user {self.user.uid}"

    def login(self, policy: RolePolicy) -> Login:
        return access.login(policy.config, self.user, policy.settings)

    def is_caller(self, caller: Caller, policy: RolePolicy) -> IsCaller:
        return limits.of_unix(self.user, caller.name)

    def principal(self, caller: Caller, policy: RolePolicy) -> str | None:
        return policy.settings.principals.get(caller.name)


@dataclass(frozen=True, slots=True)
class CertifiedHost(Origin):
    """A host that showed one of the paired certificates in the TLS handshake.

    Arguments:
        fingerprint: SHA-256 of the certificate's DER form, hex.
    """

    audience = Audience.HOSTS
    method = "certificate"
    fingerprint: str
    address: str

    @property
    def name(self) -> str:
        return f"SHA-256 {self.fingerprint}"

    @property
    def share(self) -> str:
        return self.fingerprint

    def host(self, known: KnownHosts, reach: str) -> Peer | None:
        return known.by_fingerprint(self.fingerprint)


@dataclass(frozen=True, slots=True)
class SiteHost(Origin):
    """A host that showed a certificate of an authority that this host trusts.

    Arguments:
        certificate: DER; its chain and time are verified, its names and usages are not.
        trust: which trust it was verified by (identity/site.py: Trust.digest).
    """

    audience = Audience.HOSTS
    method = "certificate"
    certificate: bytes
    trust: str
    address: str

    @property
    def name(self) -> str:
        return f"SHA-256 {self.share}"

    @property
    def share(self) -> str:
        return hashlib.sha256(self.certificate).hexdigest()

    def host(self, known: KnownHosts, reach: str) -> Peer | None:
        return known.admit(self, reach)


@dataclass(frozen=True, slots=True)
class Stranger(Origin):
    """A client of the HTTPS port without a certificate.

    Arguments:
        binding: channel binding of the certificate that this host showed.
    """

    audience = Audience.STRANGERS
    method = "none"
    address: str
    binding: bytes = b""

    @property
    def name(self) -> None:
        return None

    def stranger(self) -> "Stranger":
        return self


@dataclass(frozen=True, slots=True)
class DomainUser(Origin):
    """A user of the domain, who showed a Kerberos ticket.

    Arguments:
        ticket: what it says.
    """

    audience = Audience.PEOPLE
    method = "kerberos"
    proved_by_request = True
    ticket: Accepted
    address: str

    @property
    def name(self) -> str:
        return self.ticket.principal

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        # Kerberos' answer, by which the client knows that this is the right host (RFC 4559, 5).
        return ((b"www-authenticate", b"Negotiate " + base64.b64encode(self.ticket.answer)),)

    @property
    def credential(self) -> Any:
        return self.ticket.credential

    def login(self, policy: RolePolicy) -> Login:
        return access.domain_login(
            policy.config, self.ticket.principal, self.ticket.logon, policy.settings, policy.sids()
        )

    def is_caller(self, caller: Caller, policy: RolePolicy) -> IsCaller:
        return limits.of_domain(self.ticket.principal, self.ticket.logon, policy.sids())


@dataclass(frozen=True, slots=True)
class TokenUser(Origin):
    """A person who showed one of this host's API tokens, which is right and has not ended (agent/http/gate.py).

    Arguments:
        token: its name.
        role: its role.
    """

    audience = Audience.PEOPLE
    method = "token"
    proved_by_request = True
    token: str
    role: str
    address: str

    @property
    def name(self) -> str:
        return f"token {self.token}"

    def login(self, policy: RolePolicy) -> Login:
        return tokens.login(self.token, self.role, policy.config.name)

    def is_caller(self, caller: Caller, policy: RolePolicy) -> IsCaller:
        return limits.of_token(caller.name)
