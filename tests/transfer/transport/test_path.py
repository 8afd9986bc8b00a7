"""Each path has its own window: what one cannot take goes over another."""

import pytest
from tests.transfer.double import Wire
from tests.transfer.fuzz_wire import Script
from tests.transfer.wire import HERE, LIMIT, credentials, listening

from vmferry.core.policy.networks import Local, Route
from vmferry.transfer.session.sender import Sender
from vmferry.transfer.session.session import Session
from vmferry.transfer.session.unacked import Unacked
from vmferry.transfer.transport.buffers import Pool
from vmferry.transfer.transport.carrier import Carrier, Label
from vmferry.transfer.transport.frames import HEADER
from vmferry.transfer.transport.path import Path

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_path_asks_for_acknowledgements_before_it_is_full() -> None:
    path = Path("a -> b", "eth0")
    size = path.window.limit // 16
    asked = [path.sent(size) for _ in range(16)]
    assert asked == [False, True] * 7 + [True, True]
    assert not path.fits(1)
    path.inflight -= size
    assert path.fits(size)


def test_what_a_path_tells_of_itself() -> None:
    wire = Wire(delay=0.01)
    mine = credentials("source", encryption=False)
    with listening(credentials("destination", encryption=False), wire) as listener:
        dialed = Session.dial(Route(*listener.addresses[0], Local("192.0.2.7")), mine, transport=wire)
        accepted = listener.accept(LIMIT)
        (path,) = dialed.paths
        assert (path.name, path.interface, path.rate) == (f"192.0.2.7 -> {HERE}", "mem0", None)
        assert path.round_trip is not None
        assert 0.02 <= path.round_trip < LIMIT
        dialed.close()
        accepted.close()


def test_what_one_path_cannot_take_goes_over_another() -> None:
    sender = Sender(Pool(), lambda: None, lambda _reason, _epoch: None)
    labels = [Label(f"192.0.2.{last}", HERE, 6610, forward=True, encrypted=False) for last in (7, 8)]
    carriers = [Carrier(Script(), label) for label in labels]
    for carrier in carriers:
        sender.add(carrier, 0.001)
    first, second = sender.paths()
    first.window.limit = 1 << 20
    second.window.limit = 4 << 20
    streams = [Unacked(number) for number in range(1, 9)]
    for unacked in streams:
        sender.register(unacked)
    size = 1 << 17
    for _ in range(5):
        for unacked in streams:
            sender.data(unacked, memoryview(bytearray(HEADER.size + size)), size, None)
    assert first.inflight == first.window.limit
    assert second.inflight == 40 * size - first.inflight
    sender.acknowledge(streams[0], streams[0].offset, 1 << 30, 0)
    assert first.inflight + second.inflight == 35 * size
    sender.lose(carriers[0], "it broke")
    assert (first.inflight, second.inflight) == (0, 35 * size)
    assert [path.name for path in sender.paths()] == [second.name]
    sender.fail(ConnectionAbortedError("over"))
    sender.close()
