"""The source's side of the commit: whose reply libvirt hears, and what is concluded from a VM that is off."""

import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.transfer.rpc import captured
from tests.transfer.rpc.test_relay import LIMIT, Way, pair

from vmferry.core import codes
from vmferry.core.errors import InternalError, UnreachableError
from vmferry.core.job import Phase
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move.phases import Verdict
from vmferry.jobs.decision import Decision
from vmferry.transfer.rpc.protocol import Procedure, RpcMessage
from vmferry.transfer.rpc.relay import CommittingRelay, GuardedRelay
from vmferry.transfer.session.stream import Stream
from vmferry.transfer.worker import commit
from vmferry.transfer.worker.commit import Commit, digest

__all__ = ["pair"]  # a fixture

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


class World:
    """The VM at the source, its lock, its migration, and the journal."""

    def __init__(self, folder: Path, verdict: Verdict = Verdict.OPEN) -> None:
        self.done = threading.Event()
        self.done.set()
        self.resumed: bool | None = False
        self.ending: Ending | None = None
        self.told = Ending.UNKNOWN  # by libvirt when it is asked
        self.stands = [Presence.OFF]
        self.journal: list[tuple[Phase, dict[str, Any]]] = []
        self.held = False
        self.doubts: list[str] = []
        self.folder = folder
        self.commit = self.worker(verdict)

    def worker(self, verdict: Verdict) -> Commit:
        decision = Decision(lambda phase, wait=0.0, **detail: self.journal.append((phase, detail)), verdict)
        domains = Domains(self)
        return Commit(decision, domains, self, UUID, self.folder / "commit", self.doubts.append, lambda _seconds: None)

    def prepare(self) -> None:
        pass

    def hold(self) -> None:
        self.held = True

    def settled(self) -> Verdict:
        while self.commit.decision.verdict is Verdict.COMMITTING:
            self.commit.find_out(suspended=False)
        return self.commit.decision.verdict


class Domains:
    """libvirt at the source."""

    def __init__(self, world: World) -> None:
        self.world = world

    def settle(self, uuid: str) -> None:
        assert uuid == UUID
        assert self.world.held

    def presence(self, uuid: str) -> Presence:
        stands = self.world.stands
        return stands.pop(0) if len(stands) > 1 else stands[0]

    def ending(self, uuid: str) -> Ending:
        return self.world.told


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def _begun(world: World, *, replied: bool) -> None:
    """Go to where libvirt called Finish, or was given the reply."""
    world.commit.prepare()
    assert world.commit.take(suspended=False)
    if replied:
        world.commit.hear(digest(b"reply"))
        assert world.commit.pass_on(b"reply", said=True)


@pytest.mark.parametrize(
    ("ending", "resumed", "verdict"),
    [
        (Ending.MIGRATED, False, Verdict.GO),
        (Ending.HERE, True, Verdict.ABORT),  # the reply was lost, the guest ran on, and powered itself off
        (Ending.HERE, False, Verdict.ABORT),  # somebody destroyed it as it stood still
        (Ending.UNKNOWN, True, Verdict.ABORT),  # it ran on, and its QEMU was killed
        (Ending.UNKNOWN, False, Verdict.GO),  # its QEMU was killed as it stood still: only the copy has its memory
    ],
)
@pytest.mark.parametrize("replied", [False, True])
def test_a_vm_that_ended_by_itself_was_not_handed_over(
    world: World, ending: Ending, resumed: bool, verdict: Verdict, replied: bool
) -> None:
    _begun(world, replied=replied)
    world.commit.migration = world
    world.ending, world.resumed = ending, resumed
    assert world.settled() is verdict
    assert world.journal[-1][0] is (Phase.GOING if verdict is Verdict.GO else Phase.UNDOING)


@pytest.mark.parametrize("told", list(Ending))
@pytest.mark.parametrize("replied", [None, False, True], ids=["host restarted", "no reply", "replied"])
@pytest.mark.parametrize("life", ["another worker", "libvirtd restarted"])
def test_a_worker_that_did_not_see_it_goes_by_what_libvirt_was_given(
    world: World, told: Ending, replied: bool | None, life: str
) -> None:
    _begun(world, replied=bool(replied))
    if replied is None:
        (world.folder / "commit").unlink()
    if life == "another worker":
        world.commit, world.held = world.worker(Verdict.COMMITTING), False
    else:
        world.commit.migration, world.resumed = world, None
    world.told = told
    gone = told is Ending.MIGRATED or (told is Ending.UNKNOWN and replied is not False)
    assert world.settled() is (Verdict.GO if gone else Verdict.ABORT)


