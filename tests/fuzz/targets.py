"""The parsers that read what another host sends, each as a function of bytes, with inputs to begin with.

A target returns when its parser took the input, or refused it with one of its proper errors. Anything else that it
raises is a finding; so is an input that takes too long or too much memory (run.py).
"""

import base64
import json
import os
import ssl
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import httpx2
from cryptography.utils import CryptographyDeprecationWarning
from pydantic import ValidationError

from tests.core.ad.test_descriptor import WRITTEN
from tests.core.ad.test_pac import logon
from tests.core.move.test_messages import SENT
from tests.core.test_message import MESSAGES
from tests.preflight.make import DISK, HERE, PLACE, THERE, end, proposal, xml
from tests.transfer import fuzz_wire
from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import unpack
from tests.transfer.wire import credentials
from vmferry.agent.http import clienthello
from vmferry.client import Client, events
from vmferry.core import codes, jobkey, message, qcow2
from vmferry.core.ad import descriptor, pac
from vmferry.core.auditlog import record
from vmferry.core.errors import AccessError, InternalError, PreflightError, VmferryError
from vmferry.core.hostport import host_port
from vmferry.core.job import Role
from vmferry.core.kinds import CopiedBy
from vmferry.core.libvirt import amounts, domainxml, hostpolicy, xmldiff
from vmferry.core.messages.bandwidth import BandwidthOpening
from vmferry.core.messages.diagnosis import Facts
from vmferry.core.messages.offer import (
    Address,
    Admission,
    Artifact,
    ArtifactPlan,
    Grant,
    Hold,
    MoveOptions,
    Offer,
    Proposal,
    Report,
)
from vmferry.core.messages.probe import ProbeOpening
from vmferry.core.move import messages as worker_messages
from vmferry.core.policy.settings import HostSettings, Protection
from vmferry.core.text import cleaned
from vmferry.hypervisor.storage import chains
from vmferry.identity import certificates, pairing, site
from vmferry.preflight import plan
from vmferry.preflight.case import Case, DataRoute, run
from vmferry.preflight.checks import OF_MOVE, OF_PAIR, OF_ROUTE
from vmferry.preflight.host.compatibility import Pair
from vmferry.transfer.disks import files
from vmferry.transfer.disks.nbd import Replies
from vmferry.transfer.measure import reachability
from vmferry.transfer.rpc import cookie, protocol
from vmferry.transfer.rpc.guard import Guard, Watcher
from vmferry.transfer.rpc.protocol import Procedure, Splitter
from vmferry.transfer.session.messages import Messages
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.transport import frames, handshake, hello
from vmferry.transfer.transport.frames import CREDIT, Type
from vmferry.transfer.transport.seal import Seal

_FILE_MAX = 1 << 20  # bytes of a file that a stream brings
_MOVE = "plain"  # the smallest of the captured ones


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Arguments:
        run: feeds it one input.
        seeds: inputs that it takes.
        proper: errors that are an answer to a bad input.
    """

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    proper: tuple[type[Exception], ...] = (VmferryError,)

    def __call__(self, data: bytes) -> None:
        """Feed it one input; raises what is a finding."""
        with suppress(*self.proper):
            self.run(data)


# --- what libvirt would start -------------------------------------------------------------------------------


def _domain(data: bytes) -> None:
    text = data.decode()
    disks = [
        DISK.model_copy(
            update={"target": disk.target, "format": disk.format, "readonly": disk.readonly, "path": disk.path or "/x"}
        )
        for disk in domainxml.disks(text)
    ]
    said = {"vm": domainxml.name(text), "uuid": domainxml.uuid(text), "memory": amounts.memory(text)}
    xmls = {"live_xml": text, "persistent_xml": text}
    _judge(Proposal(**proposal().model_dump() | said | xmls | {"artifacts": disks}))


def _judge(vm: Proposal) -> None:
    """Plan and judge a VM, as a destination does before it makes anything."""
    places = [PLACE.model_copy(update={"target": disk.target, "path": disk.path}) for disk in vm.disks]
    here = HERE.model_copy(update={"places": places})
    made = plan.make(vm, here)
    run(OF_MOVE, Case(vm, here, made))
    assert here.policy is not None
    hostpolicy.violations(made.live_xml, here.policy)
    hostpolicy.strays(made.live_xml, made.live)
    amounts.excesses(made.persistent_xml)
    xmldiff.differences(vm.live_xml, made.live_xml)


def _cookie(data: bytes) -> None:
    granted = captured.load(_MOVE).authorised
    targets = frozenset(disk.target for disk in domainxml.disks(granted.live_xml))
    topology = domainxml.topology(granted.live_xml)
    expected = cookie.Expected(granted.vm, granted.uuid, targets, bool(granted.migrate_disks), topology)
    for call in cookie.Call:
        cookie.problems(data, call, expected)


def _calls(data: bytes) -> None:
    """Judge the calls of the source's libvirt; each one that passes is answered."""
    guard = Guard(captured.load(_MOVE).authorised)
    for call in Splitter().feed(data):
        if guard.check_call(call) is None:
            raw = protocol.build(call.program, call.procedure, protocol.MessageType.REPLY, call.serial)
            guard.see_reply(protocol.read(raw))


