"""Signs in at another host for a user, as the source: over TLS with a host whose certificate nobody has vouched for.

Kerberos does that: the tickets are bound to the certificate that was shown, and the answers prove that it is the
host's own. Nothing that the other host answers is heard before that.
"""

import base64
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vmferry.config import Config
from vmferry.core import codes, message
from vmferry.core.ad.delegation import SERVICES as SERVICES
from vmferry.core.errors import AccessError
from vmferry.core.hostport import bracketed
from vmferry.core.message import Kind, Message
from vmferry.core.messages.api import PINNED
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, Service, SignedIn, SignIn
from vmferry.core.policy.settings import Authentication
from vmferry.identity import certificates, kerberos
from vmferry.net import https, tls
from vmferry.net.https import HostConnection

LARGEST = 256 << 10  # bytes of an answer


@dataclass(frozen=True, slots=True)
class SignInHost:
    """Where a host is, and by which name the domain knows it."""

    name: str
    address: str
    port: int


def sign_in(
    config: Config, host: SignInHost, certificate: str, credential: Any, user: str, services: Sequence[Service]
) -> tuple[SignedIn, str]:
    """Sign in at a host for a user.

    Arguments:
        certificate: this host's, PEM.
        credential: with which this host acts for the user.
        user: NAME@REALM, for errors.
        services: of the host, for which tickets are got.

    Returns:
        What it answered, and its certificate (PEM).

    Raises:
        UnreachableError: host-unreachable, kdc-unreachable.
        AccessError: delegation-refused, ticket-..., or what the host answered.
        UsageError: service-unknown.
    """
    with _connect(host) as connection:
        shown = connection.certificate
        bound = kerberos.binding(shown)
        begun = {
            service: kerberos.initiate(credential, SERVICES[service], host.name, bound, source=config.name, user=user)
            for service in services
        }
        request = _request(config, Authentication.KERBEROS, certificate, bound)
        tokens = {service: base64.b64encode(one.token).decode() for service, one in begun.items()}
        answer = _ask(SignedIn, connection, "/signin", request.model_copy(update={"tokens": tokens}), config)
    for service, one in begun.items():
        one.finish(base64.b64decode(answer.tokens.get(service, "")), host.name)
    return answer, ssl.DER_cert_to_PEM_cert(shown)


def sign_in_with_password(
    config: Config, host: SignInHost, certificate: str, password: str, user: str
) -> tuple[SignedIn, str]:
    """Sign in at a host for a user by CredSSP; their password goes there.

    Arguments and returns as for `sign_in`.

    Raises:
        UnreachableError: host-unreachable, kdc-unreachable.
        AccessError: password-wrong, credssp-refused, or what the host answered.
        InternalError: credssp-library.
    """
    from vmferry.identity import credssp

    with _connect(host) as connection:
        shown = connection.certificate
        bound = kerberos.binding(shown)
        initiator = credssp.Initiator(user, password, host.name, bound, config.name)
        said = initiator.step()
        step = CredSspMessage(begin=_request(config, Authentication.CREDSSP, certificate, bound), token="")
        for _ in range(credssp.STEPS):
            step = step.model_copy(update={"token": base64.b64encode(said or b"").decode()})
            answer = _ask(CredSspAnswer, connection, "/signin/credssp", step, config)
            heard = base64.b64decode(answer.token)
            said = initiator.step(heard) if heard and not initiator.complete else said
            if answer.done is not None and initiator.complete:
                return answer.done, ssl.DER_cert_to_PEM_cert(shown)
            step = CredSspMessage(session=answer.session, token="")
    raise AccessError(codes.CREDSSP_REFUSED, user=user, host=host.name, source=config.name, why="it did not end")


def _request(config: Config, authentication: Authentication, certificate: str, bound: bytes) -> SignIn:
    """Say who this host is, which what comes with it vouches for."""
    return SignIn(
        authentication=authentication,
        name=config.name,
        reach=f"{bracketed(config.set_address or '')}:{config.port}",
        certificate=certificate,
        proof=base64.b64encode(certificates.prove(config.state_folder / "host.key", bound)).decode(),
        tokens={},
    )


@contextmanager
def _connect(host: SignInHost) -> Iterator[HostConnection]:
    """Connect to a host whose certificate Kerberos vouches for, and say what keeps it from being reached."""
    try:
        # The server name asks for the host's own certificate, where it has one of a site's authority besides.
        with HostConnection(host.address, host.port, tls.client(), PINNED, largest=LARGEST) as connection:
            yield connection
    except https.FAILURES as error:
        raise https.unreachable(host.name, host.address, host.port, error) from error


def _ask(kind: type[Kind], connection: HostConnection, path: str, request: Message, config: Config) -> Kind:
    return message.read(kind, connection.request("POST", path, request.wire()), config.name)
