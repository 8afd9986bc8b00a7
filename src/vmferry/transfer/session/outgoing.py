"""The connections that a sender can choose from, and the paths that they go over."""

from vmferry.transfer.transport.carrier import Carrier
from vmferry.transfer.transport.path import Path


class OutgoingCarriers:
    """The outgoing connections of one end of a session; the sender's lock guards them."""

    def __init__(self) -> None:
        self.carriers: list[Carrier] = []  # in use
        self.retired: list[Carrier] = []  # nothing more is sent on these, but they wait for acknowledgements
        self.paths: list[Path] = []  # those with a carrier in use
        self._known: dict[str, Path] = {}  # by name: all that there were
        self._gone = 0  # bytes sent on carriers that are gone

    @property
    def all(self) -> list[Carrier]:
        """The carriers that are open."""
        return self.carriers + self.retired

    @property
    def sent(self) -> int:
        """Bytes of frames sent so far."""
        return self._gone + sum(carrier.bytes for carrier in self.all)

    def add(self, carrier: Carrier, round_trip: float) -> None:
        """Take a carrier into use; see Sender.add."""
        if carrier in self.carriers:
            return
        name = carrier.label.path
        if name not in self._known:
            self._known[name] = Path(name, carrier.interface)
        carrier.path = self._known[name]
        carrier.path.window.round_trip(round_trip)
        self.carriers.append(carrier)
        self._find_paths()

    def retire(self, carrier: Carrier) -> None:
        """Choose a carrier no more."""
        if carrier in self.carriers:
            self.carriers.remove(carrier)
            self.retired.append(carrier)
            self._find_paths()

    def remove(self, carrier: Carrier) -> bool:
        """Forget a carrier; returns whether it was there."""
        for held in (self.carriers, self.retired):
            if carrier in held:
                held.remove(carrier)
                self._gone += carrier.bytes
                self._find_paths()
                return True
        return False

    def fits(self, size: int) -> bool:
        """Return whether so many bytes more may be on their way over one of the paths; notes it where not."""
        if any(path.fits(size) for path in self.paths):
            return True
        for path in self.paths:
            path.window.full = True
        return False

    def choose(self, last: Carrier | None, size: int) -> Carrier:
        """Choose a carrier, `last` if it does: a stream that changes to and fro wakes two readers for one.

        It has to change when another thread is sending there, when much more waits there than elsewhere, or when that
        path is full and another is not.
        """
        carriers = self.carriers
        if len(self.paths) > 1:
            carriers = [one for one in carriers if path_of(one).fits(size)] or carriers
        chosen = min(carriers, key=_load)
        usable = last is not None and last in carriers and not (last.queued or last.lost)
        if last and usable and last.unacknowledged - chosen.unacknowledged <= path_of(last).window.limit >> 1:
            chosen = last
        chosen.queued += 1
        return chosen

    def least_loaded(self) -> Carrier:
        """Return the carrier that has least to do; there must be one."""
        return min(self.carriers, key=_load)

    def _find_paths(self) -> None:
        self.paths = list(dict.fromkeys(path_of(carrier) for carrier in self.carriers))


def path_of(carrier: Carrier) -> Path:
    """Return the path of a carrier that was taken into use."""
    assert carrier.path is not None, "it was not taken into use"
    return carrier.path


def _load(carrier: Carrier) -> tuple[int, int]:
    return carrier.queued, carrier.unacknowledged