def _answers(data: bytes) -> None:
    """Judge the answers of the destination's libvirtd, each as if it had been asked for."""
    watcher = Watcher()
    asked = {call.procedure: call for call in captured.calls(captured.load(_MOVE))}
    for reply in Splitter().feed(data):
        call = asked.get(cast(Procedure, reply.procedure))
        if call is not None:
            raw = protocol.build(call.program, call.procedure, call.type, reply.serial, call.payload)
            watcher.see_call(protocol.read(raw))
        watcher.check_reply(reply)
        watcher.is_finish_success(reply)


# --- between the workers ------------------------------------------------------------------------------------


class _Bytes:
    """A stream on which these bytes come, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._parts = [data[at : at + 1000] for at in range(0, len(data), 1000)]

    def recv(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    def send(self, data: bytes | memoryview) -> None:
        pass

    def send_fin(self) -> None:
        pass


def _frames(data: bytes) -> None:
    failure = fuzz_wire._carry(data, None)
    assert failure is None, failure


@cache
def _destination() -> Any:
    return credentials("destination", encryption=False)


def _hello(data: bytes) -> None:
    """Read a hello as either side does, and anything else as the message that could stand there."""
    with suppress(VmferryError, ConnectionResetError):
        handshake.welcome(fuzz_wire.Script(data), _destination())
    body = data[hello.HEAD :][: hello.length(data[: hello.HEAD])] if len(data) >= hello.HEAD else b""
    kinds: tuple[Any, ...] = (hello.Hello, hello.Answer, hello.Proof, hello.Welcome)
    for kind in kinds:
        with suppress(VmferryError):
            hello.read(kind, body)


def _messages(data: bytes) -> None:
    with suppress(VmferryError):
        assert not list(Messages(cast(Stream, _Bytes(data)), Seal(bytes(32), source=True))), "a message without a seal"
    list(Messages(cast(Stream, _Bytes(data))))


def _words(data: bytes) -> None:
    """Read a message of either worker; what was read can be sent on, and reads as the same."""
    said = cleaned(message.load(data))
    if isinstance(said, dict):
        for sender in Role:
            with suppress(VmferryError):
                found = worker_messages.read(said, sender, "kvm2")
                if found is not None:
                    again = json.loads(json.dumps(worker_messages.write(found)))
                    assert worker_messages.read(again, sender, "kvm2") == found


def _file(data: bytes) -> None:
    handle = os.memfd_create("fuzz")
    try:
        files.begin(_Bytes(data)).save(handle, _FILE_MAX)
    finally:
        os.close(handle)


def _nbd(data: bytes) -> None:
    replies = Replies(dict.fromkeys(range(4), 4096))
    half = len(data) // 2
    replies.feed(memoryview(data)[:half])
    replies.feed(memoryview(data)[half:])


# --- before a move ------------------------------------------------------------------------------------------


def _json(data: bytes) -> None:
    """Read a message of the API as each of its kinds; what is an offer is planned too."""
    told = message.load(data)
    for kind in MESSAGES:
        with suppress(InternalError, PreflightError):
            found = message.read(kind, told, "kvm2")
            found.wire()
            if kind is Offer:
                _judge(cast(Offer, found))


def _problem(data: bytes) -> None:
    error = VmferryError.from_problem(message.load(data))
    json.dumps(error.problem())
    assert str(error).isprintable()


def _facts(data: bytes) -> None:
    """Judge what another host says of itself, as `doctor` and a check do."""
    facts = message.read(Facts, message.load(data), "kvm2")
    run(OF_PAIR, Pair("kvm1", THERE, "kvm2", facts.host))
    run(OF_PAIR, Pair("kvm2", facts.host, "kvm1", THERE))
    run(OF_ROUTE, DataRoute(end(), "kvm2", facts.addresses))


def _openings(data: bytes) -> None:
    """Take what a destination opens for a try or a measurement, as far as it goes without a network."""
    told = message.load(data)
    with suppress(InternalError):
        reachability.reach([], message.read(ProbeOpening, told, "kvm1"))
    opening = message.read(BandwidthOpening, told, "kvm1")
    jobkey.proof(opening.key, opening.id, "", "", "fuzz")


def _certificate(data: bytes) -> None:
    """Read a certificate that came in a message, and one that was shown."""
    text = data.decode("utf-8", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # what it takes now and will refuse one day
        with suppress(AccessError):
            site.check(data, "kvm2")
        with suppress(ValueError):
            certificates.fingerprint(text)
        certificates.checked(text)


def _place(data: bytes) -> None:
    host, port = host_port(data.decode("utf-8", "replace"), 6601)
    assert host
    assert 0 < port < 65536


def _audited(data: bytes) -> None:
    """Write down what somebody asked, whatever it was."""
    values = record.read(data)
    known = {"on_behalf_of": record.on_behalf_of(values), "on_behalf_method": record.on_behalf_method(values)}
    head = record.peer_head(values, "kvm1")
    json.dumps(record.told(values) | known | {"head": head and head.model_dump()}, allow_nan=False)


def _events(data: bytes) -> None:
    """Follow a job at a daemon that says what it likes."""
    for told in events.messages(iter(data.decode("utf-8", "replace").splitlines())):
        if told is not None:
            events.event(told)


def _answer(data: bytes) -> None:
    """Take a daemon's answer to questions that a client has."""

    def said(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=data)

    with Client(httpx2.MockTransport(said), "http://x", "x") as client:
        for ask in (client.host, client.hosts, client.vms, client.jobs, client.settings, client.trust):
            with suppress(VmferryError):
                ask()


