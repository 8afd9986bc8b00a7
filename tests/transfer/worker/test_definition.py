"""A definition that was changed while its VM was copied, at the source; the lab has the destination's half."""

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.test_spec import make
from tests.preflight.make import proposal, xml
from tests.transfer.worker.ends import CUT

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.messages.offer import Offer
from vmferry.core.move import messages
from vmferry.core.move.events import LinkBroken, MessageHeard, TimePassed, WorkerEvent
from vmferry.core.move.messages import Define, NotRedefined, Redefined, WorkerMessage
from vmferry.core.text import cleaned
from vmferry.jobs.spec import Spec
from vmferry.transfer.worker import definition
from vmferry.transfer.worker.definition import Teller

TITLED = xml().replace("</uuid>", "</uuid><title>new</title>")
REFUSED = VmferryError(codes.DEFINITION_REFUSED, host="kvm2", vm="web01", why="its disk vdb is not moved with it")
DONE = MessageHeard(Redefined())
NOT = MessageHeard(NotRedefined(problem=REFUSED.problem()))
BROKEN = LinkBroken(CUT)

Seen = tuple[str, bool] | None


class Side:
    """The source's libvirt and its session with the destination."""

    def __init__(self, *seen: Seen, answers: tuple[WorkerEvent, ...] = ()) -> None:
        self._seen = deque(seen)
        self._answers = deque(answers)
        self.said: list[tuple[str | None, bool]] = []

    def definition(self, _uuid: str) -> Seen:
        return self._seen.popleft() if len(self._seen) > 1 else self._seen[0]

    def say(self, message: WorkerMessage) -> bool:
        assert isinstance(message, Define)
        sent = messages.write(message)
        assert cleaned(sent) == sent, "what reaches the other host is made printable"
        self.said.append((None if message.xml is None else definition._unpacked(message.xml), message.autostart))
        return bool(self._answers)

    def next_event(self, _timeout: float) -> WorkerEvent:
        return self._answers.popleft()

    def teller(self, folder: Path, todo: Spec | None = None, **offered: Any) -> Teller:
        return Teller(folder, todo or work(**offered), self, self.say, self.next_event)

    def tell(self, folder: Path, *, started: bool = True, **offered: Any) -> str | None:
        left = self.teller(folder, **offered).tell(started)
        return left[0] if left else None


def work(**offered: Any) -> Spec:
    offer = Offer(**dict(proposal(**offered)), job="0123456789ab", certificate="PEM")
    return make().model_copy(update={"offer": offer})


def test_a_definition_that_is_as_it_was_offered_is_not_told(tmp_path: Path) -> None:
    for seen in ((xml(), True), (f"\n{xml()}", True), (xml(), False)):  # the autostart may have gone here already
        side = Side(seen)
        assert side.tell(tmp_path) is None
        assert side.said == []
    side = Side(None)
    transient = work().model_copy(update={"offer": work().offer.model_copy(update={"persistent": False})})
    assert side.teller(tmp_path, transient).tell(False) == []
    assert side.said == []


def test_what_was_changed_is_told_until_the_destination_has_it(tmp_path: Path) -> None:
    other = TITLED.replace("new", "newer")
    side = Side((TITLED, True), (other, True), answers=(TimePassed(), DONE, DONE))
    assert side.tell(tmp_path) is None
    assert side.said == [(TITLED, True), (other, True)]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_an_autostart_that_was_changed_meanwhile_goes_along_though_it_was_taken_away_here(
    tmp_path: Path, before: bool, started: bool
) -> None:
    """What is read of the definition is off by then; how it was when it was taken away counts."""
    side = Side((xml(), False), answers=(DONE,) * 2)
    assert side.tell(tmp_path, started=started, autostart=before) is None
    assert [autostart for _, autostart in side.said] == ([] if started is before else [started])


def test_an_autostart_that_was_set_meanwhile_goes_along(tmp_path: Path) -> None:
    side = Side((xml(), True), answers=(DONE,))
    assert side.tell(tmp_path, autostart=False) is None
    assert side.said == [(xml(), True)]


@pytest.mark.parametrize(("answers", "why"), [((NOT,), "vdb is not moved"), ((BROKEN,), "answer"), ((), "answer")])
def test_what_is_not_taken_over_is_kept_and_named(tmp_path: Path, answers: tuple[WorkerEvent, ...], why: str) -> None:
    left = Side((TITLED, True), answers=answers).tell(tmp_path)
    kept = tmp_path / "definitions" / "0123456789ab.xml"
    assert left is not None
    assert why in left
    assert str(kept) in left
    assert kept.read_text() == TITLED
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_vm_that_was_undefined_is_undefined_there_or_named(tmp_path: Path) -> None:
    side = Side(None, answers=(DONE,))
    assert side.tell(tmp_path) is None
    assert side.said == [(None, True)]
    left = Side(None, answers=(BROKEN,)).tell(tmp_path)
    assert left is not None
    assert "`virsh undefine web01 --keep-nvram`" in left
    assert not (tmp_path / "definitions").exists()


def test_a_definition_that_never_rests_is_kept_in_the_end(tmp_path: Path) -> None:
    seen = [(TITLED.replace("new", f"new{number}"), True) for number in range(9)]
    left = Side(*seen, answers=(DONE,) * 9).tell(tmp_path)
    assert left is not None
    assert "again and again" in left


@pytest.mark.parametrize("last", [(TITLED, False), None])
def test_what_is_changed_after_the_last_look_is_told_as_it_is_taken_away(tmp_path: Path, last: Seen) -> None:
    side = Side((xml(), False), answers=(DONE,))
    teller = side.teller(tmp_path)
    assert teller.tell(True) == []
    assert teller.tell_last(last, True) == []
    assert side.said == [(last and last[0], True)]


def test_a_definition_that_is_taken_away_as_it_was_told_is_told_once(tmp_path: Path) -> None:
    side = Side((TITLED, False), answers=(DONE,))
    teller = side.teller(tmp_path)
    assert teller.tell(True) + teller.tell_last((TITLED, False), True) == []
    assert len(side.said) == 1