def test_an_end_that_was_not_told_yet_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transient VM is gone when it is off, so that libvirt cannot be asked how it ended."""
    _begun(world, replied=False)
    world.commit.migration = world
    world.stands = [Presence.ABSENT]
    world.commit.find_out()
    assert world.commit.decision.verdict is Verdict.COMMITTING
    world.resumed, world.ending = True, Ending.HERE
    assert world.settled() is Verdict.ABORT


@pytest.mark.parametrize("presence", [Presence.RUNNING, Presence.CRASHED, Presence.PAUSED])
def test_a_vm_that_is_still_here_is_this_hosts(world: World, presence: Presence) -> None:
    _begun(world, replied=True)
    world.stands = [Presence.BUSY, presence]
    assert world.settled() is Verdict.ABORT


def test_nothing_is_concluded_while_libvirt_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _begun(world, replied=False)
    asked = iter([UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="Connection refused")])

    def ending(_uuid: str) -> Ending:
        for error in asked:
            raise error
        return Ending.MIGRATED

    monkeypatch.setattr(world.commit._domains, "ending", ending)
    world.commit.find_out()
    assert world.commit.decision.verdict is Verdict.COMMITTING
    assert "Connection refused" in world.doubts[0]
    assert world.settled() is Verdict.GO


def _replies(move: str = "plain") -> tuple[list[RpcMessage], RpcMessage]:
    """Return the calls of a move up to Finish, and the reply to that."""
    capture = captured.load(move)
    finish = capture.call(Procedure.FINISH)
    calls = captured.calls(capture)
    reply = next(m for w, m in capture.messages if w == "<" and m.serial == finish.serial and m.procedure == 306)
    return calls[: calls.index(finish) + 1], reply


@pytest.mark.parametrize("said", ["nothing", "of another reply", "given up", "of this one", "by an older release"])
def test_a_forged_reply_does_not_end_the_vm(
    pair: tuple[socket.socket, socket.socket], world: World, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """On a way without encryption anybody can say that the destination's libvirt has the VM."""
    monkeypatch.setattr(commit, "_WORD_LIMIT", 0.1 if said == "nothing" else LIMIT)
    ours, libvirtd = pair
    way = Way()
    read: queue.SimpleQueue[bool] = queue.SimpleQueue()
    relay = CommittingRelay(cast(Stream, way), ours)
    relay.on_commit = lambda: world.commit.take(suspended=False)
    relay.on_reply = lambda reply: world.commit.pass_on(reply, said=said != "by an older release")
    relay.on_read = read.put
    world.commit.prepare()
    relay.start()
    calls, reply = _replies()
    for message in calls:
        libvirtd.sendall(message.raw)
        assert way.sent.get(timeout=LIMIT) == message.raw
    words = {"of another reply": digest(reply.raw + b"x"), "given up": "", "of this one": digest(reply.raw)}
    if said in words:
        threading.Timer(0.05, world.commit.hear, [words[said]]).start()  # after the reply, as it may come
    way.comes.put(reply.raw)
    if said in ("of this one", "by an older release"):
        assert libvirtd.recv(len(reply.raw), socket.MSG_WAITALL) == reply.raw
        assert read.get(timeout=LIMIT)
        return
    assert libvirtd.recv(1 << 16) == b""  # libvirt is cut off, and lets the VM run on
    assert read.empty()
    world.stands = [Presence.RUNNING]
    assert world.settled() is Verdict.ABORT


def test_the_destination_says_what_its_libvirt_replied_before_that_passes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, libvirtd = pair
    capture = captured.load("plain")
    way = Way()
    said: list[bytes] = []

    def finished(reply: bytes) -> None:
        assert way.sent.empty()
        said.append(reply)

    relay = GuardedRelay(cast(Stream, way), ours, capture.authorised)
    relay.on_finished = finished
    relay.start()
    for way_there, message in capture.messages:
        if message.program != 0x20008086:
            continue
        if way_there == ">":
            way.comes.put(message.raw)
            libvirtd.recv(len(message.raw), socket.MSG_WAITALL)
        else:
            libvirtd.sendall(message.raw)
            assert way.sent.get(timeout=LIMIT) == message.raw
    assert said == [_replies()[1].raw]


@pytest.mark.parametrize("state", [b"c", b"r"])
def test_a_mark_that_cannot_be_written_is_no_commit(world: World, state: bytes) -> None:
    mark: Callable[[], object] = world.commit.prepare
    mark()
    (world.folder / "commit").unlink()
    with pytest.raises(InternalError, match="commit: No such file"):
        world.commit.take() if state == b"c" else world.commit.pass_on(b"reply", said=False)
    assert world.journal == []