def _client_hello(data: bytes) -> None:
    clienthello.read(data)


def _token(data: bytes) -> None:
    with suppress(VmferryError):
        pairing.Token.decode(data.decode("utf-8", "replace"))
    word = base64.urlsafe_b64encode(data + pairing._check(data)).rstrip(b"=").decode()
    pairing.Token.decode(pairing.PREFIX + word).encode()


def _pac(data: bytes) -> None:
    with suppress(ValueError):
        pac.logon_info(data)
    pac.delegation_info(data)


def _descriptor(data: bytes) -> None:
    found = descriptor.parse(data)
    descriptor.allows(found, {"S-1-5-32-544"})
    again = descriptor.parse(descriptor.build(found))
    assert (again.owner, again.group) == (found.owner, found.group)
    assert (again.dacl, again.sacl) == (found.dacl, found.sacl), "somebody's entry is lost"


def _qcow2(data: bytes) -> None:
    def read(at: int, length: int) -> bytes:
        return data[at : at + length]

    header = qcow2.parse(read)
    for holds in (None, bytes(7)):
        for piece in qcow2.pieces(read, header, holds):
            assert piece.start + piece.unit * (len(piece.flags) - 1) < header.virtual_size


def _chain(data: bytes) -> None:
    """Read the names in an image; they are not followed."""
    handle = os.memfd_create("fuzz")
    try:
        os.write(handle, data)
        for name, _format in chains.named(handle, None):
            chains.resolve(name, "/nowhere/image")
    finally:
        os.close(handle)


