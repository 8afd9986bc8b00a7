"""Lets a granted peer-to-peer migration, and nothing else, through to libvirtd.

Access to libvirtd's socket is equivalent to root. So of all its procedures only those of a migration pass, in their
order and one at a time. The two that carry parameters are decoded and must contain exactly what was granted. The
messages were captured from libvirt (tests/transfer/captures).
"""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError, VmferryError
from vmferry.core.libvirt import domainxml, xmldiff
from vmferry.core.libvirt.flags import Flag
from vmferry.core.request import Request
from vmferry.transfer.rpc import cookie, protocol
from vmferry.transfer.rpc.protocol import MessageStatus, MessageType, Procedure, RpcMessage
from vmferry.transfer.rpc.xdr import COOKIE_MAX, Parameter, ParameterType, Reader, XdrError

# A migration makes some fifteen calls; without a bound the harmless ones could be repeated for ever.
_CALLS_MAX = 64


@dataclass(frozen=True, slots=True)
class Authorised:
    """What one migration into this host may request of its libvirt.

    Arguments:
        host: this host's name, for the error.
        flags: exactly those of the requested flags that libvirt passes on.
        bandwidth: MiB per second; 0: no such parameter.
        channels: parallel memory streams; 0: no such parameter.
    """

    host: str
    vm: str
    uuid: str
    live_xml: str
    flags: int
    memory_uri: str
    disks_uri: str
    migrate_disks: tuple[str, ...]
    channels: int
    bandwidth: int
    open_uri: str = "qemu:///system"

    @classmethod
    def of(cls, request: Request, host: str) -> "Authorised":
        """Derive it from the request that both hosts build from the grant."""
        return cls(
            host=host,
            vm=request.vm,
            uuid=request.uuid,
            live_xml=request.live_xml,
            # libvirt keeps these to itself: they are about the source alone (qemu_migration.c, destflags).
            flags=int(request.flags & ~(Flag.ABORT_ON_ERROR | Flag.AUTO_CONVERGE)),
            memory_uri=f"unix://{request.sockets.memory}",
            disks_uri=f"unix://{request.sockets.disk}",
            migrate_disks=request.mirrored,
            channels=request.channels,
            bandwidth=request.bandwidth,
        )

    def parameters(self) -> list[Parameter]:
        """Return the parameters of Prepare, except the XML."""
        found = [Parameter("migrate_uri", ParameterType.STRING, self.memory_uri)]
        if self.bandwidth:
            found.append(Parameter("bandwidth", ParameterType.ULLONG, self.bandwidth))
        if self.migrate_disks:
            found += [Parameter("migrate_disks", ParameterType.STRING, disk) for disk in self.migrate_disks]
            found.append(Parameter("disks_uri", ParameterType.STRING, self.disks_uri))
        if self.channels:
            found.append(Parameter("parallel.connections", ParameterType.INT, self.channels))
        return found

    def harmless(self) -> list[Parameter]:
        """Return the parameters that Prepare may have besides: they concern how the source reads its disks.

        Without this one, libvirt from 10.9 on mirrors a raw image in full (measured: 11.3 with QEMU 10.0).
        """
        return [Parameter("migrate_disks_detect_zeroes", ParameterType.STRING, disk) for disk in self.migrate_disks]


class _Step(IntEnum):
    """How far the calls of a migration have come."""

    NEW = 0
    AUTHENTICATED = 1
    OPENED = 2
    PREPARED = 3
    FINISHED = 4
    CLOSED = 5


