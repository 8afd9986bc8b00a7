"""Whether a person has suspended a VM that is being migrated.

libvirt does not tell: a manual stop and its own stop at the switch are both "paused (migrating)" to it. QEMU's events
do. At the switch QEMU stops the guest and reports `pre-switchover`, and does nothing else in between
(migration_completion in migration/migration.c). So a person stopped the VM if QEMU has shown between the two that it
goes on: it began another pass over the memory, or it answered a question. Without such a proof it was the switch.
"""

import json
import threading
import time

_APART = 0.05  # seconds between two answers: the report may be on its way while QEMU gives the first
_AT_WORK = ("setup", "active")
_SWITCH = ("pre-switchover", "device", "completed")

EVENTS = "^(STOP|MIGRATION|MIGRATION_PASS|BLOCK_IO_ERROR)$"
"""The events of QEMU that `hear` wants, as a regular expression (QEMU's qapi/run-state.json, migration.json)."""


class Suspension:
    """Judges the stops of one VM during one migration. Thread-safe.

    Arguments:
        before: whether a person had suspended the VM before.
    """

    def __init__(self, *, before: bool) -> None:
        self._lock = threading.Lock()
        self._stopped = self._proven = before
        self._copying = self._switching = self._failing = self._over = False
        self._stops = 0
        self._answered: float | None = None

    @property
    def by_person(self) -> bool:
        """Whether a person suspended the VM, so that it must stay suspended."""
        return self._stopped and self._proven

    @property
    def unclear(self) -> bool:
        """Whether the VM was stopped and it is not known yet by whom."""
        return self._stopped and not (self._proven or self._switching or self._over)

    def hear(self, event: str, details: str | None) -> None:
        """Take an event of QEMU.

        Arguments:
            event: its name.
            details: its data, JSON; None: it has none.
        """
        data = json.loads(details) if details else {}
        with self._lock:
            if event == "MIGRATION":
                self._copying = data.get("status") in _AT_WORK
                self._switching = data.get("status") in _SWITCH
                self._over = not (self._copying or self._switching)
            elif event == "BLOCK_IO_ERROR":
                self._failing |= data.get("action") == "stop"
            elif event == "STOP" and not self._switching and not self._over:
                # One that has a faulty disk is let run again: its disk is another one at the destination.
                self._stopped, self._failing = not self._failing, False
                self._proven = not self._copying
                self._stops += 1
                self._answered = None
            elif event == "MIGRATION_PASS" and self.unclear:
                self._proven = True

    def resumed(self) -> None:
        """Note that someone resumed the VM; libvirt's own resume after a failure does not count."""
        with self._lock:
            self._stopped = self._proven = False

    def asked(self) -> int:
        """Note that QEMU is about to be asked something; return the argument for `answered`."""
        return self._stops

    def answered(self, asked: int) -> None:
        """Note that QEMU has answered while the migration runs.

        Arguments:
            asked: from before it was asked.
        """
        now = time.monotonic()
        with self._lock:
            if not self.unclear or asked != self._stops:
                return
            if self._answered is None:
                self._answered = now
            elif now - self._answered >= _APART:
                self._proven = True

    def settle(self) -> bool:
        """Wait until QEMU may be asked once more; return whether that is of use."""
        if self.unclear:
            time.sleep(_APART)
        return self.unclear