# --- what is right ------------------------------------------------------------------------------------------


def _domains() -> Iterator[bytes]:
    yield xml().encode()
    parts = "<vcpu>2</vcpu><cpu mode='custom'><numa><cell id='0' cpus='0-1' memory='1048576' unit='KiB'/></numa></cpu>"
    devices = (
        "<serial type='file'><source path='/var/log/web01.log'/></serial><graphics type='vnc' port='5900'/>"
        "<channel type='unix'><source mode='bind' path='/x'/><target type='virtio' name='a'/></channel>"
        "<disk type='volume' device='cdrom'><source pool='p' volume='v'/><target dev='sda'/><readonly/></disk>"
    )
    yield xml(top=parts, device=devices).encode()
    yield captured.load(_MOVE).live_xml.encode()


def _captured_calls() -> Iterator[bytes]:
    calls = captured.calls(captured.load(_MOVE))
    yield b"".join(call.raw for call in calls)
    yield from (call.raw for call in calls[:4])


def _captured_answers() -> Iterator[bytes]:
    capture = captured.load(_MOVE)
    yield b"".join(reply.raw for way, reply in capture.messages if way == "<")


def _cookies() -> Iterator[bytes]:
    for procedure in (Procedure.PREPARE, Procedure.FINISH):
        yield unpack(captured.load(_MOVE).call(procedure)).cookie


def _session() -> Iterator[bytes]:
    yield b"".join(
        frames.pack(1, kind, at, payload)
        for kind, at, payload in (
            (Type.OPEN, 0, b"memory"),
            (Type.DATA, 0, b"x" * 40),
            (Type.ACK, 0, CREDIT.pack(1 << 20)),
            (Type.PING, 0, b""),
            (Type.DATA, 40, b"y"),
            (Type.FIN, 41, b""),
        )
    )
    yield frames.pack(3, Type.OPEN, 0, b"disk") + frames.pack(3, Type.RESET, 0, b"it is over")


def _hellos() -> Iterator[bytes]:
    said: dict[str, Any] = {"versions": [1], "features": list(hello.FEATURES), "job": "job-1", "session": "0" * 32}
    said |= {"direction": "forward", "index": 0, "forward": 2, "back": 1, "encrypted": False, "nonce": "a" * 64}
    yield hello.pack(hello.Hello(**said))
    yield hello.pack(hello.Answer(version=1, features=[], nonce="a" * 64))
    yield hello.pack(hello.Proof(proof="b" * 64))
    yield hello.pack(hello.Welcome())
    yield hello.refusal(InternalError(codes.PROTOCOL, why="a test"))


def _control() -> Iterator[bytes]:
    bodies = (b'{"do": "verdict", "state": "done"}', b'{"progress": {"memory": [1, 2.5, null, true]}}')
    yield b"".join(struct.pack(">I", len(body)) + body for body in bodies)


def _worker_messages() -> Iterator[bytes]:
    for _, said, _ in SENT:
        yield json.dumps(said).encode()


def _file_stream() -> Iterator[bytes]:
    head = json.dumps({"target": "sda", "size": 8192}).encode()
    record = struct.pack(">QI", 4096, 5) + b"bytes"
    yield struct.pack(">I", len(head)) + head + record + struct.pack(">QI", 8192, 0)


def _nbd_replies() -> Iterator[bytes]:
    start = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
    option = struct.pack(">QIII", 0x3E889045565A9, 7, 1, 0)
    yield start + option + struct.pack(">IIQ", 0x67446698, 0, 1) + bytes(4096)
    yield start + option + struct.pack(">IHHQI", 0x668E33EF, 1, 1, 2, 8) + bytes(8)


