from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import Libvirtd, calls, pack, refused, unpack, until

from vmferry.core.errors import AccessError
from vmferry.core.libvirt.flags import Flag
from vmferry.core.request import Request, Sockets
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.guard import Authorised, Guard
from vmferry.transfer.rpc.protocol import MessageStatus, MessageType, Procedure
from vmferry.transfer.rpc.xdr import Parameter, ParameterType, Writer

# --- what must pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", captured.MOVES)
def test_a_real_migration_passes_unchanged(move: str) -> None:
    capture = captured.load(move)
    guard = Guard(capture.authorised)
    for way, message in capture.messages:
        if message.program == protocol.KEEPALIVE_PROGRAM:
            judge = guard.check_call if way == ">" else guard.see_reply
            assert judge(message) == protocol.PONG
        elif way == ">":
            assert guard.check_call(message) is None
        else:
            assert guard.see_reply(message) is None
    assert guard.prepare_called
    assert guard.prepared == (move != "taken")
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


# --- the calls ----------------------------------------------------------------------------------------------


@given(procedure=st.integers(-5, 500), after=st.integers(0, 12))
def test_no_other_procedure_passes(procedure: int, after: int) -> None:
    capture = captured.load("plain")
    if procedure in list(Procedure):
        return
    before = calls(capture)[:after]
    serial = len(before)
    refused(
        capture, [*before, protocol.read(protocol.build(protocol.REMOTE_PROGRAM, procedure, MessageType.CALL, serial))]
    )


@given(st.data())
def test_calls_out_of_order_are_refused(data: st.DataObject) -> None:
    """Whatever the order, what passes is in a migration's order: open, prepare, finish, each once at most."""
    capture = captured.load("plain")
    order = data.draw(st.permutations(calls(capture)))
    numbered = [
        protocol.read(protocol.build(call.program, call.procedure, call.type, number, call.payload))
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
        again = protocol.read(protocol.build(call.program, call.procedure, call.type, call.serial + 1, call.payload))
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
        protocol.read(protocol.build(feature.program, feature.procedure, MessageType.CALL, serial, feature.payload))
        for serial in range(1, 1000)
    ]
    with pytest.raises(AccessError, match="more calls"):
        libvirtd.send(*more)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"program": 0x20008087}, "not a call"),  # the QEMU program: monitor commands
        ({"program": protocol.KEEPALIVE_PROGRAM}, "keepalive"),
        ({"kind": 4}, "not a call"),  # with file descriptors
        ({"kind": MessageType.REPLY}, "not a call"),
        ({"kind": MessageType.MESSAGE}, "not a call"),
        ({"kind": 3}, "not a call"),  # a stream
        ({"status": MessageStatus.ERROR}, "not a call"),
    ],
)
def test_another_kind_of_message_is_refused(change: dict[str, int], why: str) -> None:
    capture = captured.load("plain")
    call = calls(capture)[0]
    header = {"program": call.program, "kind": call.type, "status": call.status, **change}
    other = protocol.build(header["program"], call.procedure, header["kind"], 0, b"", header["status"])
    refused(capture, [protocol.read(other)], why)


def test_an_older_number_is_refused() -> None:
    capture = captured.load("plain")
    first, second, *_rest = calls(capture)
    again = protocol.read(protocol.build(second.program, second.procedure, second.type, 0, second.payload))
    refused(capture, [first, again], "old number")


@pytest.mark.parametrize("uri", ["qemu:///session", "test:///default", "qemu+tcp://10.0.0.1/system", None, ""])
def test_another_open_is_refused(uri: str | None) -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.OPEN)
    payload = Writer().optional_string(uri).u32(0).data
    other = protocol.read(protocol.build(call.program, call.procedure, call.type, call.serial, payload))
    refused(capture, until(capture, Procedure.OPEN, other), "the connection's URI")


@given(st.binary(min_size=1, max_size=40))
def test_a_payload_that_goes_on_is_refused(more: bytes) -> None:
    capture = captured.load("plain")
    for procedure in Procedure:
        call = capture.call(procedure)
        other = protocol.read(protocol.build(call.program, procedure, call.type, call.serial, call.payload + more))
        refused(capture, until(capture, procedure, other), "after its end")
    assert not Guard(capture.authorised).finish_called
