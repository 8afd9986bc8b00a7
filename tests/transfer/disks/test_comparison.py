"""A medium that the destination has: its own digest against the source's."""

import os
import queue
from pathlib import Path

import pytest
from tests.preflight.make import DISK, proposal

from vmferry.core.errors import VmferryError
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.offer import ArtifactPlan, Offer
from vmferry.hypervisor.storage import media
from vmferry.transfer.disks.comparison import Comparison

KEY = "5a" * 32
LIMIT = 10.0
Results = queue.SimpleQueue[tuple[str, VmferryError | None]]


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    path = tmp_path / "deb.iso"
    path.write_bytes(os.urandom(1 << 20))
    return path


def compare(iso: Path, results: Results, size: int = 1 << 20) -> Comparison:
    disk = DISK.model_copy(update={"target": "sda", "readonly": True, "size": size, "format": "raw"})
    offer = Offer(**dict(proposal(disks=[disk])), job="0123456789ab", certificate="PEM")
    plan = ArtifactPlan(target="sda", path=str(iso), shared=False, copied_by=CopiedBy.PRESENT)
    return Comparison(offer, [plan], KEY, "kvm2", os.getuid(), lambda *result: results.put(result))


def test_the_same_file_is_used(iso: Path) -> None:
    results: Results = queue.SimpleQueue()
    seen = compare(iso, results)
    seen.claim("sda", str(media.digest(str(iso), KEY, lambda _done: True, format_="raw")))
    assert results.get(timeout=LIMIT) == ("sda", None)


def test_another_content_ends_the_move_and_the_file_stays(iso: Path) -> None:
    results: Results = queue.SimpleQueue()
    seen = compare(iso, results)
    seen.claim("sda", "00" * 32)
    target, error = results.get(timeout=LIMIT)
    assert target == "sda"
    assert error is not None
    assert error.code.name == "medium-differs"
    assert "another content" in error.reason
    assert "--eject" in error.remedy
    assert iso.exists()


def test_a_digest_of_the_content_alone_says_nothing(iso: Path) -> None:
    """Who knows a file's published digest, and not the file, does not come to it."""
    import hashlib

    results: Results = queue.SimpleQueue()
    seen = compare(iso, results)
    seen.claim("sda", hashlib.sha256(iso.read_bytes()).hexdigest())
    assert results.get(timeout=LIMIT)[1] is not None


def test_what_has_changed_since_the_offer_is_seen(iso: Path) -> None:
    results: Results = queue.SimpleQueue()
    iso.write_bytes(b"x")
    compare(iso, results)
    error = results.get(timeout=LIMIT)[1]
    assert error is not None
    assert "another size" in error.reason


def test_it_can_be_stopped(iso: Path) -> None:
    results: Results = queue.SimpleQueue()
    seen = compare(iso, results)
    seen.stop()
    with pytest.raises(queue.Empty):
        results.get(timeout=0.3)


def test_digests_of_what_is_not_compared_are_not_kept(iso: Path) -> None:
    seen = compare(iso, queue.SimpleQueue())
    for number in range(1000):
        seen.claim(f"sd{number}", "00" * 32)
        seen.claim("sda", f"{number:064x}")
    assert seen._claims == {"sda": "00" * 32}
    seen.stop()