def _json_seeds() -> Iterator[bytes]:
    vm = proposal().model_dump() | {"job": "20261128-abcdef", "certificate": "PEM"}
    disk = ArtifactPlan(
        target="vda", path="/var/lib/libvirt/images/web01.qcow2", shared=False, copied_by=CopiedBy.MIRROR
    )
    both: dict[str, Any] = {"live_xml": xml(), "persistent_xml": xml(), "addresses": ["10.0.0.1"]}
    options = MoveOptions(include_storage=True, map_networks={"default": "none"}, deadline=60.0)
    idle = Artifact(**DISK.model_dump() | {"target": "vdb", "path": "/var/lib/libvirt/images/b.qcow2", "idle": True})
    next_start = f"<disk><driver type='qcow2'/><source file='{idle.path}'/><target dev='vdb'/></disk>"
    defined = {"definition": {"vda": "vda", "vdb": "vdb"}, "persistent_xml": xml(device=next_start)}
    for one in (
        Offer(**vm),
        Offer(**vm | defined | {"options": options, "artifacts": [DISK, idle]}),
        Grant(**both, artifacts=[disk], job_key="ab" * 32, certificate="PEM", socket_folder="/run/vmferry/jobs/x"),
        Report(**both, disks=[disk], vm="web01", source="kvm1", destination="kvm2", findings=[]),
        Hold(refusal="full"),
        Admission(addresses=[Address(host="10.0.0.1", port=49152)]),
    ):
        yield json.dumps(one.wire()).encode()


def _problems() -> Iterator[bytes]:
    for name, (kind, code) in VmferryError.registry.items():
        texts = {word.split("}")[0]: "x" for word in (code.reason + code.remedy).split("{")[1:]}
        texts = {word.partition(":")[0].partition("!")[0]: "x" for word in texts}
        fields = {word: 1.5 if f"{{{word}:" in code.reason + code.remedy else said for word, said in texts.items()}
        told = {"code": name, "fields": fields, "detail": "a", "remedy": "b", "status": 500}
        yield json.dumps(told | {"exit_code": int(kind.exit_code)}).encode()


def _client_hellos() -> Iterator[bytes]:
    alpn, name = b"\0\x0f\x0evmferry-peer/1", b"\0\x0e\0\0\x0bkvm1.domain"
    told = struct.pack(">HH", 16, len(alpn)) + alpn + struct.pack(">HH", 0, len(name)) + name
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0" + struct.pack(">H", len(told)) + told
    said = b"\1" + len(body).to_bytes(3, "big") + body
    yield b"\x16\3\1" + struct.pack(">H", len(said)) + said


def _images() -> Iterator[bytes]:
    """Return qcow2 headers: one with all that a name can be in, one of the old version, one of QED."""
    name = b'json:{"file":{"filename":"/base"}}'
    extensions = (
        struct.pack(">II", 0xE2792ACA, 5) + b"qcow2\0\0\0" + struct.pack(">II", 0x44415441, 4) + b"data\0\0\0\0"
    )
    extensions += struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 32, 512) + bytes(8)
    begin = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 300, len(name), 9, 1 << 20, 0, 32, 1024, 0, 1, 1, 600)
    head = begin + struct.pack(">QQQII", 0b100, 0, 0, 4, 104) + extensions
    bitmap = struct.pack(">QIIBBHI", 0, 0, 0, 1, 16, 3, 0) + b"one"
    snapshot = struct.pack(">QIHHIIQII", 0, 0, 1, 4, 0, 0, 0, 0, 0) + b"1snap"
    table = struct.pack(">Q", 1 << 63 | 512)
    whole = bytearray(1536)
    for at, part in ((0, head), (300, name), (512, bitmap), (600, snapshot), (1024, table)):
        whole[at : at + len(part)] = part
    yield bytes(whole)
    yield struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 100, 5, 16, 1 << 20, 0, 1, 0, 0, 1, 0, 0) + bytes(28) + b"/base"
    yield b"QED\0" + bytes(52) + struct.pack("<II", 64, 5) + b"/base"


def _tokens() -> Iterator[bytes]:
    yield struct.pack(">H32s16s", 4600, bytes(32), bytes(16)) + b"kvm2.example"
    yield pairing.Token("10.0.0.1", 4600, "ab" * 32, bytes(16)).encode().encode()


