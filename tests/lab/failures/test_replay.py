"""Captured calls of libvirt 9 and 11, each with a part left out, doubled or changed, against real libvirtds.

Each goes through the guard. What it lets pass reaches the libvirtd of a host, which must live, and must have no VM but
the granted one. A few of them are in `make test`, all in `make campaign`.
"""

import copy
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from xml.etree.ElementTree import Element, tostring

import pytest
from tests.lab.harness import Pair, processes
from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import Arguments, Capture, pack, unpack

from vmferry.core.errors import AccessError
from vmferry.core.libvirt import xmltree
from vmferry.lab.host import LabHost
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.guard import Authorised, Guard
from vmferry.transfer.rpc.protocol import Procedure, RpcMessage, Splitter

pytestmark = pytest.mark.lab

NAME = "replayed"
UUID = "5f0d4a2e-0000-4000-8000-000000000077"
FOLDER = "/var/lib/libvirt/images/replay"
XML = f"""<domain type='qemu'><name>{NAME}</name><uuid>{UUID}</uuid><memory unit='KiB'>65536</memory>
<vcpu placement='static'>1</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{FOLDER}/a.raw'/><backingStore/>
<target dev='vda' bus='virtio'/></disk></devices></domain>"""
MOVES = ("plain", "zeroes-11", "storage-11")


@dataclass
class Tally:
    """What became of the changed calls."""

    refused: int = 0
    passed: int = 0


def granted(capture: Capture) -> Authorised:
    """Return what a capture was granted, for a VM that any host can start."""
    mirrored = ("vda",) if capture.authorised.migrate_disks else ()
    uris = {"memory_uri": f"unix://{FOLDER}/memory.sock", "disks_uri": f"unix://{FOLDER}/disk.sock"}
    changes = {"vm": NAME, "uuid": UUID, "live_xml": XML, "migrate_disks": mirrored, "channels": 0, "bandwidth": 0}
    flags = capture.authorised.flags & ~0x20000  # no multifd: the simplest QEMU that waits
    return replace(capture.authorised, flags=flags, **uris, **changes)  # type: ignore[arg-type]


def adapted(capture: Capture, procedure: Procedure) -> tuple[RpcMessage, Arguments]:
    """Return a captured call, for the VM that is granted here."""
    call, allowed = capture.call(procedure), granted(capture)
    arguments = unpack(call)
    root = xmltree.fresh(arguments.cookie.removesuffix(b"\0").decode())
    for tag, text in (("name", NAME), ("uuid", UUID)):
        for element in root.findall(tag):
            element.text = text
    for nbd in root.findall("nbd"):
        for disk in nbd.findall("disk")[1:]:
            nbd.remove(disk)
    for cpu in root.findall("cpu"):
        root.remove(cpu)
    xml = next(parameter for parameter in arguments.parameters if parameter.name == "destination_xml")
    parameters = [replace(xml, value=XML), *allowed.parameters()]
    if procedure == Procedure.FINISH:
        parameters.append(replace(xml, name="destination_name", value=NAME))
    cancelled = None if procedure == Procedure.PREPARE else 1
    cookie = tostring(root, encoding="unicode").encode() + b"\0"
    return call, Arguments(tuple(parameters), cookie, allowed.flags, cancelled)


def variants(arguments: Arguments) -> Iterator[Arguments]:
    """Change one thing at a time: leave out, double, change each parameter and each part of the cookie."""
    for at, parameter in enumerate(arguments.parameters):
        rest = arguments.parameters[:at] + arguments.parameters[at + 1 :]
        other = replace(parameter, value=f"{parameter.value}x")
        for parameters in (rest, (*arguments.parameters, parameter), (*rest, other)):
            yield replace(arguments, parameters=parameters)
    yield replace(arguments, cookie=b"")
    yield replace(arguments, cookie=b"\0")
    yield replace(arguments, cookie=arguments.cookie[:-1])
    for number in range(len(list(_elements(arguments)))):
        for change in (_without, _twice, _emptied, _odd):
            root = xmltree.fresh(arguments.cookie.removesuffix(b"\0").decode())
            parent, child = list(_pairs(root))[number]
            change(parent, child)
            yield replace(arguments, cookie=tostring(root, encoding="unicode").encode() + b"\0")


def _elements(arguments: Arguments) -> Iterator[tuple[Element, Element]]:
    yield from _pairs(xmltree.fresh(arguments.cookie.removesuffix(b"\0").decode()))


def _pairs(root: Element) -> Iterator[tuple[Element, Element]]:
    for parent in root.iter():
        for child in parent:
            yield parent, child


