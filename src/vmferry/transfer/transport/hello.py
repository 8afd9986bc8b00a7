"""The hello: how two workers make sure of each other at the start of every carrier connection. Pure.

    source                                   destination
    Hello  versions, features, job, ...  ->
                                         <-  Answer  the version chosen, the features both have
                                         <-  Proof   of the job key, over both messages above
    Proof  of the job key                ->
                                         <-  Welcome

Each message is `VMFY`, u16 format (1), u32 length, JSON. Instead of any answer a Refusal may come. The same is said
whether TLS is below or not.
"""

import hashlib
import struct
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmferry.core import codes
from vmferry.core.errors import PreflightError, VmferryError
from vmferry.transfer.transport import seal
from vmferry.transfer.transport.frames import broken

VERSIONS = (1,)
FEATURES: tuple[str, ...] = (seal.FEATURE, seal.FINISHED)
CONNECTIONS = 16  # that one session may have in each direction

_MAGIC = b"VMFY"
_FORMAT = 1
_ENVELOPE = struct.Struct(">4sHI")
HEAD = _ENVELOPE.size
LONGEST = 4096


class _Message(BaseModel):
    # What a newer release adds is passed over; what it changes has another version.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Hello(_Message):
    """The dialling side's first message."""

    versions: list[int] = Field(min_length=1, max_length=64)
    features: list[str] = Field(max_length=64)
    job: str = Field(max_length=64)
    session: str = Field(pattern=r"^[0-9a-f]{32}$", description="which connections belong together")
    direction: Literal["forward", "back"] = Field(description="forward: frames go the way of this message")
    index: int = Field(ge=0, lt=CONNECTIONS)
    forward: int = Field(ge=1, le=CONNECTIONS, description="connections of that direction to begin with")
    back: int = Field(ge=1, le=CONNECTIONS)
    encrypted: bool
    epoch: int = Field(default=0, ge=0, le=1 << 31, description="how often the session was connected anew")
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")


class Answer(_Message):
    """The listening side's choice."""

    version: int
    features: list[str] = Field(max_length=64)
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")


class Proof(_Message):
    """That the sender has the job key."""

    proof: str = Field(pattern=r"^[0-9a-f]{64}$")


class Welcome(_Message):
    """The hello is over; frames follow."""

    welcome: Literal[True] = True


class Refusal(_Message):
    """Why there will be no session: an error as core.errors writes it down."""

    refused: dict[str, Any]


Side = Literal["source", "destination"]
Said = TypeVar("Said", Hello, Answer, Proof, Welcome)


def pack(message: _Message) -> bytes:
    """Write a message down."""
    # Without what is as it is by default, an older release gets what it always got.
    body = message.model_dump_json(exclude_defaults=not isinstance(message, Welcome)).encode()
    return _ENVELOPE.pack(_MAGIC, _FORMAT, len(body)) + body


def length(head: bytes) -> int:
    """Read the first HEAD bytes of a message; returns how many follow.

    Raises:
        InternalError: protocol; no message begins like this.
    """
    magic, form, size = _ENVELOPE.unpack(head)
    if magic != _MAGIC:
        raise broken("that is no vmferry, or one of the two sides has encryption off")
    if form != _FORMAT:
        raise broken(f"the hello has the unknown format {form}")
    if not 0 < size <= LONGEST:
        raise broken(f"a message of the hello has {size} bytes")
    return int(size)


def read(kind: type[Said], body: bytes) -> Said:
    """Read a message's body.

    Raises:
        VmferryError: what the peer refused with; or protocol: it is no such message.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        pass
    try:
        problem = Refusal.model_validate_json(body).refused
    except ValidationError:
        raise broken(f"the peer's {kind.__name__.lower()} cannot be read") from None
    raise VmferryError.from_problem(problem)


def refusal(error: VmferryError) -> bytes:
    """Write down why there will be no session."""
    raw = pack(Refusal(refused=error.problem()))
    return raw if len(raw) <= HEAD + LONGEST else b""


def choose(
    hello: Hello, nonce: str, peer: str, versions: Iterable[int] = VERSIONS, features: Iterable[str] = FEATURES
) -> Answer:
    """Choose the highest version and all features that both have.

    Raises:
        PreflightError: version-differs; there is no common version.
    """
    common = set(hello.versions) & set(versions)
    if not common:
        raise PreflightError(codes.VERSION_DIFFERS, source=peer, host="this host", what="the transfer protocol")
    return Answer(version=max(common), features=sorted(set(hello.features) & set(features)), nonce=nonce)


def check(hello: Hello, answer: Answer) -> None:
    """Make sure that an answer chooses among what was offered.

    Raises:
        InternalError: protocol; it does not.
    """
    if answer.version not in hello.versions or not set(answer.features) <= set(hello.features):
        raise broken("the peer chose what was not offered")


def require_sealed(said: Hello, features: Iterable[str], peer: str) -> None:
    """Refuse a session in which nothing would show that control messages are the peer's.

    Arguments:
        features: that both sides have.
        peer: what messages call the other host.

    Raises:
        PreflightError: release-older.
    """
    for needed in (seal.FEATURE, seal.FINISHED) if not said.encrypted else ():
        if needed not in features:
            raise PreflightError(codes.RELEASE_OLDER, host=peer, what=f"{needed}, where encryption is off")


def purpose(side: Side, hello: bytes, answer: bytes) -> str:
    """Return the purpose that a side's proof of the job key is made for: this very exchange, by this side."""
    transcript = hashlib.sha256(hello + answer).hexdigest()
    return f"hello {side} {transcript}"