def _facts_seeds() -> Iterator[bytes]:
    for addresses in ([], ["10.0.0.1", "fd20::1"]):
        facts = Facts(host=THERE, encryption=Protection.REQUIRED, addresses=addresses, findings=[])
        yield json.dumps(facts.wire()).encode()


def _opening_seeds() -> Iterator[bytes]:
    key = "ab" * 32
    both = {"addresses": [{"host": "10.0.0.1", "port": 6610}], "secrets": [key, key], "answer": key}
    yield json.dumps(both | {"id": "0123456789ab", "key": key, "certificate": "PEM"}).encode()


def _certificates() -> Iterator[bytes]:
    pem = certificates.create("kvm2")[0]
    yield pem.encode()
    yield ssl.PEM_cert_to_DER_cert(pem)


def _asked() -> Iterator[bytes]:
    caller = {"name": "ann", "host": "kvm1", "method": "unix"}
    head = {"number": 7, "digest": "ab" * 32}
    yield json.dumps({"caller": caller, "audit_head": head, "vm": "web01", "options": {"deadline": 5.5}}).encode()


def _followed() -> Iterator[bytes]:
    phase = json.dumps({"seq": 7, "at": "2026-01-01T00:00:00Z", "phase": "copying"})
    yield f'id: 7\nevent: phase\ndata: {phase}\n\nevent: progress\ndata: {{"phase": "copying"}}\n\n'.encode()


def _answers_of_daemons() -> Iterator[bytes]:
    yield json.dumps(HostSettings().model_dump(mode="json")).encode()
    yield b'[{"name": "web01", "uuid": "u", "state": "running", "memory": 1, "vcpus": 1, "autostart": true}]'


def _pacs() -> Iterator[bytes]:
    yield logon("ann", [513, 1104], [("S-1-18-1", 7)], [1200])
    texts = struct.pack("<III", 2, 0, 2) + "ab".encode("utf-16-le")
    body = struct.pack("<HHIIIHHI", 4, 4, 1, 1, 1, 4, 4, 1)
    yield logon()[:20] + body[:16] + texts + struct.pack("<I", 1) + body[16:] + texts


XML = (VmferryError, UnicodeDecodeError, ValidationError)
TARGETS = {
    "domain XML": Target(_domain, tuple(_domains()), XML),
    "migration cookie": Target(_cookie, tuple(_cookies())),
    "libvirt's calls": Target(_calls, tuple(_captured_calls())),
    "libvirt's answers": Target(_answers, tuple(_captured_answers())),
    "frames": Target(_frames, tuple(_session())),
    "hello": Target(_hello, tuple(_hellos())),
    "control messages": Target(_messages, tuple(_control())),
    "messages of the workers": Target(_words, tuple(_worker_messages()), (ValueError,)),
    "file stream": Target(_file, tuple(_file_stream())),
    "NBD replies": Target(_nbd, tuple(_nbd_replies())),
    "messages of the API": Target(_json, tuple(_json_seeds()), (VmferryError, ValueError)),
    "problems": Target(_problem, tuple(_problems()), (ValueError,)),
    "ClientHello": Target(_client_hello, tuple(_client_hellos()), ()),
    "pairing token": Target(_token, tuple(_tokens())),
    "PAC": Target(_pac, tuple(_pacs()), (ValueError,)),
    "security descriptor": Target(_descriptor, (WRITTEN,), (ValueError,)),
    "facts of a host": Target(_facts, tuple(_facts_seeds()), (VmferryError, ValueError)),
    "openings of a host": Target(_openings, tuple(_opening_seeds()), (VmferryError, ValueError)),
    "certificate": Target(_certificate, tuple(_certificates()), (ValueError,)),
    "place of a host": Target(_place, (b"kvm2.example:6601", b"[fd20::1]:6601", b"kvm2")),
    "audited request": Target(_audited, tuple(_asked()), ()),
    "events of a daemon": Target(_events, tuple(_followed()), (ValueError,)),
    "answers of a daemon": Target(_answer, tuple(_answers_of_daemons()), ()),
    "qcow2 header": Target(_qcow2, tuple(_images()), (ValueError,)),
    "names in images": Target(_chain, tuple(_images()), (ValueError,)),
}