class Guard:
    """Judges every message between the source's libvirt and this host's, in both directions.

    Arguments:
        authorised: what was granted.

    `prepare_called` is set once Prepare was let through, and `prepared` once its reply said that a copy of the VM is
    here: from then on the domain of that name and UUID is this job's. `finish_called` is set once Finish was let
    through for a complete copy (libvirt also calls it for one that was cancelled); `finish_succeeded` once its reply
    said that the VM is here.
    """

    def __init__(self, authorised: Authorised) -> None:
        self._granted = authorised
        self._cookies = cookie.Expected(
            vm=authorised.vm,
            uuid=authorised.uuid,
            targets=frozenset(disk.target for disk in domainxml.disks(authorised.live_xml)),
            mirrored=bool(authorised.migrate_disks),
            topology=domainxml.topology(authorised.live_xml),
        )
        self._step = _Step.NEW
        self._waiting: RpcMessage | None = None  # the call that has no reply yet
        self._count = 0
        self._watching = False
        self._serial = -1
        self.prepare_called = False
        self.prepared = False
        self.finish_called = False
        self.finish_succeeded = False

    def check_call(self, message: RpcMessage) -> bytes | None:
        """Judge a message from the source.

        Returns:
            None: pass it on. Otherwise the message to send back to the source instead.

        Raises:
            AccessError: rpc-refused. Nothing of the message, and nothing after it, may reach libvirtd.
        """
        if message.program == protocol.KEEPALIVE_PROGRAM:
            if message.raw != protocol.PING:
                self._refuse(f"a strange keepalive ({message})")
            return protocol.PONG
        if (message.program, message.version, message.type, message.status) != (
            protocol.REMOTE_PROGRAM,
            protocol.VERSION,
            MessageType.CALL,
            MessageStatus.OK,
        ):
            self._refuse(f"not a call ({message})")
        if self._waiting is not None:
            self._refuse("a call before the last one was answered")
        if message.serial <= self._serial:
            self._refuse(f"a call with an old number ({message})")
        self._count += 1
        if self._count > _CALLS_MAX:
            self._refuse("more calls than any migration makes")
        try:
            self._judge(message)
        except XdrError as error:
            self._refuse(f"procedure {message.procedure} cannot be read: {error}")
        self._serial = message.serial
        self._waiting = message
        self.prepare_called |= message.procedure == Procedure.PREPARE
        return None

    def see_reply(self, message: RpcMessage) -> bytes | None:
        """Judge a message from this host's libvirtd.

        Returns:
            None: pass it on. Otherwise the message to send back to libvirtd instead, which may be empty.
        """
        if message.raw == protocol.PING:
            return protocol.PONG
        if self._waiting is None or not _answers(message, self._waiting):
            return b""  # an event that nobody in a migration asked for
        self._waiting = None
        if message.status == MessageStatus.OK:
            if message.procedure == Procedure.PREPARE:
                self._step = _Step.PREPARED
                self.prepared = True
            elif message.procedure == Procedure.FINISH:
                self.finish_succeeded = self.finish_called
        return None

    def _judge(self, message: RpcMessage) -> None:
        reader = Reader(message.payload)
        match message.procedure:
            case Procedure.AUTH_LIST:
                self._expect(message, _Step.NEW)
                self._step = _Step.AUTHENTICATED
            case Procedure.SUPPORTS_FEATURE:
                self._expect(message, _Step.AUTHENTICATED, _Step.OPENED)
                reader.i32()
            case Procedure.OPEN:
                self._expect(message, _Step.AUTHENTICATED)
                self._same("the connection's URI", self._granted.open_uri, reader.optional_string())
                self._same("the connection's flags", 0, reader.u32())
                self._step = _Step.OPENED
            case Procedure.REGISTER_CLOSE_CALLBACK:
                self._expect(message, _Step.OPENED)
                self._same("the close callback", False, self._watching)
                self._watching = True
            case Procedure.UNREGISTER_CLOSE_CALLBACK:
                self._expect(message, _Step.OPENED, _Step.PREPARED, _Step.FINISHED)
                self._same("the close callback", True, self._watching)
                self._watching = False
            case Procedure.PREPARE:
                self._expect(message, _Step.OPENED)
                self._judge_prepare(reader)
            case Procedure.FINISH:
                self._expect(message, _Step.PREPARED)
                self.finish_called = self._judge_finish(reader)
                self._step = _Step.FINISHED
            case Procedure.CLOSE:
                self._expect(message, _Step.OPENED, _Step.PREPARED, _Step.FINISHED)
                self._step = _Step.CLOSED
            case _:
                self._refuse(f"procedure {message.procedure} is no part of a migration")
        reader.end()

    def _judge_prepare(self, reader: Reader) -> None:
        parameters, data, flags = reader.parameters(), reader.opaque(COOKIE_MAX), reader.u32()
        self._judge_flags(flags)
        self._judge_parameters(parameters, self._granted.parameters())
        self._judge_cookie(data, cookie.Call.PREPARE)

    def _judge_finish(self, reader: Reader) -> bool:
        """Judge Finish; return whether it is for a complete copy, not a cancelled one."""
        parameters, data = reader.parameters(), reader.opaque(COOKIE_MAX)
        self._judge_flags(reader.u32())
        cancelled = reader.i32()
        if cancelled not in (0, 1):
            self._refuse("finish is neither cancelled nor not")
        name = Parameter("destination_name", ParameterType.STRING, self._granted.vm)
        self._judge_parameters(parameters, [*self._granted.parameters(), name])
        self._judge_cookie(data, cookie.Call.CANCELLED if cancelled else cookie.Call.FINISH)
        reader.end()
        return not cancelled

    def _judge_flags(self, flags: int) -> None:
        if flags != self._granted.flags:
            self._refuse(f"the flags are {flags:#x} instead of {self._granted.flags:#x}")

    def _judge_parameters(self, parameters: list[Parameter], granted: list[Parameter]) -> None:
        """Require the granted parameters, each as often as granted, and one XML.

        If one were left out, libvirt would choose: a TCP port of its own, all disks.
        """
        xml = [parameter for parameter in parameters if parameter.name == "destination_xml"]
        self._same("the number of XML documents", 1, len(xml))
        self._judge_xml(xml[0])
        # Order matters among the disks only, but libvirt keeps it for all.
        rest = Counter(parameter for parameter in parameters if parameter.name != "destination_xml")
        unknown = rest - Counter(granted) - Counter(self._granted.harmless())
        if unknown:
            self._refuse(f"a parameter was not granted: {_names(unknown)}")
        missing = Counter(granted) - rest
        if missing:
            self._refuse(f"a call without {_names(missing)}")

    def _judge_xml(self, parameter: Parameter) -> None:
        if not isinstance(parameter.value, str):
            self._refuse("the XML is no text")
        try:
            found = xmldiff.differences(self._granted.live_xml, parameter.value)
        except VmferryError as error:
            self._refuse(error.reason)
        if found:
            self._refuse(f"the VM is not the one that was granted: {_some(found)}")

    def _judge_cookie(self, data: bytes, call: cookie.Call) -> None:
        found = cookie.problems(data, call, self._cookies)
        if found:
            self._refuse(_some(found))

    def _expect(self, message: RpcMessage, *steps: _Step) -> None:
        if self._step not in steps:
            self._refuse(f"procedure {message.procedure} came when the calls were {self._step.name.lower()}")

    def _same(self, what: str, granted: object, found: object) -> None:
        if granted != found:
            self._refuse(f"{what} is {str(found)[:200]!r} instead of {granted!r}")

    def _refuse(self, why: str) -> NoReturn:
        self._step = _Step.CLOSED
        raise AccessError(codes.RPC_REFUSED, host=self._granted.host, why=why)


