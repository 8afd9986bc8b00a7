"""Brings a carrier connection up: TCP, TLS unless it is off, the hello (hello.py); each side in a few lines."""

import secrets
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, VmferryError
from vmferry.core.policy.networks import Route
from vmferry.net import sockets
from vmferry.transfer.transport import hello, seal, tls
from vmferry.transfer.transport.carrier import Carrier, Label
from vmferry.transfer.transport.channel import Channel, SecureChannel
from vmferry.transfer.transport.frames import broken
from vmferry.transfer.transport.hello import Answer, Hello, Proof, Said, Welcome
from vmferry.transfer.transport.tls import Credentials


@dataclass(frozen=True, slots=True)
class Established:
    """A connection whose hello is done, and what was agreed."""

    carrier: Carrier
    hello: Hello
    answer: Answer
    round_trip: float  # seconds
    control_key: bytes  # of the session's control messages


def dial(
    route: Route, credentials: Credentials, context: ssl.SSLContext | None, said: Hello, seconds: float
) -> Established:
    """Connect one carrier, as the source.

    Arguments:
        route: where to, and from where.
        credentials: what to show.
        context: from `tls.context`; None without encryption.
        said: the hello; its nonce is the caller's.
        seconds: for all of it.

    Raises:
        VmferryError: the peer refused, or showed another certificate or key.
        OSError: it cannot be reached.
    """
    sock = sockets.connect(route, seconds)
    try:
        channel = _secure(sock, credentials, context, seconds, server=False)
        mine = hello.pack(said)
        channel.send(mine)
        theirs = _message(channel)
        answer = _read(Answer, theirs)
        hello.check(said, answer)
        hello.require_sealed(said, answer.features, credentials.peer)
        _check_proof(credentials, "destination", mine, theirs, _message(channel))
        channel.send(_prove(credentials, "source", mine, theirs))
        asked_at = time.monotonic()
        _read(Welcome, _message(channel))
        round_trip = time.monotonic() - asked_at
        control_key = seal.key(credentials, said.session)
        return Established(Carrier(channel, _label(sock, said, dialled=True)), said, answer, round_trip, control_key)
    except BaseException as error:
        sock.close()
        if isinstance(error, ssl.SSLError):
            # TLS 1.3 ends for the client before the server has looked at its certificate: the refusal comes here.
            raise tls.wrong(credentials) from error
        if isinstance(error, ConnectionResetError) and context is None:
            raise broken("the peer hung up during the hello; is encryption off on this side only?") from error
        raise


def accept(
    sock: socket.socket, credentials: Credentials, context: ssl.SSLContext | None, seconds: float
) -> Established:
    """Bring one connection up that came in, as the destination. Closes it when it fails.

    Raises:
        VmferryError: the peer broke the protocol, or showed another certificate or key.
        OSError: it went away.
    """
    try:
        channel = _secure(sock, credentials, context, seconds, server=True)
        said, answer = welcome(channel, credentials)
        control_key = seal.key(credentials, said.session)
        return Established(Carrier(channel, _label(sock, said, dialled=False)), said, answer, 0.0, control_key)
    except BaseException:
        sock.close()
        raise


def welcome(channel: Channel, credentials: Credentials) -> tuple[Hello, Answer]:
    """Do the destination's part of the hello; tells the peer why when it refuses.

    Raises:
        VmferryError: the peer broke the protocol, or does not have the job key.
        OSError: it went away.
    """
    try:
        theirs = _message(channel)
        said = _read(Hello, theirs)
        if said.job != credentials.job:
            raise AccessError(codes.JOB_KEY_WRONG, job=said.job)
        if said.encrypted is not credentials.encryption:
            raise broken("the two sides do not agree about encryption")
        answer = hello.choose(said, secrets.token_hex(32), credentials.peer)
        hello.require_sealed(said, answer.features, credentials.peer)
        mine = hello.pack(answer)
        channel.send(mine + _prove(credentials, "destination", theirs, mine))
        _check_proof(credentials, "source", theirs, mine, _message(channel))
        channel.send(hello.pack(Welcome()))
    except VmferryError as error:
        with suppress(OSError):
            channel.send(hello.refusal(error))
        raise
    return said, answer


def _secure(
    sock: socket.socket, credentials: Credentials, context: ssl.SSLContext | None, seconds: float, *, server: bool
) -> Channel:
    """Put TLS on a connection, unless it is off."""
    if context is None:
        channel = Channel(sock)
        channel.set_deadline(seconds)
        return channel
    secure = SecureChannel(sock, context, server=server)
    secure.set_deadline(seconds)
    try:
        shown = secure.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise tls.wrong(credentials) from error
    except ssl.SSLError as error:
        raise broken(f"TLS failed ({error.reason or error}); is encryption off on one side only?") from error
    tls.check(shown, credentials)
    return secure


def _message(channel: Channel) -> bytes:
    """Read one message of the hello, with its head."""
    head = memoryview(bytearray(hello.HEAD))
    if not channel.fill(head):
        raise ConnectionResetError("the peer closed the connection during the hello")
    body = memoryview(bytearray(hello.length(bytes(head))))
    if not channel.fill(body):
        raise ConnectionResetError("the peer closed the connection during the hello")
    return bytes(head) + bytes(body)


def _read(kind: type[Said], raw: bytes) -> Said:
    return hello.read(kind, raw[hello.HEAD :])


def _prove(credentials: Credentials, side: hello.Side, first: bytes, second: bytes) -> bytes:
    return hello.pack(Proof(proof=jobkey.proof(*_parts(credentials), hello.purpose(side, first, second))))


def _check_proof(credentials: Credentials, side: hello.Side, first: bytes, second: bytes, raw: bytes) -> None:
    shown = _read(Proof, raw).proof
    if not jobkey.check(*_parts(credentials), hello.purpose(side, first, second), shown):
        raise AccessError(codes.JOB_KEY_WRONG, job=credentials.job)


def _parts(credentials: Credentials) -> tuple[str, str, str, str]:
    return credentials.key, credentials.job, credentials.source_fingerprint, credentials.destination_fingerprint


def _label(sock: socket.socket, said: Hello, *, dialled: bool) -> Label:
    here, there = sock.getsockname(), sock.getpeername()
    source, destination = (here, there) if dialled else (there, here)
    return Label(
        source=_plain(source[0]),
        destination=_plain(destination[0]),
        port=destination[1],
        forward=said.direction == "forward",
        encrypted=said.encrypted,
    )


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")
