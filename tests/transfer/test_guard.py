from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer import captured
from tests.transfer.captured import Capture, pack, unpack

from vmferry.core import codes
from vmferry.core.errors import AccessError, InternalError
from vmferry.core.request import Flag, Request, Sockets
from vmferry.transfer import rpc
from vmferry.transfer.guard import Authorised, Guard, Watcher
from vmferry.transfer.rpc import KeepAlive, Message, Procedure, Status, Type
from vmferry.transfer.xdr import Parameter, ParameterType, Writer

SUCCEEDED = [move for move in captured.MOVES if captured.load(move).succeeded]
ERROR = b"\0" * 44  # a virNetMessageError that says nothing


class Libvirtd:
    """What libvirtd gets to see behind a guard, and its answers as they were captured."""

    def __init__(self, capture: Capture) -> None:
        self.guard = Guard(capture.authorised)
        self.got: list[Message] = []
        self._replies = {
            message.procedure: message
            for way, message in capture.messages
            if way == "<" and message.program == rpc.REMOTE_PROGRAM
        }

    def send(self, *messages: Message) -> None:
        for message in messages:
            if self.guard.check_call(message) is None:
                self.got.append(message)
                self._reply(message)

    def _reply(self, call: Message) -> None:
        reply = self._replies[call.procedure]
        raw = rpc.build(reply.program, reply.procedure, Type.REPLY, call.serial, reply.payload, reply.status)
        assert self.guard.see_reply(rpc.read(raw)) is None


def calls(capture: Capture) -> list[Message]:
    return [m for way, m in capture.messages if way == ">" and m.program == rpc.REMOTE_PROGRAM]


def refused(capture: Capture, messages: Iterable[Message], why: str | None = None) -> None:
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


def until(capture: Capture, procedure: Procedure, instead: Message) -> list[Message]:
    """Give a capture's calls up to a procedure, and another call in its place."""
    found: list[Message] = []
    for message in calls(capture):
        if message.procedure == procedure:
            return [*found, instead]
        found.append(message)
    raise AssertionError("the capture has no such call")


def changed_xml(capture: Capture, procedure: Procedure, old: str, new: str) -> list[Message]:
    call = capture.call(procedure)
    arguments = unpack(call)
    xml = str(arguments.value("destination_xml"))
    assert old in xml
    changed = arguments.replacing("destination_xml", xml.replace(old, new, 1))
    return until(capture, procedure, pack(call, changed))


# --- what must pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", captured.MOVES)
def test_a_real_migration_passes_unchanged(move: str) -> None:
    capture = captured.load(move)
    guard = Guard(capture.authorised)
    for way, message in capture.messages:
        if message.program == rpc.KEEPALIVE_PROGRAM:
            judge = guard.check_call if way == ">" else guard.see_reply
            assert judge(message) == rpc.PONG
        elif way == ">":
            assert guard.check_call(message) is None
        else:
            assert guard.see_reply(message) is None
    assert guard.finish_called == capture.succeeded
    assert guard.finish_succeeded == capture.succeeded


def test_what_may_be_asked_follows_from_the_request() -> None:
    request = Request(
        vm="web01",
        uuid="u",
        flags=Flag(captured.load("storage").flags),
        live_xml="<domain/>",
        persistent_xml="<domain/>",
        sockets=Sockets("/run/vmferry/jobs/j"),
        mirrored=("vda",),
        channels=2,
        bandwidth=0,
        downtime=None,
    )
    authorised = Authorised.of(request, "kvm2")
    assert authorised.flags == captured.load("storage").authorised.flags
    assert authorised.parameters() == [
        Parameter("migrate_uri", ParameterType.STRING, "unix:///run/vmferry/jobs/j/qemu/memory.sock"),
        Parameter("migrate_disks", ParameterType.STRING, "vda"),
        Parameter("disks_uri", ParameterType.STRING, "unix:///run/vmferry/jobs/j/qemu/disk.sock"),
        Parameter("parallel.connections", ParameterType.INT, 2),
    ]


