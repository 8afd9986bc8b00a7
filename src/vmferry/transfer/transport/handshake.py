"""Brings a carrier connection up: what its transport needs, then the hello (hello.py); each side in a few lines."""

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vmferry.core import codes, jobkey
from vmferry.core.errors import AccessError, VmferryError
from vmferry.transfer.transport import frames, hello, seal
from vmferry.transfer.transport.base import TransportConnection
from vmferry.transfer.transport.carrier import Carrier, Label
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


def dial(connection: TransportConnection, credentials: Credentials, said: Hello, seconds: float) -> Established:
    """Do the source's part of bringing up one connection. Closes it if that fails.

    Arguments:
        connection: that was just made.
        credentials: what to show.
        said: the hello; its nonce is the caller's.
        seconds: for all of it.

    Raises:
        VmferryError: the peer refused, or showed another certificate or key.
        OSError: it went away.
    """
    try:
        connection.secure(seconds)
        mine = hello.pack(said)
        connection.send(mine)
        theirs = _message(connection)
        answer = _read(Answer, theirs)
        hello.check(said, answer)
        hello.require_sealed(said, answer.features, credentials.peer)
        _check_proof(credentials, "destination", mine, theirs, _message(connection))
        proof = _prove(credentials, "source", mine, theirs)
        asked_at = time.monotonic()  # before it is sent: this thread may be held up right after
        connection.send(proof)
        _read(Welcome, _message(connection))
        round_trip = time.monotonic() - asked_at
        control_key = seal.key(credentials, said.session)
        carrier = Carrier(connection, _label(connection, said, dialed=True), frames.rules(answer.features))
        carrier.epoch = said.epoch
        return Established(carrier, said, answer, round_trip, control_key)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError) and (meant := connection.explain(error)) is not error:
            raise meant from error
        raise


def accept(
    connection: TransportConnection, credentials: Credentials, seconds: float, features: Sequence[str]
) -> Established:
    """Do the destination's part of bringing up one connection. Closes it if that fails.

    Arguments:
        connection: that just came in.
        credentials: what to show and to want.
        seconds: for all of it.
        features: that this end has.

    Raises:
        VmferryError: the peer broke the protocol, or showed another certificate or key.
        OSError: it went away.
    """
    try:
        connection.secure(seconds)
        said, answer = welcome(connection, credentials, features)
        control_key = seal.key(credentials, said.session)
        carrier = Carrier(connection, _label(connection, said, dialed=False), frames.rules(answer.features))
        carrier.epoch = said.epoch
        return Established(carrier, said, answer, 0.0, control_key)
    except BaseException:
        connection.close()
        raise


def welcome(
    connection: TransportConnection, credentials: Credentials, features: Sequence[str] = hello.FEATURES
) -> tuple[Hello, Answer]:
    """Do the destination's part of the hello; tells the peer why when it refuses.

    Raises:
        VmferryError: the peer broke the protocol, or does not have the job key.
        OSError: it went away.
    """
    try:
        theirs = _message(connection)
        said = _read(Hello, theirs)
        if said.job != credentials.job:
            raise AccessError(codes.JOB_KEY_WRONG, job=said.job)
        if said.encrypted is not credentials.encryption:
            raise broken("the two sides do not agree about encryption")
        answer = hello.choose(said, secrets.token_hex(32), credentials.peer, features=features)
        hello.require_sealed(said, answer.features, credentials.peer)
        mine = hello.pack(answer)
        connection.send(mine + _prove(credentials, "destination", theirs, mine))
        _check_proof(credentials, "source", theirs, mine, _message(connection))
        connection.send(hello.pack(Welcome()))
    except VmferryError as error:
        with suppress(OSError):
            connection.send(hello.refusal(error))
        raise
    return said, answer


def _message(connection: TransportConnection) -> bytes:
    """Read one message of the hello, with its head."""
    head = memoryview(bytearray(hello.HEAD))
    if not connection.fill(head):
        raise ConnectionResetError("the peer closed the connection during the hello")
    body = memoryview(bytearray(hello.length(bytes(head))))
    if not connection.fill(body):
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


def _label(connection: TransportConnection, said: Hello, *, dialed: bool) -> Label:
    ends = (connection.local, connection.peer) if dialed else (connection.peer, connection.local)
    return Label(
        source=ends[0][0],
        destination=ends[1][0],
        port=ends[1][1],
        forward=said.direction == "forward",
        encrypted=said.encrypted,
    )
