"""Signs in at another host for a user, as the source: over TLS with a host whose certificate nobody has vouched for.

Kerberos does that: the tickets are bound to the certificate that was shown, and the answers prove that it is the
host's own. Nothing that the other host answers is heard before that.
"""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vmferry.config import Config
from vmferry.core import codes, message
from vmferry.core.ad.delegation import SERVICES as SERVICES
from vmferry.core.errors import AccessError, UnreachableError, VmferryError
from vmferry.core.message import Kind, Message
from vmferry.core.messages.api import PINNED
from vmferry.core.messages.signin import CredSspAnswer, CredSspMessage, Service, SignedIn, SignIn
from vmferry.core.policy.settings import Authentication
from vmferry.identity import certificates, kerberos
from vmferry.net.deadline import deadline
from vmferry.net.dial import dial

CONNECT, ANSWER = 5.0, 15.0  # seconds
LARGEST = 256 << 10  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is, and by which name the domain knows it."""

    name: str
    address: str
    port: int


def sign_in(
    config: Config, place: Place, certificate: str, credential: Any, user: str, services: Sequence[Service]
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
    with _reaching(place), _connect(place) as secure:
        shown = secure.getpeercert(binary_form=True) or b""
        bound = kerberos.binding(shown)
        begun = {
            service: kerberos.initiate(credential, SERVICES[service], place.name, bound, source=config.name, user=user)
            for service in services
        }
        request = _request(config, Authentication.KERBEROS, certificate, bound)
        tokens = {service: base64.b64encode(one.token).decode() for service, one in begun.items()}
        answer = _ask(SignedIn, secure, place, "/signin", request.model_copy(update={"tokens": tokens}), config)
    for service, one in begun.items():
        one.finish(base64.b64decode(answer.tokens.get(service, "")), place.name)
    return answer, ssl.DER_cert_to_PEM_cert(shown)


def sign_in_with_password(
    config: Config, place: Place, certificate: str, password: str, user: str
) -> tuple[SignedIn, str]:
    """Sign in at a host for a user by CredSSP; their password goes there.

    Arguments and returns as for `sign_in`.

    Raises:
        UnreachableError: host-unreachable, kdc-unreachable.
        AccessError: password-wrong, credssp-refused, or what the host answered.
        InternalError: credssp-library.
    """
    from vmferry.identity import credssp

    with _reaching(place), _connect(place) as secure:
        shown = secure.getpeercert(binary_form=True) or b""
        bound = kerberos.binding(shown)
        initiator = credssp.Initiator(user, password, place.name, bound, config.name)
        said = initiator.step()
        step = CredSspMessage(begin=_request(config, Authentication.CREDSSP, certificate, bound), token="")
        for _ in range(credssp.STEPS):
            step = step.model_copy(update={"token": base64.b64encode(said or b"").decode()})
            answer = _ask(CredSspAnswer, secure, place, "/signin/credssp", step, config)
            heard = base64.b64decode(answer.token)
            said = initiator.step(heard) if heard and not initiator.complete else said
            if answer.done is not None and initiator.complete:
                return answer.done, ssl.DER_cert_to_PEM_cert(shown)
            step = CredSspMessage(session=answer.session, token="")
    raise AccessError(codes.CREDSSP_REFUSED, user=user, host=place.name, source=config.name, why="it did not end")


def _request(config: Config, authentication: Authentication, certificate: str, bound: bytes) -> SignIn:
    """Say who this host is, which what comes with it vouches for."""
    here = config.set_address or ""
    return SignIn(
        authentication=authentication,
        name=config.name,
        reach=f"{f'[{here}]' if ':' in here else here}:{config.port}",
        certificate=certificate,
        proof=base64.b64encode(certificates.prove(config.state_folder / "host.key", bound)).decode(),
        tokens={},
    )


@contextmanager
def _reaching(place: Place) -> Iterator[None]:
    """Say what keeps a host from being reached."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = f"{place.address} port {place.port}"
        raise UnreachableError(codes.HOST_UNREACHABLE, host=place.name, address=where, why=why) from error


def _connect(place: Place) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Kerberos vouches for it
    plain = dial(place.address, place.port, CONNECT)
    try:
        # The server name asks for the host's own certificate, where it has one of a site's authority besides.
        secure = context.wrap_socket(plain, server_hostname=PINNED)
    except BaseException:
        plain.close()
        raise
    secure.settimeout(ANSWER)
    return secure


def _ask(kind: type[Kind], secure: ssl.SSLSocket, place: Place, path: str, request: Message, config: Config) -> Kind:
    connection = http.client.HTTPConnection(place.address, place.port)
    connection.sock = secure
    body = json.dumps(request.wire()).encode()
    with deadline(secure):
        connection.request("POST", f"/api/v1{path}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError("its answer is too long")
    answer = message.load(text)
    if response.status >= 400:
        raise VmferryError.from_problem(answer)
    return message.read(kind, answer, config.name)
