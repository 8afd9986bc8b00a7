"""The source's side of the commit (docs/design.md, The commit).

What is put on record before its libvirt can let go of the VM, and what is found out when that goes wrong.
"""

import hmac
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from vmferry.core import codes
from vmferry.core.errors import InternalError, VmferryError
from vmferry.core.messages.vm import Ending, Presence
from vmferry.core.move.events import CommitFound
from vmferry.core.move.judgement import judge
from vmferry.jobs.decision import Decision
from vmferry.jobs.persist import Persistence, why

_TICK = 0.5
_WORD_LIMIT = 3.0  # seconds for the destination's word to come once its libvirt's reply is here
_EVENTS_LIMIT = 2.0  # seconds for libvirt's events to come once its job is over
_LOOK_AGAIN = 0.05

log = logging.getLogger("vmferry.transfer")


class Looked(Protocol):
    """What is asked about the VM here (hypervisor/domains.py)."""

    def settle(self, uuid: str) -> None:
        """Wait until libvirt is no more at work on it."""

    def presence(self, uuid: str) -> Presence:
        """Return how it stands."""

    def ending(self, uuid: str) -> Ending:
        """Return how it ended."""


class Lock(Protocol):
    """Keeps the VM from being started here (jobs/startlock.py)."""

    def prepare(self) -> None:
        """Write it down without effect."""

    def hold(self) -> None:
        """Put it into force."""


class Running(Protocol):
    """The migration of this process (hypervisor/migration.py)."""

    done: threading.Event

    @property
    def resumed(self) -> bool | None:
        """Whether the VM has run here since it was stopped for the switch; None: not known."""

    @property
    def ending(self) -> Ending | None:
        """How it ended here; None: nothing told of an end."""


def digest(reply: bytes) -> str:
    """Return what the destination's worker says of the reply of its libvirt to Finish, for the source to compare."""
    return sha256(reply).hexdigest()


class Commit:
    """One commit, for the threads of the source's worker.

    Arguments:
        decision: that it is about.
        domains: the VMs of this host.
        lock: of the VM.
        uuid: of the VM.
        mark: a file that does not outlive this host's next start. It tells a later worker whether libvirt was given the
            reply. Without it the host was started anew, so that the VM ended with this worker.
        doubt: puts on record what is waited for.
    """

    def __init__(
        self,
        decision: Decision,
        domains: Looked,
        lock: Lock,
        uuid: str,
        mark: Path,
        doubt: Callable[[str], None],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.decision = decision
        self.migration: Running | None = None
        self._domains = domains
        self._lock = lock
        self._uuid = uuid
        self._mark = mark
        self._doubt = doubt
        self._sleep = sleep
        self._persistence = Persistence(doubt, sleep)
        self._word = threading.Event()
        self._said = ""
        self._over_at: float | None = None

    def prepare(self) -> None:
        """Make ready what must be quick and need no space later.

        Raises:
            InternalError: start-lock-failed, or internal: the mark cannot be made.
        """
        self._lock.prepare()
        try:
            self._mark.write_bytes(b"-")
        except OSError as error:
            raise self._unmarked(error) from error

    def take(self, **detail: Any) -> bool:
        """Decide, and lock the VM here: its libvirt has called Finish. False: the move was given up.

        Raises:
            InternalError: database-failed or start-lock-failed, or internal: the mark cannot be written.
        """
        self._write(b"c")
        if not self.decision.commit(**detail):
            return False
        self._lock.hold()
        return True

    def hear(self, said: str) -> None:
        """Take the destination's word on what its libvirt replied to Finish; empty: none will come.

        Only a message that shows whose it is may come here (transfer/transport/seal.py, or TLS).
        """
        self._said = said
        self._word.set()

    def pass_on(self, reply: bytes, *, said: bool) -> bool:
        """Return whether libvirt may have a reply that says that the VM is the destination's.

        Nothing shows by itself whose a reply is where the session is not encrypted: somebody on the way may have made
        it, and this host would end the only copy.

        Arguments:
            reply: the message.
            said: whether the destination's worker says what it is.

        Raises:
            InternalError: internal; the mark cannot be written.
        """
        if said:
            self._word.wait(_WORD_LIMIT)
            if not hmac.compare_digest(self._said, digest(reply)):
                log.error("a reply came that ends the VM here, and the destination has not sent it: it is dropped")
                return False
        self._write(b"r")
        return True

    def find_out(self, **detail: Any) -> None:
        """Find out what a broken commit came to. A choice is journaled, then taken.

        Nothing is concluded while libvirt is still at work: a VM that stands still may be resumed or ended any moment.

        Arguments:
            detail: what goes into the journal with it.
        """
        migration = self.migration
        if migration is not None and not migration.done.wait(_TICK):
            return
        try:
            self._lock.hold()  # as `take` did unless the worker died
            self._domains.settle(self._uuid)
            found = judge(self._look())
        except VmferryError as error:  # libvirt is away or at work on it, or the lock cannot be written
            self._doubt(f"whether the VM was handed over is not known yet: {why(error)}")
            self._sleep(0.2)  # none of these gives a sign when it is over
            return
        if found is None:
            self._sleep(_LOOK_AGAIN)
            return
        verdict, reason = found
        self._persistence.take(
            "what became of the VM cannot be written down", lambda: self.decision.decide(verdict, reason, **detail)
        )

    def _look(self) -> CommitFound:
        """Return what can be told of the VM now."""
        presence = self._domains.presence(self._uuid)
        if presence not in (Presence.OFF, Presence.ABSENT):
            return CommitFound(presence)
        migration = self.migration
        resumed, ending = (None, None) if migration is None else (migration.resumed, migration.ending)
        told = ending is not None
        waited = told or resumed is None or self._waited()
        if ending is None:
            ending = self._domains.ending(self._uuid) if waited else Ending.UNKNOWN
        return CommitFound(presence, ending, told, resumed, self._read(), waited)

    def _waited(self) -> bool:
        now = time.monotonic()
        self._over_at = self._over_at or now
        return now - self._over_at > _EVENTS_LIMIT

    def _write(self, state: bytes) -> None:
        try:
            handle = os.open(self._mark, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(handle, state, 0)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unmarked(error) from error

    def _unmarked(self, error: OSError) -> InternalError:
        return InternalError(codes.INTERNAL, why=f"{self._mark}: {error.strerror}")

    def _read(self) -> bool | None:
        """Return whether libvirt was given the reply; None: nothing tells."""
        with suppress(OSError):
            return {b"c": False, b"r": True}.get(self._mark.read_bytes())
        return None
