"""What a host sees of its own file system, on the real one; libvirt's part is for the lab."""

from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import DISK, proposal

from vmferry import safefiles
from vmferry.config import Config
from vmferry.core.messages.offer import Artifact, MoveOptions
from vmferry.core.messages.snapshot import DiskTarget
from vmferry.hypervisor import snapshot
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.hypervisor.storage import folders

NONCE = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    return place


def see(folder: Path, disk: Artifact, path: Path | None = None, **options: Any) -> DiskTarget:
    vm = proposal(disks=[disk], options=MoveOptions(**options))
    return Snapshots(Config(name="kvm2", disk_folders=[folder]))._place(disk, str(path or disk.path), vm, NONCE)


def disk(path: Path, nonce: str | None = None, nonce_name: str = ".vmferry-1-vda") -> Artifact:
    marked = {"nonce": nonce, "nonce_file": str(path.parent / nonce_name)} if nonce else {}
    return DISK.model_copy(update={"path": str(path), **marked})


def test_a_place_that_will_do(folder: Path) -> None:
    found = see(folder, disk(Path("/elsewhere/a.qcow2")), folder / "a.qcow2")
    assert (found.folder_exists, found.allowed, found.taken, found.shared) == (True, True, False, False)
    assert (found.writable, found.device) == (True, folder.stat().st_dev)
    assert found.free > 0
    assert list(folder.iterdir()) == [], "looking leaves nothing"


def test_a_place_that_is_taken(folder: Path) -> None:
    (folder / "a.qcow2").symlink_to("/nowhere")
    assert see(folder, disk(Path("/elsewhere/a.qcow2")), folder / "a.qcow2").taken


def test_a_folder_that_is_missing(folder: Path) -> None:
    assert not see(folder, disk(Path("/elsewhere/a.qcow2")), folder / "b" / "a.qcow2").folder_exists
    assert not see(folder, disk(Path("/elsewhere/a.qcow2")), Path("images/a.qcow2")).folder_exists


def test_a_folder_that_is_not_allowed_tells_nothing_more(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "a.qcow2").touch()
    found = see(folder, disk(Path("/elsewhere/a.qcow2")), folder / "link" / "a.qcow2")
    assert (found.allowed, found.taken, found.free) == (False, False, 0)


def test_a_disk_that_is_seen_here_too(folder: Path) -> None:
    ours = disk(folder / "a.qcow2", NONCE)
    (folder / "a.qcow2").touch()
    assert not see(folder, ours).shared
    (folder / ".vmferry-1-vda").write_text(NONCE)
    assert see(folder, ours).shared
    assert not see(folder, ours, folder / "b.qcow2", include_storage=True, storage_path=str(folder)).shared
    other = disk(folder / "a.qcow2", "another")
    (folder / ".vmferry-1-vda").write_text("another")
    assert not see(folder, other).shared, "the source wrote what nobody here has drawn"


def test_a_nonce_must_lie_beside_the_disk_and_be_named_as_one(folder: Path, tmp_path: Path) -> None:
    (folder / "a.qcow2").touch()
    (folder / "secret").write_text(NONCE)
    (tmp_path / ".vmferry-1-vda").write_text(NONCE)
    assert not see(folder, disk(folder / "a.qcow2", NONCE, "secret")).shared
    assert not see(folder, disk(folder / "a.qcow2", NONCE, "../.vmferry-1-vda")).shared


def test_direct_io_where_the_file_system_has_it() -> None:
    with safefiles.folder("/var/tmp") as folder:
        assert folders.probe(folder) == (True, True)


@pytest.mark.root
def test_what_is_not_known_of_a_file_system_is_not_held_against_it() -> None:
    with safefiles.folder("/proc") as folder:
        assert folders.probe(folder) == (True, True)


@pytest.mark.root
def test_who_may_pass(folder: Path) -> None:
    assert folders.passes("root", folder)
    assert folders.passes("nobody-of-that-name", folder)
    assert folders.passes("nobody", Path("/var/lib"))
    folder.chmod(0o700)
    assert not folders.passes("nobody", folder)


def test_memory_is_counted() -> None:
    assert snapshot._memory() > 1 << 20
    assert all(size % 1024 == 0 and free % size == 0 for size, free in snapshot._huge_pages().items())