def test_how_the_source_reads_its_disks_is_its_own_business_but_only_for_granted_ones() -> None:
    capture = captured.load("zeroes-11")
    call = capture.call(Procedure.PREPARE)
    arguments = unpack(call)
    assert arguments.value("migrate_disks_detect_zeroes") == "vda"
    other = pack(call, arguments.replacing("migrate_disks_detect_zeroes", "vdb"))
    refused(capture, until(capture, Procedure.PREPARE, other), "a parameter was not granted")


def test_a_cancelled_finish_is_not_taken_for_a_complete_copy() -> None:
    capture = captured.load("abort")
    libvirtd = Libvirtd(capture)
    libvirtd.send(*calls(capture))
    assert Procedure.FINISH in [message.procedure for message in libvirtd.got]
    assert not libvirtd.guard.finish_called


# --- the XML ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/var/lib/libvirt/images/new-root.qcow2", "/etc/shadow"),
        ("/usr/bin/qemu-system-x86_64", "/bin/sh"),
        ("type='file' device='disk'", "type='block' device='disk'"),
        ("<emulator>", "<hostdev mode='subsystem' type='pci'/><emulator>"),
        ("</devices>", "</devices><qemu:commandline xmlns:qemu='q'><qemu:arg value='x'/></qemu:commandline>"),
        ("</devices>", "</devices><devices><emulator>/bin/sh</emulator></devices>"),
        ("<name>gd-rich</name>", "<name>other</name>"),
        ("<boot dev='hd'/>", "<kernel>/etc/shadow</kernel>"),
        ("<domain type='qemu'>", "<!DOCTYPE domain [<!ENTITY e '/bin/sh'>]><domain type='qemu'>"),
        ("<domain type='qemu'>", "<?xml version='1.0' encoding='utf-7'?><domain type='qemu'>"),
        ("discard='unmap'", "discard='ignore'"),
        ("<readonly/>", ""),
        ("bridge='gdbr0'", "bridge='br1'"),
        ("</domain>", "</domain><domain/>"),
        ("</domain>", ""),
    ],
)
def test_another_xml_is_refused(procedure: Procedure, old: str, new: str) -> None:
    capture = captured.load("storage")
    refused(capture, changed_xml(capture, procedure, old, new))


@given(st.data())
def test_any_other_text_in_the_xml_is_refused(data: st.DataObject) -> None:
    """One change of one value or name anywhere: whatever the XML then says, it is not what was granted."""
    capture = captured.load(data.draw(st.sampled_from(SUCCEEDED)))
    call = capture.call(Procedure.PREPARE)
    xml = str(unpack(call).value("destination_xml"))
    words = [at for at, letter in enumerate(xml) if letter.isalnum() or letter == "/"]
    at = data.draw(st.sampled_from(words))
    letter = data.draw(st.characters(exclude_characters=xml[at], exclude_categories=["Cs"]))
    other = unpack(call).replacing("destination_xml", xml[:at] + letter + xml[at + 1 :])
    # The one place that says nothing is a comment in <metadata>.
    if "<!--" in xml and xml.index("<!--") < at < xml.index("-->"):
        return
    refused(capture, until(capture, Procedure.PREPARE, pack(call, other)))


# --- the rest of prepare and finish -------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@given(bit=st.integers(0, 31))
def test_other_flags_are_refused(procedure: Procedure, bit: int) -> None:
    capture = captured.load("plain")
    call = capture.call(procedure)
    arguments = unpack(call)
    other = replace(arguments, flags=arguments.flags ^ (1 << bit))
    refused(capture, until(capture, procedure, pack(call, other)), "the flags are")


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("migrate_uri", "unix:///run/libvirt/libvirt-sock"),
        ("migrate_uri", "tcp://10.0.0.1:49152"),
        ("migrate_uri", "exec:/bin/sh"),
        ("disks_uri", "tcp://10.0.0.1:1"),
        ("migrate_disks", "vdb"),
        ("bandwidth", 0),
        ("parallel.connections", 200),
    ],
)
def test_other_parameters_are_refused(procedure: Procedure, name: str, value: str | int) -> None:
    capture = captured.load("storage")
    call = capture.call(procedure)
    other = pack(call, unpack(call).replacing(name, value))
    refused(capture, until(capture, procedure, other), "a parameter was not granted")


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize(
    "more",
    [
        Parameter("listen_address", ParameterType.STRING, "0.0.0.0"),
        Parameter("persistent_xml", ParameterType.STRING, "<domain/>"),
        Parameter("tls.destination", ParameterType.STRING, "x"),
        Parameter("migrate_disks", ParameterType.STRING, "vdb"),
        Parameter("disks_port", ParameterType.INT, 49152),
        Parameter("migrate_uri", ParameterType.STRING, "tcp://10.0.0.1"),
        Parameter("graphics_uri", ParameterType.STRING, "spice://10.0.0.1"),
        Parameter("destination_xml", ParameterType.STRING, "<domain/>"),
        Parameter("destination_name", ParameterType.STRING, "other"),
        Parameter("bandwidth", ParameterType.ULLONG, 500),
    ],
)
def test_more_parameters_are_refused(procedure: Procedure, more: Parameter) -> None:
    capture = captured.load("storage")
    call = capture.call(procedure)
    arguments = unpack(call)
    refused(
        capture,
        until(capture, procedure, pack(call, replace(arguments, parameters=(*arguments.parameters, more)))),
    )


