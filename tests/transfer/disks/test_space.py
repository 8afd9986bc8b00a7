"""The space that an incoming move takes: real files on a small file system."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.preflight.make import DISK, proposal

from vmferry.core.errors import PreflightError
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.offer import ArtifactPlan, MoveOptions, Offer
from vmferry.transfer.disks.space import SpaceGuard

MIB = 1 << 20
pytestmark = pytest.mark.root


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def room(place: Path, needed: int, *, full: bool = False) -> SpaceGuard:
    disk = DISK.model_copy(update={"needed": needed, "virtual_size": 60 * MIB})
    options = MoveOptions(include_storage=True, full_space=full)
    offer = Offer(**dict(proposal(disks=[disk], options=options)), job="0123456789ab", certificate="PEM")
    plan = ArtifactPlan(target="vda", path=str(place / "web01.qcow2"), shared=False, copied_by=CopiedBy.MIRROR)
    return SpaceGuard(offer, [plan], "kvm2")


def fill(place: Path, size: int) -> None:
    (place / "web01.qcow2").write_bytes(b"\1" * size)


def test_a_move_that_takes_what_it_booked_may_fill_the_rest(small: Path) -> None:
    seen = room(small, 63 * MIB)
    fill(small, 62 * MIB)
    seen.check()


def test_a_move_that_takes_more_is_ended_before_others_go_short(small: Path) -> None:
    seen = room(small, MIB)  # a hostile source, or a guest that writes a lot meanwhile
    fill(small, 40 * MIB)
    seen.check()  # there is plenty left
    fill(small, 62 * MIB)
    with pytest.raises(PreflightError) as raised:
        seen.check()
    assert raised.value.code.name == "storage-full"
    assert raised.value.fields["free"] < 4 * MIB


def test_a_file_that_is_still_being_received_counts(small: Path) -> None:
    seen = room(small, MIB)
    (small / ".vmferry-5a5a").write_bytes(b"\1" * (62 * MIB))
    with pytest.raises(PreflightError):
        seen.check()


def test_full_space_books_the_whole_size(small: Path) -> None:
    seen = room(small, MIB, full=True)
    fill(small, 59 * MIB)
    seen.check()
