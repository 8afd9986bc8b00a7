"""A source that says nothing keeps its place for some time, and not for ever."""

import pytest
from tests.transfer.wire import Heard, sessions

from vmferry.transfer.session.keepalive import ping
from vmferry.transfer.worker.silence import Silence

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_only_what_arrives_begins_the_time_anew() -> None:
    now = 0.0
    silence = Silence(10.0, clock=lambda: now)
    seen = []
    for at, arrived in ((0, 0), (9, 0), (11, 0), (12, 5), (21, 5), (23, 5), (24, 6)):
        now = float(at)
        seen.append(silence.too_long(arrived))
    assert seen == [False, False, True, False, False, True, False]


def test_messages_and_streams_count_and_signs_of_life_do_not() -> None:
    with sessions() as (source, destination):
        heard = Heard()
        destination.on_message(heard)
        before = destination.arrived
        ping(source._demux.sender, 0.0)
        source.send({"do": "x"})
        heard.wait(1)
        once = destination.arrived
        assert 0 < once - before < 100
        ping(source._demux.sender, 0.0)
        received = destination.received
        source.send({"do": "x"})
        heard.wait(2)
        assert destination.arrived - once == once - before
        assert destination.received > received
