import copy
from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import SUCCEEDED, Capture, Libvirtd, pack, refused, unpack, until

from vmferry.core.libvirt import xmltree
from vmferry.transfer.rpc.protocol import Procedure, RpcMessage
from vmferry.transfer.rpc.xdr import Parameter, ParameterType


def changed_xml(capture: Capture, procedure: Procedure, old: str, new: str) -> list[RpcMessage]:
    call = capture.call(procedure)
    arguments = unpack(call)
    xml = str(arguments.value("destination_xml"))
    assert old in xml
    changed = arguments.replacing("destination_xml", xml.replace(old, new, 1))
    return until(capture, procedure, pack(call, changed))


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


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize("name", ["migrate_uri", "disks_uri", "migrate_disks", "destination_xml"])
def test_a_call_that_leaves_something_out_is_refused(procedure: Procedure, name: str) -> None:
    """Left out, libvirt would choose: a TCP port of its own, all disks."""
    capture = captured.load("storage")
    call = capture.call(procedure)
    arguments = unpack(call)
    fewer = tuple(parameter for parameter in arguments.parameters if parameter.name != name)
    refused(capture, until(capture, procedure, pack(call, replace(arguments, parameters=fewer))))


@pytest.mark.parametrize("procedure", [Procedure.PREPARE, Procedure.FINISH])
@pytest.mark.parametrize("move", ["storage", "zeroes-11"])
def test_no_parameter_comes_twice(procedure: Procedure, move: str) -> None:
    capture = captured.load(move)
    call = capture.call(procedure)
    arguments = unpack(call)
    for parameter in arguments.parameters:
        twice = replace(arguments, parameters=(*arguments.parameters, parameter))
        refused(capture, until(capture, procedure, pack(call, twice)))


def test_a_finish_of_another_vm_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.FINISH)
    other = pack(call, unpack(call).replacing("destination_name", "db01"))
    refused(capture, until(capture, Procedure.FINISH, other), "destination_name='db01'")


def test_a_finish_that_is_neither_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.FINISH)
    refused(capture, until(capture, Procedure.FINISH, pack(call, replace(unpack(call), cancelled=2))), "neither")


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
            "<network><interface index='0' vporttype='openvswitch'><portdata>a,b=c</portdata></interface></network>",
            "a,b=c",
        ),
        ("<graphics type='spice' port='1' listen='/x' tlsPort='1'/>", "has a <graphics>"),
        ("<name>other</name>", "another VM"),
        ("<uuid>00000000-0000-0000-0000-000000000000</uuid>", "another UUID"),
        ("<statistics><x><y/></x></statistics>", "not numbers"),
        ("<cpu><model>/etc/shadow</model></cpu>", "strange"),
        ("<cpu><model fallback='a' file='x'>a</model></cpu>", "strange"),
        ("<cpu><numa><cell id='0' memory='1'/></numa></cpu>", "has a <cpu/numa>"),
        ("<cpu><topology sockets='9' dies='1' cores='1' threads='1'/></cpu>", "another topology"),
        ("<hostname>other</hostname>", "2 <hostname>"),
        ("<capabilities/><capabilities/>", "<capabilities>"),
        ("<nbd/>", "2 <nbd>"),
        ("<nbd/><nbd/>", "3 <nbd>"),
        ("<blockDirtyBitmaps><disk><bitmap name='a' alias='b'/></disk></blockDirtyBitmaps>", "has no target"),
        ("<blockDirtyBitmaps><disk target='vda'><bitmap name='a'/></disk></blockDirtyBitmaps>", "has no alias"),
        (
            "<blockDirtyBitmaps><disk target='vda'/><disk target='vda'/></blockDirtyBitmaps>",
            "2 <blockDirtyBitmaps/disk",
        ),
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
    [
        b"",
        b"\0",
        b"x",
        b"<a/>",
        b"<qemu-migration/>",
        b"<qemu-migration x='1'/>",
        b"<qemu-migration>text<name/></qemu-migration>",
        b"\xff",
        b"<!DOCTYPE a><a/>",
    ],
)
def test_another_cookie_is_refused(cookie: bytes) -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.PREPARE)
    refused(capture, until(capture, Procedure.PREPARE, pack(call, replace(unpack(call), cookie=cookie))), "cookie")