class Watcher:
    """Follows a migration's calls on the source, to know the moment when its libvirt gives up the VM.

    `finish_wanted` is set once libvirt has called Finish for a complete copy, not for a cancelled one.
    """

    def __init__(self) -> None:
        self._waiting: RpcMessage | None = None
        self._finish: RpcMessage | None = None
        self.finish_wanted = False

    def see_call(self, message: RpcMessage) -> None:
        """Inspect a message from this host's libvirt.

        Raises:
            InternalError: protocol; it calls Finish in an unknown form.
        """
        if (message.program, message.type) != (protocol.REMOTE_PROGRAM, MessageType.CALL):
            return
        self._waiting = message
        if message.procedure != Procedure.FINISH:
            return
        reader = Reader(message.payload)
        try:
            reader.parameters()
            reader.opaque(COOKIE_MAX)
            reader.u32()
            self.finish_wanted = reader.i32() == 0
        except XdrError as error:
            raise InternalError(codes.PROTOCOL, why=f"libvirt's Finish cannot be read: {error}") from error
        self._finish = message

    def check_reply(self, message: RpcMessage) -> None:
        """Judge a message from the destination before this host's libvirt gets it.

        Raises:
            InternalError: protocol; it answers no call of libvirt, or sends the VM elsewhere.
        """
        if message.raw == protocol.PONG:
            return
        if self._waiting is None or not _answers(message, self._waiting):
            raise InternalError(codes.PROTOCOL, why=f"an answer that nobody waits for ({message})")
        self._waiting = None
        if message.procedure == Procedure.PREPARE and message.status == MessageStatus.OK:
            reader = Reader(message.payload)
            try:
                reader.opaque(COOKIE_MAX)
                elsewhere = reader.optional_string()
            except XdrError as error:
                raise InternalError(codes.PROTOCOL, why=f"the reply to Prepare: {error}") from error
            if elsewhere is not None:
                raise InternalError(codes.PROTOCOL, why=f"the VM was to be sent to {elsewhere[:100]!r}")

    def is_finish_success(self, message: RpcMessage) -> bool:
        """Return whether a message from the destination is the reply that ends this host's copy of the VM."""
        return (
            self.finish_wanted
            and self._finish is not None
            and _answers(message, self._finish)
            and message.status == MessageStatus.OK
        )


def _answers(message: RpcMessage, call: RpcMessage) -> bool:
    same = ("program", "version", "procedure", "serial")
    return message.type == MessageType.REPLY and all(getattr(message, key) == getattr(call, key) for key in same)


def _names(parameters: Counter[Parameter]) -> str:
    return _some([f"{parameter.name[:60]}={str(parameter.value)[:100]!r}" for parameter in parameters])


def _some(reasons: list[str]) -> str:
    """Join the first few of possibly many."""
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return "; ".join(reasons[:3]) + more
