"""What comes from the other host's worker, over a real session."""

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from tests.jobs import test_spec
from tests.transfer.wire import sessions

from vmferry.config import Config
from vmferry.core.job import Role
from vmferry.core.move.events import LinkBroken, MessageHeard, TimePassed
from vmferry.core.move.messages import Cancel, Go
from vmferry.store.database import Database
from vmferry.transfer.session.session import Session
from vmferry.transfer.worker.destination import Destination

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[Session, Destination]]:
    """The source's session, and the destination's end of the move."""
    config = Config(
        name="kvm2",
        state_folder=tmp_path / "state",
        run_folder=tmp_path / "run",
        libvirt_uri="test:///default",
        qemu_user=pwd.getpwuid(os.geteuid()).pw_name,
    )
    with Database(config.database) as database, sessions() as (source, destination):
        end = Destination(config, test_spec.make(Role.DESTINATION), database)
        end.adopt(destination)
        yield source, end


def broken(session: Session) -> SimpleQueue[str]:
    reasons: SimpleQueue[str] = SimpleQueue()
    session.on_broken(reasons.put)
    return reasons


def test_a_message_becomes_an_event(ends: tuple[Session, Destination]) -> None:
    source, end = ends
    source.send({"do": "hint", "optional": True})
    source.send({"do": "go", "suspended": True, "later": 1})
    assert end.next_event(10) == MessageHeard(Go(suspended=True))


def test_a_message_is_sent_as_json(ends: tuple[Session, Destination]) -> None:
    source, end = ends
    heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
    source.on_message(heard.put)
    assert end.say(Cancel(caller="ann"))
    assert heard.get(timeout=10) == {"do": "cancel", "caller": "ann"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"do": "pause"}, "no message of the source is called pause"),
        ({"do": "went"}, "no message of the source is called went"),
        ({"do": "go", "suspended": "no"}, "Go suspended"),
        ({"do": "go", "requires": ["post-copy"]}, "post-copy"),
        ({"say": "go"}, "no message of the source"),
    ],
)
def test_a_message_that_breaks_the_protocol_ends_the_session_with_its_reason(
    ends: tuple[Session, Destination], said: dict[str, Any], why: str
) -> None:
    source, end = ends
    reasons = broken(source)
    source.send(said)
    with suppress(OSError):  # the session may have ended by now
        source.send({"do": "go"})
    event = end.next_event(10)
    assert isinstance(event, LinkBroken)
    assert why in event.error.reason
    assert why in reasons.get(timeout=10)
    assert end.next_event(0) == TimePassed(), "nothing is heard after it"