@pytest.mark.parametrize("name", ["migrate_uri", "disks_uri", "migrate_disks", "destination_xml"])
def test_a_prepare_that_leaves_something_out_is_refused(name: str) -> None:
    """Left out, libvirt would choose: a TCP port of its own, all disks."""
    capture = captured.load("storage")
    call = capture.call(Procedure.PREPARE)
    arguments = unpack(call)
    fewer = tuple(parameter for parameter in arguments.parameters if parameter.name != name)
    refused(capture, until(capture, Procedure.PREPARE, pack(call, replace(arguments, parameters=fewer))))


def test_a_finish_of_another_vm_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.FINISH)
    other = pack(call, unpack(call).replacing("destination_name", "db01"))
    refused(capture, until(capture, Procedure.FINISH, other), "the VM's name")


def test_a_finish_that_is_neither_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.FINISH)
    refused(
        capture, until(capture, Procedure.FINISH, pack(call, replace(unpack(call), cancelled=2))), "neither"
    )


# --- the cookie ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("<domain type='kvm'><name>gd-rich</name></domain>", "has a <domain>"),
        ("<feature name='persistent'/>", "'persistent'"),
        ("<nbd port='49152'/>", "has port="),
        ("<nbd><disk target='vdz' capacity='1'/></nbd>", "'vdz'"),
        ("<nbd><disk target='vda' capacity='much'/></nbd>", "'much'"),
        ("<lockstate driver='x'><leases>l</leases></lockstate>", "has a <lockstate>"),
        (
            "<network><interface index='0' vporttype='openvswitch'><portdata>a,b=c</portdata></interface>"
            "</network>",
            "a,b=c",
        ),
        ("<graphics type='spice' port='1' listen='/x' tlsPort='1'/>", "'/x'"),
        ("<name>other</name>", "another VM"),
        ("<uuid>00000000-0000-0000-0000-000000000000</uuid>", "another UUID"),
        ("<statistics><x><y/></x></statistics>", "not numbers"),
        ("<cpu><model>/etc/shadow</model></cpu>", "strange"),
        ("<blockDirtyBitmaps><disk target='vdz'/></blockDirtyBitmaps>", "'vdz'"),
        ("text", "text after"),
        ("<!-- x -->", "comment"),
    ],
)
def test_a_cookie_with_more_in_it_is_refused(procedure: Procedure, more: str, why: str) -> None:
    capture = captured.load("storage")
    call = capture.call(procedure)
    arguments = unpack(call)
    cookie = arguments.cookie.replace(b"</qemu-migration>", more.encode() + b"</qemu-migration>")
    refused(capture, until(capture, procedure, pack(call, replace(arguments, cookie=cookie))), why)


@pytest.mark.parametrize(
    "cookie",
    [b"\0", b"x", b"<a/>", b"<qemu-migration/>", b"<qemu-migration x='1'/>", b"\xff", b"<!DOCTYPE a><a/>"],
)
def test_another_cookie_is_refused(cookie: bytes) -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.PREPARE)
    refused(
        capture, until(capture, Procedure.PREPARE, pack(call, replace(unpack(call), cookie=cookie))), "cookie"
    )


