"""Brings a carrier connection up: TCP, TLS unless it is off, the hello (hello.py); each side in a few lines."""

import secrets
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, VmferryError
from vmferry.transfer import hello, tls
from vmferry.transfer.carrier import Carrier, Label
from vmferry.transfer.frames import broken
from vmferry.transfer.hello import Answer, Hello, Proof, Said, Welcome
from vmferry.transfer.tls import Credentials


@dataclass(frozen=True, slots=True)
class Greeted:
    """A connection whose hello is done, and what was agreed."""

    carrier: Carrier
    hello: Hello
    answer: Answer
    round_trip: float  # seconds


class _Timed:
    """A socket under a deadline for everything that is done with it, so that no peer can hold us up byte by byte."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self.sock = sock
        self._limit = time.monotonic() + seconds

    def rest(self) -> None:
        left = self._limit - time.monotonic()
        if left <= 0:
            raise TimeoutError("the hello took too long")
        self.sock.settimeout(left)

    def send(self, data: bytes) -> None:
        self.rest()
        self.sock.sendall(data)

    def message(self) -> bytes:
        """Read one message, with its head."""
        head = self._exactly(hello.HEAD)
        return head + self._exactly(hello.length(head))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            self.rest()
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the peer closed the connection during the hello")
            data += more
        return data


def dial(
    address: tuple[str, int], credentials: Credentials, context: ssl.SSLContext | None, said: Hello, seconds: float
) -> Greeted:
    """Connect one carrier, as the source.

    Arguments:
        address: host and port.
        credentials: what to show.
        context: from `tls.context`; None without encryption.
        said: the hello; its nonce is the caller's.
        seconds: for all of it.

    Raises:
        VmferryError: the peer refused, or showed another certificate or key.
        OSError: it cannot be reached.
    """
    sock = socket.create_connection(address, timeout=seconds)
    try:
        timed = _Timed(sock, seconds)
        if context is not None:
            timed.rest()
            sock = timed.sock = _wrap(sock, context, credentials, server=False)
        mine = hello.pack(said)
        timed.send(mine)
        theirs = timed.message()
        answer = _read(Answer, theirs)
        hello.check(said, answer)
        _check_proof(credentials, "destination", mine, theirs, timed.message())
        timed.send(_prove(credentials, "source", mine, theirs))
        asked_at = time.monotonic()
        _read(Welcome, timed.message())
        round_trip = time.monotonic() - asked_at
        return Greeted(Carrier(sock, _label(sock, said, dialled=True)), said, answer, round_trip)
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
) -> Greeted:
    """Bring one connection up that came in, as the destination. Closes it when it fails.

    Raises:
        VmferryError: the peer broke the protocol, or showed another certificate or key.
        OSError: it went away.
    """
    try:
        timed = _Timed(sock, seconds)
        if context is not None:
            timed.rest()
            sock = timed.sock = _wrap(sock, context, credentials, server=True)
        try:
            theirs = timed.message()
            said = _read(Hello, theirs)
            if said.job != credentials.job:
                raise AccessError(codes.JOB_KEY_WRONG, job=said.job)
            if said.encrypted is not credentials.encryption:
                raise broken("the two sides do not agree about encryption")
            answer = hello.choose(said, secrets.token_hex(32), credentials.peer)
            mine = hello.pack(answer)
            timed.send(mine + _prove(credentials, "destination", theirs, mine))
            _check_proof(credentials, "source", theirs, mine, timed.message())
            timed.send(hello.pack(Welcome()))
        except VmferryError as error:
            with suppress(OSError):
                timed.send(hello.refusal(error))
            raise
        return Greeted(Carrier(sock, _label(sock, said, dialled=False)), said, answer, 0.0)
    except BaseException:
        sock.close()
        raise


def _wrap(
    sock: socket.socket, context: ssl.SSLContext, credentials: Credentials, *, server: bool
) -> ssl.SSLSocket:
    try:
        made = context.wrap_socket(sock, server_side=server)
    except ssl.SSLCertVerificationError as error:
        raise tls.wrong(credentials) from error
    except ssl.SSLError as error:
        raise broken(f"TLS failed ({error.reason or error}); is encryption off on one of the two sides?") from error
    try:
        tls.check(made, credentials)
    except AccessError:
        made.close()
        raise
    return made


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
