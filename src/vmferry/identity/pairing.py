"""How two hosts come to know each other: the token of one, and the call by which the other redeems it."""

import base64
import hashlib
import secrets
import ssl
import struct
from dataclasses import dataclass

from vmferry.core import codes, message
from vmferry.core.errors import AccessError, UsageError
from vmferry.core.hostport import host_port
from vmferry.core.messages.api import PINNED, PairingAnswer, PairingRequest
from vmferry.net import https, tls
from vmferry.net.https import HostConnection

PREFIX = "vmf1-"
_SECRET = 16  # bytes
_CHECK = 4
_HEAD = struct.Struct(f">H32s{_SECRET}s")
_LARGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Token:
    """What one host's administrator gives the other's: where the host is, how it is known, and a secret.

    Arguments:
        fingerprint: SHA-256 of the host's certificate, hex.
    """

    address: str
    port: int
    fingerprint: str
    secret: bytes

    @classmethod
    def new(cls, address: str, port: int, fingerprint: str) -> "Token":
        """Make one with a new secret."""
        return cls(address, port, fingerprint, secrets.token_bytes(_SECRET))

    def encode(self) -> str:
        """Give it as one word, with a check sum: half a token is told from a wrong one."""
        body = _HEAD.pack(self.port, bytes.fromhex(self.fingerprint), self.secret) + self.address.encode()
        word = base64.urlsafe_b64encode(body + _check(body)).rstrip(b"=")
        return PREFIX + word.decode()

    @classmethod
    def decode(cls, text: str) -> "Token":
        """Read one.

        Raises:
            UsageError: it is not whole (BAD_REQUEST).
        """
        word = text.strip().removeprefix(PREFIX)
        try:
            body = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
            body, check = body[:-_CHECK], body[-_CHECK:]
            if check != _check(body):
                raise ValueError("check sum")
            port, fingerprint, secret = _HEAD.unpack(body[: _HEAD.size])
            address = body[_HEAD.size :].decode()
            if not port or not address.isprintable() or not address.strip():
                raise ValueError("address")
            return cls(address, port, fingerprint.hex(), secret)
        except (ValueError, struct.error) as error:
            detail = "the pairing token is damaged or not complete"
            raise UsageError(codes.BAD_REQUEST, detail=detail) from error

    def at(self, place: str) -> "Token":
        """Give the same token for another address: HOST, HOST:PORT or [HOST]:PORT.

        Raises:
            UsageError: that is no address (BAD_REQUEST).
        """
        host, port = host_port(place, self.port)
        return Token(host, port, self.fingerprint, self.secret)


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK]


def redeem(token: Token, request: PairingRequest) -> tuple[PairingAnswer, str]:
    """Pair with the host that made a token; it learns the secret only once its certificate is the right one.

    Returns:
        The answer, and the host's certificate as PEM.

    Raises:
        UnreachableError: no answer (HOST_UNREACHABLE).
        AccessError: somebody else answers there (TOKEN_CERTIFICATE).
        VmferryError: what the host answered.
    """
    try:
        # Nothing is verified but the fingerprint, before anything is sent.
        with HostConnection(token.address, token.port, tls.client(), PINNED, largest=_LARGEST) as connection:
            der = connection.certificate
            if hashlib.sha256(der).hexdigest() != token.fingerprint:
                raise AccessError(codes.TOKEN_CERTIFICATE, address=f"{token.address} port {token.port}")
            answer = connection.request("POST", "/pairing", request.wire())
        return message.read(PairingAnswer, answer, request.name), ssl.DER_cert_to_PEM_cert(der)
    except https.FAILURES as error:
        raise https.unreachable(token.address, token.address, token.port, error) from error
