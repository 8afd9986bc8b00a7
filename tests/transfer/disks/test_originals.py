"""What a VM leaves on its source: real files, opened and locked by real programs."""

import errno
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.preflight.make import DISK, VM, proposal

from vmferry import safefiles
from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.messages.offer import ArtifactPlan, MoveOptions, Offer
from vmferry.core.messages.use import By, Surroundings, Use
from vmferry.hypervisor.storage import holders
from vmferry.transfer.disks import originals

NOBODY = Surroundings()


def offer(path: Path, *, entry: str = "", device: str = "disk", **options: Any) -> Offer:
    xml = VM.live_xml.replace(DISK.path, str(path)).replace("<target dev='vda'", f"{entry}<target dev='vda'")
    xml = xml.replace("device='disk'", f"device='{device}'")
    asked = MoveOptions(include_storage=True, **options)
    disks = [DISK.model_copy(update={"path": str(path)})]
    told = proposal(xml, disks=disks, options=asked)
    return Offer(**dict(told), job="0123456789ab", certificate="PEM")


PLANS = [ArtifactPlan(target="vda", path="/srv/web01.qcow2", shared=False, copied_by=CopiedBy.MIRROR)]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of a VM; `running` is its QEMU."""
    path = tmp_path / "images" / "web01.qcow2"
    path.parent.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    monkeypatch.setattr(holders, "_PID_FILES", tmp_path)
    monkeypatch.setattr(originals, "_PATIENCE", 0.2)
    monkeypatch.setattr(originals, "_AWAY", 0.0)
    monkeypatch.setattr(originals, "_TRIES", 3)
    return path


def noted(path: Path, plans: list[ArtifactPlan] = PLANS, **options: Any) -> dict[str, Any]:
    """Note a disk while its VM has it open."""
    with running(path):
        return originals.note(offer(path, **options), plans)


@contextmanager
def running(path: Path) -> Iterator[None]:
    """Have a process in the place of the VM's QEMU: the file is its standard input."""
    with path.open("rb") as file:
        program = subprocess.Popen(["sleep", "60"], stdin=file)
    (holders._PID_FILES / "web01.pid").write_text(str(program.pid))
    try:
        yield
    finally:
        program.kill()
        program.wait()


@contextmanager
def served(path: Path, *options: str) -> Iterator[None]:
    """Have a program of QEMU's open an image, as a backup does."""
    place = path.parent / "nbd.sock"
    program = subprocess.Popen(["qemu-nbd", "-t", *options, "-k", str(place), str(path)])
    try:
        limit = time.monotonic() + 10
        while True:
            with socket.socket(socket.AF_UNIX) as connection:
                if connection.connect_ex(str(place)) == 0 and connection.recv(8):
                    break  # it listens before it opens the image, and says something after
            assert time.monotonic() < limit
            time.sleep(0.01)
        yield
    finally:
        program.kill()
        program.wait(10)
        place.unlink(missing_ok=True)


def test_the_vms_own_file_goes(image: Path) -> None:
    record = noted(image)
    assert originals.remove(record, lambda _files: NOBODY) == []
    assert not image.exists()
    assert originals.remove(record, lambda _files: NOBODY) == []  # a worker that died right after it


def test_a_file_that_was_put_in_its_place_stays(image: Path) -> None:
    record = noted(image)
    image.rename(image.with_suffix(".old"))
    image.write_text("somebody's")
    (left,) = originals.remove(record, lambda _files: NOBODY)
    assert "was replaced" in left
    assert image.read_text() == "somebody's"


def test_a_move_of_a_replaced_file_does_not_begin(image: Path) -> None:
    with running(image):
        image.rename(image.with_suffix(".old"))
        image.write_bytes(image.with_suffix(".old").read_bytes())  # same size, same content, another file
        with pytest.raises(PreflightError) as raised:
            originals.note(offer(image), PLANS)
    assert raised.value.code.name == codes.DISK_REPLACED.name


def test_what_another_vm_uses_by_then_stays_and_is_named(image: Path) -> None:
    record = noted(image)
    use = Use(by=By.VM, name="db01", role="a backing file of disk vda")
    (left,) = originals.remove(record, lambda files: Surroundings(uses={files[0]: [use]}))
    assert left == f"{image}: it is a backing file of disk vda of VM db01"
    assert image.exists()


def test_what_cannot_be_found_out_stays(image: Path) -> None:
    record = noted(image)

    def away(_files: list[str]) -> Surroundings:
        raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="it is down")

    assert "it is down" in originals.remove(record, away)[0]
    (left,) = originals.remove(record, lambda _files: Surroundings(unknown=["VM db01: no answer"]))
    assert "VM db01: no answer" in left
    assert image.exists()


