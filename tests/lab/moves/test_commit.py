"""The commit: cut or killed at every message around the switch, one host runs the VM and never two."""

import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from tests.lab.harness import END_LIMIT, Pair, begin, kill, processes, wait
from tests.lab.steps import other, wait_clean
from tests.lab.tap import Tap, exactly

from vmferry.lab.vms.vm import Guest, GuestDisk, state
from vmferry.transfer.rpc import protocol
from vmferry.transfer.transport import frames

pytestmark = pytest.mark.lab

_GUEST = Guest(memory=128, busy=16, rate=5, disks=(GuestDisk(size=128, filled=20),))
_ORDINARY = [
    *(("rpc>306", before) for before in (True, False)),
    *(("rpc<306", before) for before in (True, False)),
    *(("control>go", before) for before in (True, False)),
    ("control<went", True),
    ("control<defined", True),
]
_CAMPAIGN = [
    (at, before)
    for at in (
        *("rpc<303", "rpc>361", "rpc<361", "rpc>2", "rpc<2", "control<went", "control<defined"),
        *("DATA>", "DATA<", "ACK>", "ACK<", "FIN>", "FIN<"),
    )
    for before in (True, False)
    if (at, before) not in _ORDINARY
]
_KILLED = [
    (at, before, side, what)
    for at, before in (
        *(("rpc>306", True), ("rpc<306", True), ("rpc<306", False)),
        *(("control>go", True), ("control>go", False)),
    )
    for side in ("source", "destination")
    for what in ("bin/vmferry-transfer", "libvirtd --pid-file")
]


def _one_runs(pair: Pair, at: str, before: bool, action: Callable[[], bool]) -> None:
    """Move with something happening at one event; see that the VM then runs on one host, and what is left."""
    pair.start(_GUEST)
    tap = Tap(pair.one, pair.two, at, before=before, action=action)
    with tap.running():
        job = begin(pair.one, _GUEST.name, pair.two.name, "--include-storage", "--encryption", "off")
        wait(tap.acted.is_set, 60.0, f"{at}; there were {tap.events}")

        def settled() -> str | None:
            states = [state(host, _GUEST.name) for host in pair.hosts]
            if states.count("running") == 2:  # the switch may have come between the two looks
                states = [state(host, _GUEST.name) for host in pair.hosts]
            assert states.count("running") < 2, f"both run it after {tap.events}"
            return "now" if sorted(states) == ["absent", "running"] else None

        wait(settled, END_LIMIT, "exactly one host to have the VM, running")
        for host in pair.hosts:
            pair.wait_end(host, job)
        for host in pair.hosts:
            host.wait_ready()
        assert settled()
        owner = pair.one if state(pair.one, _GUEST.name) == "running" else pair.two
        print(f"{at} {'before' if before else 'after'}: the VM runs on {owner.name}")
        wait_clean(other(pair, owner))
        pair.assert_only_on(_GUEST, owner)


@pytest.mark.parametrize(
    ("at", "before"), [*_ORDINARY, *(pytest.param(*case, marks=pytest.mark.campaign) for case in _CAMPAIGN)]
)
def test_the_connections_are_cut(pair: Pair, at: str, before: bool) -> None:
    _one_runs(pair, at, before, lambda: True)


@pytest.mark.parametrize(
    ("at", "before", "side", "what"),
    [case if case[0] == "rpc<306" and case[1] else pytest.param(*case, marks=pytest.mark.campaign) for case in _KILLED],
)
def test_a_process_is_killed(pair: Pair, at: str, before: bool, side: str, what: str) -> None:
    def action() -> bool:
        kill(pair.one if side == "source" else pair.two, what)
        return False

    _one_runs(pair, at, before, action)


@pytest.mark.campaign
@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "transient"])
def test_a_vm_that_ran_on_and_ended_before_anybody_looked_was_not_handed_over(pair: Pair, persistent: bool) -> None:
    """The worker dies with the reply in its hands; libvirt lets the VM run on, and it ends before the next worker."""
    pair.start(_GUEST)
    if not persistent:
        pair.one.run("virsh", "undefine", _GUEST.name)
    (supervisor,) = processes(pair.one, "vmferry.supervisor")

    def action() -> bool:
        os.kill(supervisor, signal.SIGSTOP)
        kill(pair.one, "bin/vmferry-transfer")
        return False

    tap = Tap(pair.one, pair.two, "rpc<306", before=True, action=action)
    with tap.running():
        job = begin(pair.one, _GUEST.name, pair.two.name, "--include-storage", "--encryption", "off")
        try:
            wait(tap.acted.is_set, 60.0, f"the switch; there were {tap.events}")
            wait(lambda: state(pair.one, _GUEST.name) == "running", 20.0, "libvirt to let it run on")
            pair.one.run("virsh", "destroy", _GUEST.name)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        for host in pair.hosts:
            assert pair.wait_end(host, job)["state"] == "failed"
    assert state(pair.one, _GUEST.name) == ("shut off" if persistent else "absent")
    wait_clean(pair.two)
    assert Path(_GUEST.disks[0].path(_GUEST.name)).name in {file.name for file in pair.one.images.iterdir()}


class _Forger(Tap):
    """Somebody on the way who keeps libvirt's Finish to themselves and answers it with a success of their own."""

    def __init__(self, pair: Pair, vm: str, uuid: UUID) -> None:
        name = vm.encode()
        # remote_nonnull_domain of src/remote/remote_protocol.x, and a cookie without anything in it
        self._reply = struct.pack(f">I{-(-len(name) // 4) * 4}s16siI", len(name), name, uuid.bytes, 1, 0)
        super().__init__(pair.one, pair.two, "none", before=True, action=lambda: False)
        self._back: socket.socket | None = None

    def _frame(self, one: socket.socket, two: socket.socket, direction: str) -> None:
        head = exactly(one, frames.HEADER.size)
        stream, kind, _, offset, length, _ = frames.parse(head)
        payload = exactly(one, length)
        with self._lock:
            names = self._names(direction, stream, frames.Type(kind), offset, payload)
            self.events += names
            if direction == "<":
                self._back = two
            elif self.acted.is_set():
                return  # the acknowledgement of bytes that were never sent would be noticed
            if "rpc>306" not in names:
                two.sendall(head + payload)
                return
            (call,) = protocol.Splitter().feed(payload)
            false = protocol.build(call.program, call.procedure, protocol.MessageType.REPLY, call.serial, self._reply)
            assert self._back is not None
            taken = self._streams[stream, "<"].taken
            self._back.sendall(frames.pack(stream, frames.Type.DATA, taken, false))
            self.acted.set()


@pytest.mark.campaign
def test_a_forged_reply_on_the_way_does_not_cost_the_vm(pair: Pair) -> None:
    pair.start(_GUEST)
    uuid = UUID(pair.one.run("virsh", "domuuid", _GUEST.name).stdout.strip())
    forger = _Forger(pair, _GUEST.name, uuid)
    with forger.running():
        job = begin(pair.one, _GUEST.name, pair.two.name, "--include-storage", "--encryption", "off")
        wait(forger.acted.is_set, 60.0, f"the switch; there were {forger.events}")
        assert pair.wait_end(pair.one, job)["state"] == "failed"
    pair.wait_end(pair.two, job)
    pair.check(_GUEST, pair.one)
    wait_clean(pair.two)