def test_a_cookie_with_a_second_part_behind_its_nul_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.PREPARE)
    arguments = unpack(call)
    assert arguments.cookie.endswith(b"\0")
    other = pack(call, replace(arguments, cookie=arguments.cookie + b"<domain/>\0"))
    refused(capture, until(capture, Procedure.PREPARE, other), "after its end")


# --- the calls ----------------------------------------------------------------------------------------------


@given(procedure=st.integers(-5, 500), after=st.integers(0, 12))
def test_no_other_procedure_passes(procedure: int, after: int) -> None:
    capture = captured.load("plain")
    if procedure in list(Procedure):
        return
    before = calls(capture)[:after]
    serial = len(before)
    refused(capture, [*before, rpc.read(rpc.build(rpc.REMOTE_PROGRAM, procedure, Type.CALL, serial))])


@given(st.data())
def test_calls_out_of_order_are_refused(data: st.DataObject) -> None:
    """Whatever the order, what passes is in a migration's order: open, prepare, finish, each once at most."""
    capture = captured.load("plain")
    order = data.draw(st.permutations(calls(capture)))
    numbered = [
        rpc.read(rpc.build(call.program, call.procedure, call.type, number, call.payload))
        for number, call in enumerate(order)
    ]
    libvirtd = Libvirtd(capture)
    with suppress(AccessError):
        libvirtd.send(*numbered)
    steps = [message.procedure for message in libvirtd.got if message.procedure != Procedure.SUPPORTS_FEATURE]
    allowed = [
        Procedure.AUTH_LIST,
        Procedure.OPEN,
        Procedure.REGISTER_CLOSE_CALLBACK,
        Procedure.PREPARE,
        Procedure.FINISH,
        Procedure.UNREGISTER_CLOSE_CALLBACK,
        Procedure.CLOSE,
    ]
    places = [allowed.index(Procedure(step)) for step in steps]
    if Procedure.PREPARE in steps or Procedure.FINISH in steps:
        essential = [place for place in places if place not in (2, 5)]
        assert essential == sorted(essential)
    assert len(places) == len(set(places))


def test_a_second_finish_or_prepare_is_refused() -> None:
    capture = captured.load("plain")
    for procedure in (Procedure.PREPARE, Procedure.FINISH):
        call = capture.call(procedure)
        before = until(capture, procedure, call)
        again = rpc.read(rpc.build(call.program, call.procedure, call.type, call.serial + 1, call.payload))
        refused(capture, [*before, again], "came when")


def test_finish_after_a_prepare_that_failed_is_refused() -> None:
    capture = captured.load("taken")
    finish = captured.load("plain").call(Procedure.FINISH)
    before = until(capture, Procedure.PREPARE, capture.call(Procedure.PREPARE))
    refused(capture, [*before, finish], "came when")


def test_a_call_before_the_last_one_was_answered_is_refused() -> None:
    capture = captured.load("plain")
    guard = Guard(capture.authorised)
    first, second, *_rest = calls(capture)
    guard.check_call(first)
    with pytest.raises(AccessError, match="before the last one was answered"):
        guard.check_call(second)


def test_endless_harmless_calls_are_refused() -> None:
    capture = captured.load("plain")
    libvirtd = Libvirtd(capture)
    first, feature, *_rest = calls(capture)
    libvirtd.send(first)
    more = [
        rpc.read(rpc.build(feature.program, feature.procedure, Type.CALL, serial, feature.payload))
        for serial in range(1, 1000)
    ]
    with pytest.raises(AccessError, match="more calls"):
        libvirtd.send(*more)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"program": 0x20008087}, "not a call"),  # the QEMU program: monitor commands
        ({"program": rpc.KEEPALIVE_PROGRAM}, "keepalive"),
        ({"kind": 4}, "not a call"),  # with file descriptors
        ({"kind": Type.REPLY}, "not a call"),
        ({"kind": Type.MESSAGE}, "not a call"),
        ({"kind": 3}, "not a call"),  # a stream
        ({"status": Status.ERROR}, "not a call"),
    ],
)
def test_another_kind_of_message_is_refused(change: dict[str, int], why: str) -> None:
    capture = captured.load("plain")
    call = calls(capture)[0]
    header = {"program": call.program, "kind": call.type, "status": call.status, **change}
    other = rpc.build(header["program"], call.procedure, header["kind"], 0, b"", header["status"])
    refused(capture, [rpc.read(other)], why)


