"""What happens in one run of the campaign of faults: derived from a seed alone, so that any run can be made again."""

import random
from dataclasses import dataclass

SOURCE, DESTINATION = "source", "destination"

# The steps of the two journals at which a fault can begin.
STEPS = (
    *((SOURCE, phase) for phase in ("offered", "admitted", "connecting", "copying", "committing", "going", "settling")),
    *((DESTINATION, phase) for phase in ("admitted", "connecting", "copying", "finishing", "going", "settling")),
)
AT_ANY_TIME = "any time"

# Kinds of faults that are over at once, and those that last. What each does: kinds.py.
AT_ONCE = (
    "worker killed",
    "vmferryd killed",
    "supervisor killed",
    "libvirtd killed",
    "QEMU killed",
    "move cancelled",
    "VM suspended",
    "VM resumed",
    "VM started",
    "VM destroyed",
)
LASTING = (
    "worker stopped",
    "vmferryd stopped",
    "libvirtd stopped",
    "QEMU stopped",
    "libvirtd away",
    "host dead",
    "migration link cut",
    "management link cut",
    "both links cut",
    "migration link slow",
    "database locked",
    "disk folder read-only",
)
KINDS = (*AT_ONCE, *LASTING)

# After these the guest itself may have ended: it then has to be found off on one host, with all that it wrote.
END_GUEST = {"QEMU killed", "VM destroyed", "host dead"}
# QEMU is stopped for less: a guest that stands still is what the whole move avoids, and 5 s show as much as 30.
_LONGEST = {"QEMU stopped": 5.0, "vmferryd stopped": 12.0}

BLOCK = 10  # runs with one VM; then it is made anew, with its disks copied or shared


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Arguments:
        kind: one of KINDS.
        side: the end of the move that it hits.
        at: the journal (SOURCE or DESTINATION) and its step at which the fault begins; (SOURCE, AT_ANY_TIME): at a
            moment after the request that is drawn.
        delay: seconds after that.
        seconds: how long it lasts; 0 for a kind that is over at once.
    """

    kind: str
    side: str
    at: tuple[str, str]
    delay: float
    seconds: float

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.0f} s" if self.seconds else ""
        return f"{self.kind} on the {self.side}{lasting}, {self.delay * 1000:.0f} ms after {' '.join(self.at)}"


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Arguments:
        shared: whether both hosts see the VM's disk, so that nothing of it is copied.
        slow: whether the network is slow, so that copying lasts.
    """

    seed: int
    faults: tuple[Fault, ...]
    shared: bool
    encrypted: bool
    slow: bool

    @property
    def guest_may_end(self) -> bool:
        """Whether a fault of this run can end the guest."""
        return any(fault.kind in END_GUEST for fault in self.faults)


def of(seed: int) -> Run:
    """Return the run of a seed."""
    draw = random.Random(f"vmferry faults {seed}")
    count = 1 if draw.random() < 0.7 else 2
    # Each kind comes first in turn, so that a hundred runs have every kind several times.
    first = KINDS[seed % len(KINDS)]
    kinds = [first, *(draw.choice(KINDS) for _ in range(count - 1))]
    return Run(
        seed=seed,
        faults=tuple(_fault(kind, draw) for kind in kinds),
        shared=(seed // BLOCK) % 3 == 2,
        encrypted=draw.random() < 0.5,
        slow=draw.random() < 0.5,
    )


def _fault(kind: str, draw: random.Random) -> Fault:
    at = draw.choice(STEPS) if draw.random() < 0.8 else (SOURCE, AT_ANY_TIME)
    delay = draw.uniform(0.2, 3.0) if at[1] == AT_ANY_TIME else draw.choice((0.0, draw.uniform(0.0, 0.05), 0.5))
    longest = _LONGEST.get(kind, 25.0)
    seconds = min(longest, draw.choice((1.0, 4.0, 12.0, 25.0))) if kind in LASTING else 0.0
    return Fault(kind, draw.choice((SOURCE, DESTINATION)), at, delay, seconds)
