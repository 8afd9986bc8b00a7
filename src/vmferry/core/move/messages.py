"""What the workers of a move say to each other, on the control stream of their session.

On the wire a message is a JSON object: `do` names it, the rest are its properties. The workers need not be of the same
release (core/message.py has the rules of all messages between hosts):

- A property that the reader does not know is passed over.
- A message that the reader does not know ends the session, since whoever sent it waits for what comes of it. One that
  need not be understood has `"optional": true`, and a reader that does not know it passes it over.
- A message that requires what the reader does not know, lacks a property, or has one of another type ends the session.

A session that ends so is one that broke: before the commit the move is given up, afterwards the verdict is asked for
over the daemons.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, overload

from pydantic import Field, StrictBool, StringConstraints

from vmferry.core import codes, message
from vmferry.core.errors import InternalError
from vmferry.core.job import Role
from vmferry.core.message import Exact, Line, Named, Values
from vmferry.core.text import printable

Part = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[A-Za-z0-9+/=]*$")]
"""A piece of a text in base64: what is shown to people is one printable line on its way here, and a text is not."""


class StreamKind(StrEnum):
    """What a stream of the session carries, from the source to the destination; RPC goes both ways."""

    RPC = "rpc"  # libvirt's calls and their answers
    MEMORY = "memory"  # QEMU's migration stream
    DISK = "disk"  # QEMU's NBD mirror of a disk
    FILE = "file"  # a file that nobody writes
    PROBE = "probe"  # bytes of a measurement, outside of a move


OPTIONAL = "optional"
_SHOWN = 100  # characters of a name that nobody knows


class WorkerMessage(Named):
    """A message of one worker to the other."""


# --- of the source --------------------------------------------------------------------------------------------------


class Go(WorkerMessage):
    """The VM is the destination's."""

    do = "go"
    suspended: StrictBool = Field(default=False, description="whether a person had suspended the VM, which stays so")


class Abort(WorkerMessage):
    """The move is given up."""

    do = "abort"
    why: Line = Field(default="", description="the reason")
    cancelled_by: Line = Field(default="", description="who cancelled it; empty if nobody did")


class Medium(WorkerMessage):
    """What a medium holds that both hosts have, for the destination to compare."""

    do = "medium"
    target: Exact = Field(description="the disk")
    digest: Exact = Field(description="keyed digest of its file")


class Define(WorkerMessage):
    """How the VM is defined by now, where that was changed while it was copied."""

    do = "define"
    xml: tuple[Part, ...] | None = Field(
        description="the definition in base64, in pieces; null if it has none any more"
    )
    autostart: StrictBool = Field(default=False, description="whether the VM starts with its host")


class Bye(WorkerMessage):
    """The source needs nothing more."""

    do = "bye"


# --- of the destination ---------------------------------------------------------------------------------------------


class FileReady(WorkerMessage):
    """A disk that the worker copies, or a medium that was compared, is there."""

    do = "file"
    target: Exact = Field(description="the disk")


class Finished(WorkerMessage):
    """What libvirt replied to Finish."""

    do = "finished"
    reply: Exact = Field(description="digest of the reply")


class Went(WorkerMessage):
    """The VM runs at the destination."""

    do = "went"


class Defined(WorkerMessage):
    """The VM is the destination's, runs there and is defined: the job has ended."""

    do = "defined"


class Stuck(WorkerMessage):
    """The VM ended at its switch, and the job with it."""

    do = "stuck"
    problem: Values = Field(description="the error")


class Failed(WorkerMessage):
    """The destination gives the move up."""

    do = "failed"
    problem: Values = Field(description="the error")


class Cancel(WorkerMessage):
    """Somebody at the destination wants the move cancelled."""

    do = "cancel"
    caller: Line = Field(description="who")


class Redefined(WorkerMessage):
    """The definition was taken over."""

    do = "redefined"


class NotRedefined(WorkerMessage):
    """The definition was not taken over."""

    do = "not-redefined"
    problem: Values = Field(description="the error")


# --------------------------------------------------------------------------------------------------------------------

FromSource = Go | Abort | Medium | Define | Bye
FromDestination = FileReady | Finished | Went | Defined | Stuck | Failed | Cancel | Redefined | NotRedefined

KINDS: dict[Role, dict[str, type[WorkerMessage]]] = {
    Role.SOURCE: {kind.do: kind for kind in get_args(FromSource)},
    Role.DESTINATION: {kind.do: kind for kind in get_args(FromDestination)},
}


def write(said: WorkerMessage) -> dict[str, Any]:
    """Return a message as it is sent."""
    return said.wire()


@overload
def read(said: dict[str, Any], sender: Literal[Role.SOURCE], host: str) -> FromSource | None: ...


@overload
def read(said: dict[str, Any], sender: Literal[Role.DESTINATION], host: str) -> FromDestination | None: ...


@overload
def read(said: dict[str, Any], sender: Role, host: str) -> FromSource | FromDestination | None: ...


def read(said: dict[str, Any], sender: Role, host: str) -> Any:
    """Read a message of the other worker.

    Arguments:
        said: the JSON object that came.
        sender: which end it came from; each has messages of its own.
        host: this host's name.

    Returns:
        None: it is one of a later release that need not be understood.

    Raises:
        PreflightError: release-older; it requires what this release does not know.
        InternalError: protocol; it is no message of that end.
    """
    name = said.get("do")
    kind = KINDS[sender].get(name) if isinstance(name, str) else None
    if kind is not None:
        return message.read(kind, said, host)
    if isinstance(name, str) and said.get(OPTIONAL) is True:
        return None
    raise InternalError(
        codes.PROTOCOL, why=f"no message of the {sender.value} is called {printable(str(name), _SHOWN)}"
    )