def test_an_older_number_is_refused() -> None:
    capture = captured.load("plain")
    first, second, *_rest = calls(capture)
    again = rpc.read(rpc.build(second.program, second.procedure, second.type, 0, second.payload))
    refused(capture, [first, again], "old number")


@pytest.mark.parametrize(
    "uri", ["qemu:///session", "test:///default", "qemu+tcp://10.0.0.1/system", None, ""]
)
def test_another_open_is_refused(uri: str | None) -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.OPEN)
    payload = Writer().optional_string(uri).u32(0).data
    other = rpc.read(rpc.build(call.program, call.procedure, call.type, call.serial, payload))
    refused(capture, until(capture, Procedure.OPEN, other), "the connection's URI")


@given(st.binary(min_size=1, max_size=40))
def test_a_payload_that_goes_on_is_refused(more: bytes) -> None:
    capture = captured.load("plain")
    for procedure in Procedure:
        call = capture.call(procedure)
        other = rpc.read(rpc.build(call.program, procedure, call.type, call.serial, call.payload + more))
        refused(capture, until(capture, procedure, other), "after its end")
    assert not Guard(capture.authorised).finish_called


# --- towards the source -------------------------------------------------------------------------------------


def test_libvirtds_events_do_not_reach_the_source() -> None:
    capture = captured.load("plain")
    libvirtd = Libvirtd(capture)
    libvirtd.send(*calls(capture)[:6])
    event = rpc.read(rpc.build(rpc.REMOTE_PROGRAM, 318, Type.MESSAGE, 0, b"x" * 8))
    assert libvirtd.guard.see_reply(event) == b""
    late = rpc.read(rpc.build(rpc.REMOTE_PROGRAM, Procedure.OPEN, Type.REPLY, 2))
    assert libvirtd.guard.see_reply(late) == b""


def test_a_pong_from_the_source_answers_nothing() -> None:
    refused(captured.load("plain"), [rpc.read(rpc.PONG)], "keepalive")
    refused(
        captured.load("plain"),
        [rpc.read(rpc.build(rpc.KEEPALIVE_PROGRAM, KeepAlive.PING, Type.MESSAGE, 0, b"more"))],
        "keepalive",
    )


@pytest.mark.parametrize("move", captured.MOVES)
def test_the_source_knows_the_reply_that_ends_its_copy(move: str) -> None:
    capture = captured.load(move)
    watcher = Watcher()
    successes = []
    for way, message in capture.messages:
        if way == ">":
            watcher.see_call(message)
        elif message.program == rpc.REMOTE_PROGRAM:
            if watcher.is_finish_success(message):
                successes.append(message.procedure)
            watcher.check_reply(message)
    assert watcher.finish_wanted == capture.succeeded
    assert successes == ([Procedure.FINISH] if capture.succeeded else [])


def test_a_finish_that_failed_ends_nothing() -> None:
    watcher = Watcher()
    finish = captured.load("plain").call(Procedure.FINISH)
    watcher.see_call(finish)
    failed = rpc.build(finish.program, finish.procedure, Type.REPLY, finish.serial, ERROR, Status.ERROR)
    other = rpc.build(finish.program, finish.procedure, Type.REPLY, finish.serial + 1)
    assert not watcher.is_finish_success(rpc.read(failed))
    assert not watcher.is_finish_success(rpc.read(other))


def test_the_sources_libvirt_gets_only_its_answers() -> None:
    capture = captured.load("plain")
    watcher = Watcher()
    prepare = capture.call(Procedure.PREPARE)
    watcher.check_reply(rpc.read(rpc.PONG))
    with pytest.raises(InternalError, match="nobody waits"):
        watcher.check_reply(rpc.read(rpc.build(prepare.program, prepare.procedure, Type.REPLY, 9)))
    watcher.see_call(prepare)
    elsewhere = Writer().opaque(b"").optional_string("tcp://10.0.0.1:1").data
    with pytest.raises(InternalError, match=r"10\.0\.0\.1"):
        watcher.check_reply(rpc.read(rpc.build(prepare.program, prepare.procedure, Type.REPLY, 9, elsewhere)))