def elements(move: str, procedure: Procedure) -> list[str]:
    """Return the parts of a captured cookie that are always there."""
    found = [element.tag for element in cookie_of(move, procedure)]
    may = {Procedure.PREPARE: {"cpu"}, Procedure.FINISH: set()}[procedure]
    return [tag for tag in dict.fromkeys(found) if tag not in may]


def cookie_of(move: str, procedure: Procedure) -> Element:
    return xmltree.fresh(unpack(captured.load(move).call(procedure)).cookie.removesuffix(b"\0").decode())


def with_cookie(capture: Capture, procedure: Procedure, root: Element) -> list[RpcMessage]:
    call = capture.call(procedure)
    data = tostring(root, encoding="unicode").encode() + b"\0"
    return until(capture, procedure, pack(call, replace(unpack(call), cookie=data)))


PARTS = [
    (move, procedure, tag)
    for move in SUCCEEDED
    for procedure in (Procedure.PREPARE, Procedure.FINISH)
    for tag in elements(move, procedure)
]


@pytest.mark.parametrize(("move", "procedure", "tag"), PARTS)
def test_a_cookie_without_a_part_or_with_one_twice_is_refused(move: str, procedure: Procedure, tag: str) -> None:
    capture = captured.load(move)
    less, more = cookie_of(move, procedure), cookie_of(move, procedure)
    # libvirt names a feature only where a VM has it; one of them, every VM.
    part = next(part for part in less if part.tag == tag)
    less.remove(part)
    more.append(copy.deepcopy(part))
    refused(capture, with_cookie(capture, procedure, less))
    refused(capture, with_cookie(capture, procedure, more))


@pytest.mark.parametrize("move", SUCCEEDED)
def test_a_finish_of_a_complete_copy_needs_its_cookie(move: str) -> None:
    capture = captured.load(move)
    call = capture.call(Procedure.FINISH)
    without = replace(unpack(call), cookie=b"")
    refused(capture, until(capture, Procedure.FINISH, pack(call, without)), "the cookie is missing")
    assert unpack(captured.load("abort").call(Procedure.FINISH)).cookie == b""


def test_a_cookie_without_its_nul_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.PREPARE)
    arguments = unpack(call)
    other = pack(call, replace(arguments, cookie=arguments.cookie.removesuffix(b"\0")))
    refused(capture, until(capture, Procedure.PREPARE, other), "has no end")


@pytest.mark.parametrize("name", ["bk:1", "daily/2026-11-28", "Sicherung ü", "a,b=c", "x" * 1023])
def test_a_bitmap_may_have_any_name(name: str) -> None:
    capture = captured.load("storage")
    for procedure in (Procedure.PREPARE, Procedure.FINISH):
        root = cookie_of("storage", procedure)
        bitmaps = SubElement(root, "blockDirtyBitmaps")
        SubElement(SubElement(bitmaps, "disk", target="vda"), "bitmap", name=name, alias=name)
        Libvirtd(capture).send(*with_cookie(capture, procedure, root))


@pytest.mark.parametrize("name", ["", "a\nb", "\x85", "x" * 1024])
def test_what_can_be_no_name_of_a_bitmap_is_refused(name: str) -> None:
    capture = captured.load("storage")
    root = cookie_of("storage", Procedure.PREPARE)
    bitmaps = SubElement(root, "blockDirtyBitmaps")
    SubElement(SubElement(bitmaps, "disk", target="vda"), "bitmap", name=name, alias="a")
    refused(capture, with_cookie(capture, Procedure.PREPARE, root), "has name=")


@pytest.mark.parametrize("value", ["yes", "no"])
def test_whether_a_vm_may_reboot_may_be_told(value: str) -> None:
    """libvirt before 8 tells, for a QEMU that cannot be told later; libvirt 9 does not read it."""
    capture = captured.load("plain")
    root = cookie_of("plain", Procedure.PREPARE)
    SubElement(root, "allowReboot", value=value)
    Libvirtd(capture).send(*with_cookie(capture, Procedure.PREPARE, root))


def test_a_cookie_with_a_second_part_behind_its_nul_is_refused() -> None:
    capture = captured.load("plain")
    call = capture.call(Procedure.PREPARE)
    arguments = unpack(call)
    assert arguments.cookie.endswith(b"\0")
    other = pack(call, replace(arguments, cookie=arguments.cookie + b"<domain/>\0"))
    refused(capture, until(capture, Procedure.PREPARE, other), "after its end")
