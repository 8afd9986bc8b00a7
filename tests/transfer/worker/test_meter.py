"""Percent and time left are those of what is sent, from the first value on."""

import pytest

from vmferry.hypervisor.migration import Statistics
from vmferry.transfer.worker.meter import Meter

MIB = 1 << 20
RATE = 36 * MIB  # 300 Mbit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def simulated(holds: int, size: int, used: int, memory: int, dirty: float = 0.0) -> list[tuple[float, float, float]]:
    """Move a VM as libvirt tells of it; gives seconds, percent and estimate (0: none) of each reading.

    Arguments:
        holds: MiB that the disk holds, at its beginning; the rest of `size` is empty.
        used: MiB of memory ever written, at its beginning; the rest of `memory` was never.
        dirty: MiB of memory that the guest writes a second.
    """
    clock = Clock()
    meter = Meter(clock)
    meter.expect(holds * MIB, used * MIB)
    seen = []
    sent, rounds, left = 0.0, 1, float(used)
    clock.now += 1.0  # nothing is sent while the hosts come to terms
    while True:
        clock.now += 0.5
        sent += RATE / MIB / 2
        if sent < holds:
            stats = Statistics(
                disk_total=size * MIB, disk_done=int(sent * MIB), disk_remaining=int((size - sent) * MIB)
            )
            disk, carried = sent, 0.0
        else:
            disk, carried = float(holds), sent - holds
            left -= RATE / MIB / 2
            if left <= 0:
                rounds, left = rounds + 1, dirty * (used / (RATE / MIB) if rounds == 1 else 1)
                if rounds > 3 or left < 5:
                    break
            empty = memory - used if rounds == 1 else 0  # libvirt counts it until the round is over
            stats = Statistics(
                disk_total=size * MIB,
                disk_done=size * MIB,
                memory_total=memory * MIB,
                memory_remaining=int((left + empty) * MIB),
                dirty_rate=dirty * MIB if rounds > 1 else None,
                iteration=rounds,
            )
        said = meter.read(stats, int(sent * MIB), int(disk * MIB), int(carried * MIB))
        seen.append((clock.now - 100.0, said["percent"], said["estimated"] or 0.0))
    return [*seen, (clock.now - 100.0, 100.0, 0.0)]


@pytest.mark.parametrize(
    ("holds", "size", "used", "memory", "dirty"),
    [(600, 2048, 150, 1024, 2.0), (600, 600, 256, 256, 0.0), (0, 0, 300, 4096, 5.0), (4000, 100_000, 100, 8192, 1.0)],
)
def test_thin_disks_and_untouched_memory(holds: int, size: int, used: int, memory: int, dirty: float) -> None:
    seen = simulated(holds, size, used, memory, dirty)
    end = seen[-1][0]
    told = [(at, estimate) for at, _, estimate in seen if estimate]
    assert told[0][0] <= 4.0, "it takes too long to tell"
    for at, estimate in told:
        assert estimate == pytest.approx(end, rel=0.25, abs=1.0), f"after {at} s of {end}"
    percents = [percent for _, percent, _ in seen]
    assert percents == sorted(percents)
    for at, percent, _ in seen:
        assert percent == pytest.approx(100 * (at - 1.0) / (end - 1.0), abs=20), f"after {at} s of {end}"


def test_nothing_is_told_before_something_was_sent() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.expect(600 * MIB, 100 * MIB)
    for _ in range(20):
        clock.now += 0.5
        said = meter.read(Statistics(), 3000)
        assert (said["percent"], said["estimated"]) == (0.0, None)


def test_more_than_was_expected_is_no_hundred_percent() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.expect(10 * MIB, 10 * MIB)
    for number in range(1, 40):
        clock.now += 0.5
        stats = Statistics(memory_total=1024 * MIB, memory_remaining=(1024 - 10 * number) * MIB, iteration=1)
        said = meter.read(stats, 10 * number * MIB, 0, 10 * number * MIB)
        assert said["percent"] < 100
        assert 0 <= said["remaining"] <= said["memory_total"] + said["disk_total"]


def test_unknown_sizes_are_libvirts() -> None:
    said = Meter().read(Statistics(memory_total=1024, memory_remaining=512, iteration=1), 512, 0, 512)
    assert (said["memory_total"], said["percent"]) == (1024, 50.0)
