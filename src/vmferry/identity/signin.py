"""Signs in at another host for a user, as the source: over TLS with a host whose certificate nobody has vouched for.

Kerberos does that: the tickets are bound to the certificate that was shown, and the answers prove that it is the
host's own. Nothing that the other host answers is heard before that.
"""

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vmferry.config import Config
from vmferry.core import codes
from vmferry.core.api import PINNED
from vmferry.core.errors import InternalError, UnreachableError, VmferryError
from vmferry.core.settings import Authentication
from vmferry.core.signin import Service, SignedIn, SignIn
from vmferry.identity import certificates, kerberos

CONNECT, ANSWER = 5.0, 15.0  # seconds
LARGEST = 256 << 10  # bytes of an answer
SERVICES: dict[Service, str] = {"migration": kerberos.MIGRATION, "storage": kerberos.STORAGE}


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
    try:
        with _connect(place) as secure:
            shown = secure.getpeercert(binary_form=True) or b""
            bound = kerberos.binding(shown)
            begun = {
                service: kerberos.initiate(
                    credential, SERVICES[service], place.name, bound, source=config.name, user=user
                )
                for service in services
            }
            here = config.set_address or ""
            request = SignIn(
                authentication=Authentication.KERBEROS,
                name=config.name,
                reach=f"{f'[{here}]' if ':' in here else here}:{config.port}",
                certificate=certificate,
                proof=base64.b64encode(certificates.prove(config.state_folder / "host.key", bound)).decode(),
                tokens={service: base64.b64encode(one.token).decode() for service, one in begun.items()},
            )
            answer = _ask(secure, place, request)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = f"{place.address} port {place.port}"
        raise UnreachableError(codes.HOST_UNREACHABLE, host=place.name, address=where, why=why) from error
    for service, one in begun.items():
        one.finish(base64.b64decode(answer.tokens.get(service, "")), place.name)
    return answer, ssl.DER_cert_to_PEM_cert(shown)


def _connect(place: Place) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Kerberos vouches for it
    plain = socket.create_connection((place.address, place.port), CONNECT)
    try:
        # The server name asks for the host's own certificate, where it has one of a site's authority besides.
        secure = context.wrap_socket(plain, server_hostname=PINNED)
    except BaseException:
        plain.close()
        raise
    secure.settimeout(ANSWER)
    return secure


def _ask(secure: ssl.SSLSocket, place: Place, request: SignIn) -> SignedIn:
    connection = http.client.HTTPConnection(place.address, place.port)
    connection.sock = secure
    connection.request(
        "POST", "/api/v1/signin", request.model_dump_json().encode(), {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    text = response.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError("its answer is too long")
    answer = json.loads(text)
    if response.status >= 400:
        raise VmferryError.from_problem(answer if isinstance(answer, dict) else {})
    try:
        return SignedIn.model_validate(answer)
    except ValidationError as error:
        raise InternalError(codes.PROTOCOL, why=f"the answer to a sign-in: {error.errors()[0]['msg']}") from error
