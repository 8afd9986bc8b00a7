"""Real migrations' RPC (captures/*.json), taken apart, put together again, and played against a guard."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from vmferry.core import codes
from vmferry.core.errors import AccessError
from vmferry.core.libvirt import domainxml
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.guard import Authorised, Guard
from vmferry.transfer.rpc.protocol import MessageType, Procedure, RpcMessage
from vmferry.transfer.rpc.xdr import COOKIE_MAX, Parameter, Reader, Writer

_FOLDER = Path(__file__).parent / "captures"
MOVES = sorted(path.stem for path in _FOLDER.glob("*.json"))
# What the source's libvirt keeps to itself: VIR_MIGRATE_ABORT_ON_ERROR and VIR_MIGRATE_AUTO_CONVERGE.
_SOURCE_ONLY = 4096 | 8192


@dataclass(frozen=True)
class Capture:
    """One migration as it was asked for, and all that crossed: (">" there or "<" back, message)."""

    authorised: Authorised
    flags: int
    live_xml: str
    dest_xml: str
    persistent_xml: str
    succeeded: bool
    messages: tuple[tuple[str, RpcMessage], ...]

    def call(self, procedure: Procedure) -> RpcMessage:
        """Give the call of a procedure."""
        return next(
            message
            for way, message in self.messages
            if way == ">" and message.program == protocol.REMOTE_PROGRAM and message.procedure == procedure
        )


@cache
def load(move: str) -> Capture:
    raw = json.loads((_FOLDER / f"{move}.json").read_text())
    parameters = raw["parameters"]
    return Capture(
        authorised=Authorised(
            host="kvm2",
            vm=domainxml.name(raw["live_xml"]),
            uuid=domainxml.uuid(raw["live_xml"]),
            live_xml=raw["dest_xml"],
            flags=raw["flags"] & ~_SOURCE_ONLY,
            memory_uri=parameters["migrate_uri"],
            disks_uri=parameters.get("disks_uri", "unix:///unused"),
            migrate_disks=tuple(parameters.get("migrate_disks", ())),
            channels=parameters.get("parallel.connections", 0),
            bandwidth=parameters.get("bandwidth", 0),
        ),
        flags=raw["flags"],
        live_xml=raw["live_xml"],
        dest_xml=raw["dest_xml"],
        persistent_xml=raw["persistent_xml"],
        succeeded=raw["error"] is None,
        messages=tuple((way, protocol.read(base64.b64decode(text))) for way, text in raw["messages"]),
    )


@dataclass(frozen=True)
class Arguments:
    """What Prepare and Finish carry; `cancelled` is None for Prepare."""

    parameters: tuple[Parameter, ...]
    cookie: bytes
    flags: int
    cancelled: int | None

    def value(self, name: str) -> str | int | float:
        return next(parameter.value for parameter in self.parameters if parameter.name == name)

    def replacing(self, name: str, value: str | int) -> "Arguments":
        """Give the same with every parameter of that name set to `value`."""
        return replace(
            self,
            parameters=tuple(
                replace(parameter, value=value) if parameter.name == name else parameter
                for parameter in self.parameters
            ),
        )


def unpack(message: RpcMessage) -> Arguments:
    reader = Reader(message.payload)
    parameters, cookie, flags = tuple(reader.parameters()), reader.opaque(COOKIE_MAX), reader.u32()
    cancelled = reader.i32() if message.procedure == Procedure.FINISH else None
    reader.end()
    return Arguments(parameters, cookie, flags, cancelled)


def pack(message: RpcMessage, arguments: Arguments) -> RpcMessage:
    """Give the call with other arguments."""
    writer = Writer().parameters(list(arguments.parameters)).opaque(arguments.cookie).u32(arguments.flags)
    if arguments.cancelled is not None:
        writer.i32(arguments.cancelled)
    return protocol.read(
        protocol.build(message.program, message.procedure, MessageType.CALL, message.serial, bytes(writer.data))
    )


SUCCEEDED = [move for move in MOVES if load(move).succeeded]


class Libvirtd:
    """What libvirtd gets to see behind a guard, and its answers as they were captured."""

    def __init__(self, capture: Capture) -> None:
        self.guard = Guard(capture.authorised)
        self.got: list[RpcMessage] = []
        self._replies = {
            message.procedure: message
            for way, message in capture.messages
            if way == "<" and message.program == protocol.REMOTE_PROGRAM
        }

    def send(self, *messages: RpcMessage) -> None:
        for message in messages:
            if self.guard.check_call(message) is None:
                self.got.append(message)
                self._reply(message)

    def _reply(self, call: RpcMessage) -> None:
        reply = self._replies[call.procedure]
        raw = protocol.build(
            reply.program, reply.procedure, MessageType.REPLY, call.serial, reply.payload, reply.status
        )
        assert self.guard.see_reply(protocol.read(raw)) is None


def calls(capture: Capture) -> list[RpcMessage]:
    return [m for way, m in capture.messages if way == ">" and m.program == protocol.REMOTE_PROGRAM]


def refused(capture: Capture, messages: Iterable[RpcMessage], why: str | None = None) -> None:
    """Check that the last message is refused, for that reason, and that nothing passes after it."""
    *before, last = messages
    libvirtd = Libvirtd(capture)
    libvirtd.send(*before)
    with pytest.raises(AccessError, match=why) as caught:
        libvirtd.send(last)
    assert caught.value.code is codes.RPC_REFUSED
    assert libvirtd.got == before
    for message in calls(capture):
        with pytest.raises(AccessError):
            libvirtd.send(message)


def until(capture: Capture, procedure: Procedure, instead: RpcMessage) -> list[RpcMessage]:
    """Give a capture's calls up to a procedure, and another call in its place."""
    found: list[RpcMessage] = []
    for message in calls(capture):
        if message.procedure == procedure:
            return [*found, instead]
        found.append(message)
    raise AssertionError("the capture has no such call")