def _without(parent: Element, child: Element) -> None:
    parent.remove(child)


def _twice(parent: Element, child: Element) -> None:
    parent.append(copy.deepcopy(child))


def _emptied(_parent: Element, child: Element) -> None:
    child.attrib.clear()
    child.text = ""
    for one in list(child):
        child.remove(one)


def _odd(_parent: Element, child: Element) -> None:
    for key in child.attrib:
        child.set(key, "18446744073709551615")
    if not len(child):
        child.text = "18446744073709551615"


class Session:
    """A source that goes through the guard to a host's libvirtd."""

    def __init__(self, host: LabHost, capture: Capture) -> None:
        self._guard = Guard(granted(capture))
        self._splitter = Splitter()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30.0)
        self._socket.connect(f"/proc/{host.pid}/root/run/libvirt/libvirt-sock")

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def call(self, message: RpcMessage) -> None:
        """Make a call and wait for its answer.

        Raises:
            AccessError: the guard refuses it.
        """
        assert self._guard.check_call(message) is None
        self._socket.sendall(message.raw)
        while True:
            data = self._socket.recv(1 << 16)
            assert data, "libvirtd closed the connection"
            for reply in self._splitter.feed(data):
                answer = self._guard.see_reply(reply)
                if answer is None:
                    return
                self._socket.sendall(answer)


def play(host: LabHost, capture: Capture, prepare: Arguments, finish: Arguments) -> bool:
    """Make a migration's calls up to its end; returns whether the guard let all of them pass."""
    try:
        with Session(host, capture) as session:
            for call in captured.calls(capture):
                if call.procedure == Procedure.PREPARE:
                    session.call(pack(call, prepare))
                elif call.procedure == Procedure.FINISH:
                    session.call(pack(call, finish))
                else:
                    session.call(protocol.read(call.raw))
    except AccessError as error:
        if "came when the calls were" not in error.reason:  # libvirt refused Prepare, so that Finish is out of order
            return False
    return True


def replay(host: LabHost, move: str, most: int | None) -> Tally:
    host.run("mkdir", "-m", "0777", FOLDER)
    try:
        return _replay(host, move, most)
    finally:
        host.run("rm", "-r", FOLDER)


def _replay(host: LabHost, move: str, most: int | None) -> Tally:
    capture = captured.load(move)
    (_, prepare), (_, finish) = adapted(capture, Procedure.PREPARE), adapted(capture, Procedure.FINISH)
    found = [(changed, finish) for changed in variants(prepare)] + [(prepare, changed) for changed in variants(finish)]
    random.Random(move).shuffle(found)
    host.run("truncate", "-s", "16M", f"{FOLDER}/a.raw")
    before = processes(host, "libvirtd --pid-file")
    assert play(host, capture, prepare, finish)
    tally = Tally()
    for changed in islice(_cheap(capture, found), most):
        if play(host, capture, *changed):
            tally.passed += 1
        else:
            tally.refused += 1
        assert processes(host, "libvirtd --pid-file") == before, changed
    names = host.run("virsh", "list", "--all", "--name").stdout.split()
    assert set(names) <= {NAME}
    return tally


def _cheap(capture: Capture, found: list[tuple[Arguments, Arguments]]) -> Iterator[tuple[Arguments, Arguments]]:
    """Put those first that reach libvirtd; what the guard refuses at once is in tests/transfer, too."""
    judged = [(_passes(capture, changed), changed) for changed in found]
    yield from (changed for passes, changed in judged if passes)
    yield from (changed for passes, changed in judged if not passes)


def _passes(capture: Capture, changed: tuple[Arguments, Arguments]) -> bool:
    libvirtd = captured.Libvirtd(replace(capture, authorised=granted(capture)))
    by_procedure = dict(zip((Procedure.PREPARE, Procedure.FINISH), changed, strict=True))
    try:
        for call in captured.calls(capture):
            known = by_procedure.get(Procedure(call.procedure))
            libvirtd.send(pack(call, known) if known else call)
    except AccessError:
        return False
    return True


@pytest.mark.parametrize("move", MOVES[:2])
def test_a_few_changed_calls(paired: Pair, move: str) -> None:
    paired.clean()
    tally = replay(paired.two, move, 6)
    assert tally.passed + tally.refused == 6


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("move", MOVES)
def test_all_changed_calls(paired: Pair, move: str) -> None:
    paired.clean()
    for host in paired.hosts:
        tally = replay(host, move, None)
        print(f"\n{move} on {host.name}: {tally.passed} passed, {tally.refused} refused")
        assert tally.refused > tally.passed > 0