def test_a_libvirt_that_comes_back_is_asked_again(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "_AWAY", 10.0)
    record, asked = noted(image), []

    def ask(files: list[str]) -> Surroundings:
        asked.append(files)
        if len(asked) == 1:
            raise UnreachableError(codes.LIBVIRT_UNREACHABLE, host="kvm1", why="it is being restarted")
        return NOBODY

    assert originals.remove(record, ask) == []
    assert not image.exists()


@pytest.mark.parametrize("refusals", [2, 3])
def test_a_file_system_that_refuses_for_a_moment_is_asked_again(
    image: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    note = noted(image)
    answers = [OSError(errno.EROFS, "Read-only file system") for _ in range(refusals)]
    real = safefiles.remove

    def remove(*arguments: Any) -> bool:
        if answers:
            raise answers.pop()
        return real(*arguments)

    monkeypatch.setattr(safefiles, "remove", remove)
    left = originals.remove(note, lambda _: NOBODY)
    assert left == ([] if refusals == 2 else [f"{image}: Read-only file system"])
    assert image.exists() == (refusals == 3)


@pytest.mark.parametrize("options", [["-f", "qcow2"], ["-f", "raw", "--read-only"]])
def test_what_a_program_has_open_stays_and_it_is_named(image: Path, options: list[str]) -> None:
    record = noted(image)
    with served(image, *options):
        (left,) = originals.remove(record, lambda _files: NOBODY)
    assert "qemu-nbd (" in left
    assert image.exists()


def test_what_is_looked_at_for_a_moment_goes_after_it(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "_PATIENCE", 10.0)
    record = noted(image)
    with image.open("rb") as file:
        program = subprocess.Popen(["sleep", "0.3"], stdin=file)
    assert originals.remove(record, lambda _files: NOBODY) == []
    assert program.wait(10) == 0
    assert not image.exists()


def test_a_link_and_the_file_behind_it_go(image: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.qcow2"
    link.symlink_to(image)
    record = noted(link)
    assert originals.remove(record, lambda _files: NOBODY) == []
    assert not image.exists()
    assert not link.is_symlink()


def test_a_link_that_leads_elsewhere_by_then_is_not_followed(image: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.qcow2"
    link.symlink_to(image)
    record = noted(link)
    other = tmp_path / "other"
    other.write_text("somebody's")
    link.unlink()
    link.symlink_to(other)
    assert originals.remove(record, lambda _files: NOBODY) == []
    assert not image.exists()  # the file that the VM had
    assert other.exists()
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("device", "entry"), [("cdrom", ""), ("floppy", ""), ("disk", "<readonly/>"), ("cdrom", "<readonly/>")]
)
def test_media_stay_unless_they_are_to_go(image: Path, device: str, entry: str) -> None:
    (left,) = originals.remove(noted(image, device=device, entry=entry), lambda _files: NOBODY)
    assert "--remove-source-media" in left
    assert image.exists()
    record = noted(image, device=device, entry=entry, remove_source_media=True)
    assert originals.remove(record, lambda _files: NOBODY) == []
    assert not image.exists()


@pytest.mark.parametrize("keep", [False, True])
def test_the_file_with_uefi_variables_goes_when_nobody_else_uses_it(image: Path, keep: bool) -> None:
    flash = DISK.model_copy(update={"type": ArtifactType.FIRMWARE_VARIABLES, "target": "nvram", "path": str(image)})
    told = offer(image, keep_source_disks=keep).model_copy(update={"artifacts": [flash]})
    with running(image):
        kept = originals.note(told, [])
    use = Use(by=By.VM, name="web02", role="<nvram>")
    # They come with the memory, and are lost with it.
    lost = originals.remove(kept, lambda _files: NOBODY, lost=True)
    assert image.exists()
    assert keep or "UEFI variables" in lost[0]
    left = originals.remove(kept, lambda files: Surroundings(uses={files[0]: [use]}))
    assert image.exists()
    assert keep or "web02" in left[0]
    originals.remove(kept, lambda _files: NOBODY)
    assert image.exists() is keep


def test_a_shareable_disk_is_never_removed(image: Path) -> None:
    originals.remove(noted(image, entry="<shareable/>"), lambda _files: NOBODY)
    assert image.exists()


def test_disks_that_are_to_stay_or_that_both_hosts_see_stay(image: Path) -> None:
    originals.remove(noted(image, keep_source_disks=True), lambda _files: NOBODY)
    shared = [PLANS[0].model_copy(update={"shared": True, "copied_by": CopiedBy.NONE})]
    originals.remove(noted(image, shared), lambda _files: NOBODY)
    assert image.exists()


def test_locks_tell_where_processes_may_not_be_looked_into(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_opened", lambda *_: None)
    assert holders.has_open("web01", str(image)) is False
    with served(image, "-f", "qcow2"):
        assert holders.has_open("web01", str(image)) is True
    with served(image, "-f", "raw", "--read-only"):
        assert holders.has_open("web01", str(image)) is True
