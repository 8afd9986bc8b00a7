"""The disks that a move makes, on the real file system: nothing else is ever touched, whatever is asked for."""

import grp
import json
import os
import pwd
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.transfer.disks.test_files import Pipe

from vmferry import safefiles
from vmferry.core import qcow2
from vmferry.core.errors import VmferryError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.messages.offer import Artifact, ArtifactPlan
from vmferry.hypervisor.storage import images
from vmferry.transfer.disks import files, newdisks
from vmferry.transfer.disks.newdisks import NewDisks, recorded, remove

pytestmark = pytest.mark.root  # owners
USER = "nobody"
FLASH, FILE = ArtifactType.FIRMWARE_VARIABLES, CopiedBy.FILE
MIB = 1 << 20


class Worker:
    """What makes the disks of one job, and its journal."""

    def __init__(
        self,
        folder: Path,
        disks: list[Artifact],
        allowed: Path | None = None,
        nvram: Path | None = None,
        **options: Any,
    ) -> None:
        self.journal: list[list[dict[str, Any]]] = []
        self.seen: list[set[str]] = []
        self.folder = folder
        plans = [
            ArtifactPlan(
                type=disk.type,
                target=disk.target,
                path=disk.path,
                shared=False,
                copied_by=CopiedBy.MEMORY if disk.type is FLASH else FILE if disk.readonly else CopiedBy.MIRROR,
            )
            for disk in disks
        ]
        self.new = NewDisks(
            disks,
            plans,
            allowed={ArtifactType.DISK: [allowed or folder], FLASH: [nvram or folder]},
            qemu_user=USER,
            journal=self._journal,
            host="kvm2",
            vm="web01",
            **options,
        )

    def _journal(self, records: list[dict[str, Any]]) -> None:
        self.journal.append(json.loads(json.dumps(records)))
        self.seen.append(names(self.folder))

    def undo(self) -> list[str]:
        """Do what a later worker would, of which only the journal is left."""
        self.new.close()
        return remove(recorded({"files": self.journal[-1]}))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "images"
    place.mkdir()
    yield place
    assert not [name for name in names(place) if name.startswith(".vmferry-")], "nothing of ours is left"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def disk(path: Path, target: str = "vda", **other: Any) -> Artifact:
    basic = {"format": "raw", "virtual_size": MIB, "allocated": 0, "mode": 0o600, "owner": "root", "group": "root"}
    return Artifact(**{"target": target, "path": str(path), **basic, **other})


def refused(code: str, act: Any) -> VmferryError:
    with pytest.raises(VmferryError) as caught:
        act()
    assert caught.value.code.name == code
    return caught.value


def sent(source: Path, target: str) -> Pipe:
    pipe = Pipe(64 << 10)
    files.send(pipe, target, str(source))
    return pipe


def test_each_file_is_on_record_before_it_has_its_name_and_not_before_it_is_there(folder: Path) -> None:
    worker = Worker(folder, [disk(folder / "a"), disk(folder / "b", "vdb", format="qcow2")])
    worker.new.make()
    first, second = worker.journal
    assert [record["identity"] for record in first] == [None, None]
    assert worker.seen[0] == set()
    assert worker.seen[1] == {record["draft"] for record in second}, "reserved names alone, and not yet the disks'"
    for record in second:
        status = Path(record["path"]).stat()
        assert record["identity"][:2] == [status.st_dev, status.st_ino]
    assert names(folder) == {"a", "b"}
    assert (folder / "a").stat().st_size == MIB
    told = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(folder / "b")]))
    assert (told["format"], told["virtual-size"]) == ("qcow2", MIB)
    assert worker.undo() == []
    assert names(folder) == set()


def test_what_somebody_else_has_made_stays(folder: Path) -> None:
    (folder / "victim").write_text("somebody's")
    worker = Worker(folder, [disk(folder / "a", virtual_size=1 << 62), disk(folder / "victim", "vdb")])
    refused("disk-exists", worker.new.make)
    assert worker.undo() == []
    assert (folder / "victim").read_text() == "somebody's"
    assert names(folder) == {"victim"}


def test_the_file_for_uefi_variables_is_made_in_its_own_folder_and_undone(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "nvram"
    place.mkdir()
    flash = disk(place / "web01_VARS.fd", "nvram", virtual_size=128 << 10, type=FLASH)
    (tmp_path / "template").write_bytes(b"v" * (128 << 10))
    for name, first in (("template", b"v"), ("missing", b"\0"), ("", b"\0")):
        template = name and str(tmp_path / name)
        worker = Worker(folder, [disk(folder / "a"), flash], nvram=place, template=template)
        worker.new.make()
        content = (place / "web01_VARS.fd").read_bytes()
        assert content == first * (128 << 10)
        assert worker.undo() == []
    worker = Worker(folder, [disk(folder / "a"), flash], nvram=place)
    worker.new.make()
    assert worker.undo() == []
    assert names(place) | names(folder) == set()
    (place / "web01_VARS.fd").write_text("somebody's")
    refused("firmware-variables-exist", Worker(folder, [flash], nvram=place).new.make)
    assert (place / "web01_VARS.fd").read_text() == "somebody's"
    elsewhere = disk(folder / "web01_VARS.fd", "nvram", type=FLASH)
    refused("storage-path-forbidden", Worker(folder, [elsewhere], nvram=place).new.make)


def test_what_comes_while_the_disks_are_made_stays(folder: Path) -> None:
    worker = Worker(folder, [disk(folder / "a"), disk(folder / "b", "vdb")])
    journal = worker.new._journal

    def meanwhile(records: list[dict[str, Any]]) -> None:
        journal(records)
        if len(worker.journal) == 2:
            (folder / "b").write_text("somebody's")

    worker.new._journal = meanwhile
    refused("disk-exists", worker.new.make)
    assert worker.undo() == []
    assert names(folder) == {"b"}
    assert (folder / "b").read_text() == "somebody's"


def test_what_was_put_in_the_place_of_a_disk_stays(folder: Path) -> None:
    worker = Worker(folder, [disk(folder / "a"), disk(folder / "b", "vdb"), disk(folder / "c", "vdc")])
    worker.new.make()
    (folder / "a").unlink()
    (folder / "a").write_text("somebody's, perhaps with the number that ours had")
    (folder / "b").rename(folder / "kept")
    (folder / "b").symlink_to("a")
    assert worker.undo() == []
    assert names(folder) == {"a", "b", "kept"}
    assert (folder / "a").read_text().startswith("somebody's")


def test_a_worker_that_dies_at_any_step_leaves_nothing(folder: Path) -> None:
    for step in range(1, 9):
        worker = Worker(folder, [disk(folder / "a"), disk(folder / "b", "vdb", readonly=True)])
        with pytest.MonkeyPatch.context() as patch:
            calls = [0]

            def dies(original: Any, calls: list[int] = calls, step: int = step) -> Any:
                def act(*arguments: Any, **options: Any) -> Any:
                    calls[0] += 1
                    if calls[0] == step:
                        raise KeyboardInterrupt
                    return original(*arguments, **options)

                return act

            for name in ("make", "rename", "sync"):
                patch.setattr(safefiles, name, dies(getattr(safefiles, name)))
            patch.setattr(images, "complete", dies(images.complete))
            patch.setattr(images, "hand_over", dies(images.hand_over))
            try:
                worker.new.make()
            except KeyboardInterrupt:
                pass
        assert worker.undo() == []
        assert names(folder) == set(), f"after step {step}"


@pytest.mark.parametrize("size", [(1 << 62), (1 << 63), (1 << 64), 10**30, -1])
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_size_that_no_file_system_takes_has_its_reason(folder: Path, kind: str, size: int) -> None:
    broken = disk(folder / "a").model_copy(update={"virtual_size": size, "format": kind})
    worker = Worker(folder, [broken])
    refused("disk-not-made", worker.new.make)
    assert worker.undo() == []


def test_a_full_file_system_has_its_code(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    try:
        small = Worker(folder, [disk(folder / "a", format="qcow2", virtual_size=1 << 40)])
        error = refused("storage-full", small.new.make)
        assert error.fields["path"] == str(folder)
        assert small.undo() == []
        iso = folder.parent / "iso"
        iso.write_bytes(os.urandom(MIB))
        worker = Worker(folder, [disk(folder / "b", "sda", readonly=True)])
        worker.new.make()
        refused("storage-full", lambda: worker.new.receive(sent(iso, "sda")))
        assert worker.undo() == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_options_are_the_originals_or_none(folder: Path) -> None:
    options = {"cluster_size": "4096", "compat": "1.1,backing_file=/etc/passwd", "backing_file": "/etc/passwd"}
    options |= {"refcount_bits": "8", "preallocation": "full", "data_file": "/etc/passwd", "extended_l2": "on off"}
    worker = Worker(folder, [disk(folder / "a", format="qcow2", create_options=options)])
    worker.new.make()
    told = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(folder / "a")]))
    assert told["cluster-size"] == 4096
    assert told["format-specific"]["data"]["refcount-bits"] == 8
    assert "backing-filename" not in told


def test_a_folder_is_held_to_the_policy_by_where_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "theirs").mkdir()
    os.chown(folder / "theirs", 65534, 65534)
    (folder / "theirs" / "link").symlink_to(folder)
    for path, code in (
        (folder / "link" / "a", "storage-path-forbidden"),
        (tmp_path / "a", "storage-path-forbidden"),
        (folder / "theirs" / "link" / "a", "disk-not-made"),
        (folder / "missing" / "a", "storage-path-missing"),
        (folder / ".vmferry-0123456789ab-vda", "disk-path-unusable"),
        (Path("relative"), "disk-path-unusable"),
    ):
        worker = Worker(folder, [disk(path)])
        refused(code, worker.new.make)
        assert worker.undo() == []
    assert names(tmp_path / "elsewhere") == set()


@pytest.mark.parametrize("name", ["file", "link", "dangling", "fifo", "folder"])
def test_whatever_has_the_name_is_kept(folder: Path, name: str) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    before = names(folder)
    worker = Worker(folder, [disk(folder / name)])
    refused("disk-exists", worker.new.make)
    assert worker.undo() == []
    assert names(folder) == before


def test_another_host_chooses_neither_any_owner_nor_that_all_may_write(folder: Path) -> None:
    os.umask(0o022)
    theirs: dict[str, Any] = {"mode": 0o7777, "owner": "daemon", "group": "daemon"}
    qemus: dict[str, Any] = {"mode": 0o640, "owner": USER, "group": grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name}
    worker = Worker(folder, [disk(folder / "a", **theirs), disk(folder / "b", "vdb", **qemus)])
    worker.new.make()
    status = (folder / "a").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o664, os.getuid(), os.getgid())
    status = (folder / "b").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o640, pwd.getpwnam(USER).pw_uid)
    assert status.st_gid == pwd.getpwnam(USER).pw_gid


def test_a_read_only_disk_has_its_name_when_it_is_whole(folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "cd.iso"
    original.write_bytes(os.urandom(MIB))
    worker = Worker(folder, [disk(folder / "cd.iso", "sda", readonly=True, mode=0o644)])
    worker.new.make()
    (draft,) = names(folder)
    assert draft.startswith(".vmferry-")
    status = (folder / draft).stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o600, os.getuid()), "only root can use it"
    refused("protocol", worker.new.require_whole)
    assert worker.new.receive(sent(original, "sda")) == "sda"
    worker.new.require_whole()
    assert (folder / "cd.iso").read_bytes() == original.read_bytes()
    assert (folder / "cd.iso").stat().st_mode & 0o777 == 0o644
    refused("protocol", lambda: worker.new.receive(sent(original, "sda")))
    assert (folder / "cd.iso").read_bytes() == original.read_bytes()
    refused("disk-unknown", lambda: worker.new.receive(sent(original, "vda")))
    assert worker.undo() == []
    assert names(folder) == set()


def test_a_stream_that_does_not_end_leaves_no_disk(folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "cd.iso"
    original.write_bytes(os.urandom(MIB))
    worker = Worker(folder, [disk(folder / "cd.iso", "sda", readonly=True)])
    worker.new.make()
    pipe = sent(original, "sda")
    del pipe.data[-12:]
    refused("protocol", lambda: worker.new.receive(pipe))
    refused("protocol", worker.new.require_whole)
    refused("protocol", lambda: worker.new.receive(sent(original, "sda")))
    assert "cd.iso" not in names(folder)
    assert worker.undo() == []


@pytest.mark.parametrize("option", ["backing_file=secret", "data_file", "size", "raw", "header"])
def test_an_image_that_is_not_what_was_offered_is_not_taken(folder: Path, tmp_path: Path, option: str) -> None:
    secret = folder / "secret"
    secret.write_bytes(b"x" * 512)
    image = tmp_path / "cd.qcow2"
    options = {"backing_file=secret": f"backing_file={secret},backing_fmt=raw", "data_file": f"data_file={secret}"}
    more = ["-o", options[option]] if option in options else []
    size = "2M" if option == "size" else "1M"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, str(image), size], check=True)
    if option == "raw":
        image.write_bytes(os.urandom(MIB))
    if option == "header":
        image.write_bytes(image.read_bytes()[:80])
    secret.write_bytes(b"x" * 512)
    worker = Worker(folder, [disk(folder / "cd.qcow2", "sda", readonly=True, format="qcow2")])
    worker.new.make()
    code = "image-unreadable" if option in ("raw", "header") else "disk-unsupported"
    refused(code, lambda: worker.new.receive(sent(image, "sda")))
    refused("protocol", worker.new.require_whole)
    assert "cd.qcow2" not in names(folder)
    assert worker.undo() == []
    assert secret.read_bytes() == b"x" * 512


_LUKS = struct.pack(">IIQQ", 0x0537BE77, 16, 1 << 16, 1 << 20)
_LIES = {  # where in the header, and what: by what is said of it
    "image-unreadable": [
        (4, struct.pack(">I", 1)),
        (4, struct.pack(">I", 4)),
        (8, struct.pack(">QI", 1 << 62, 8)),
        (20, struct.pack(">I", 8)),
        (20, struct.pack(">I", 22)),
        (20, struct.pack(">I", 1 << 31)),
        (24, struct.pack(">Q", 1 << 63)),
        (36, struct.pack(">I", 0)),
        (36, struct.pack(">I", 1 << 31)),
        (40, struct.pack(">Q", 512)),
        (40, struct.pack(">Q", 1 << 63)),
        (48, struct.pack(">Q", 3)),
        (56, struct.pack(">I", 0)),
        (56, struct.pack(">I", 1 << 31)),
        (60, struct.pack(">IQ", 1 << 31, 1 << 16)),
        (60, struct.pack(">IQ", 1, 1 << 40)),
        (60, struct.pack(">IQ", 1, (1 << 64) - 8)),
        (72, struct.pack(">Q", 1 << 5)),
        (72, struct.pack(">Q", 1 << 63)),
        (72, struct.pack(">Q", 1 << 3)),
        (96, struct.pack(">I", 7)),
        (100, struct.pack(">I", 96)),
        (100, struct.pack(">I", 109)),
        (100, struct.pack(">I", (1 << 32) - 8)),
        (104, b"\x01"),
        (104, b"\x09"),
        (112, struct.pack(">II", 0x23852875, 8)),
        (112, struct.pack(">IIIIQQ", 0x23852875, 24, 1 << 31, 0, 32, 1 << 16)),
        (112, struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 1 << 40, 1 << 16)),
        (112, struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 32, 1 << 40)),
        (112, struct.pack(">II", 0x12345678, (1 << 32) - 1)),
    ],
    "disk-unsupported": [
        (8, struct.pack(">QI", 512, 6)),
        (8, struct.pack(">QI", 0, 6)),
        (8, struct.pack(">QI", 512, 1 << 31)),
        (24, struct.pack(">Q", 512)),
        (32, struct.pack(">I", 1)),
        (32, struct.pack(">I", 2)),
        (32, struct.pack(">I", 99)),
        (72, struct.pack(">Q", 1 << 2)),
        (112, struct.pack(">II8s", 0x44415441, 6, b"secret")),
        (112, struct.pack(">II8sII8s", 0xE2792ACA, 3, b"raw", 0x44415441, 6, b"secret")),
    ],
}


@pytest.mark.parametrize(("code", "at", "lie"), [(code, at, lie) for code, lies in _LIES.items() for at, lie in lies])
def test_a_header_that_lies_is_not_taken(folder: Path, tmp_path: Path, code: str, at: int, lie: bytes) -> None:
    image = tmp_path / "cd.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    raw = bytearray(image.read_bytes())
    raw[at : at + len(lie)] = lie
    if at == 32:
        raw[112 : 112 + len(_LUKS)] = _LUKS
    image.write_bytes(raw)
    worker = Worker(folder, [disk(folder / "cd.qcow2", "sda", readonly=True, format="qcow2")])
    worker.new.make()
    refused(code, lambda: worker.new.receive(sent(image, "sda")))
    assert "cd.qcow2" not in names(folder)
    assert worker.undo() == []


@pytest.mark.parametrize("options", ["compat=0.10", "compat=1.1", "extended_l2=on", "compression_type=zstd"])
@pytest.mark.parametrize("kind", ["plain", "compressed", "snapshot", "bitmap", "unknown but harmless"])
def test_what_makes_qemu_open_nothing_else_is_taken(folder: Path, tmp_path: Path, options: str, kind: str) -> None:
    plain, image = tmp_path / "plain", tmp_path / "cd.qcow2"
    plain.write_bytes(b"content" * 1000 + bytes(MIB - 7000))
    words = ["-c"] if kind == "compressed" else []
    qemu_img = ["qemu-img", "convert", *words, "-f", "raw", "-O", "qcow2", "-o", options, str(plain), str(image)]
    subprocess.run(qemu_img, check=True)
    if kind == "snapshot":
        subprocess.run(["qemu-img", "snapshot", "-c", "one", str(image)], check=True)
    elif kind == "bitmap" and options != "compat=0.10":
        subprocess.run(["qemu-img", "bitmap", "--add", str(image), "one"], check=True)
    elif kind == "unknown but harmless" and options != "compat=0.10":
        raw = bytearray(image.read_bytes())
        raw[80:96] = struct.pack(">QQ", 1 << 40, 1 << 41)  # features that who does not know them may pass over
        image.write_bytes(raw)
    worker = Worker(folder, [disk(folder / "cd.qcow2", "sda", readonly=True, format="qcow2")])
    worker.new.make()
    worker.new.receive(sent(image, "sda"))
    assert (folder / "cd.qcow2").read_bytes() == image.read_bytes()
    assert worker.undo() == []


def test_a_header_without_end_costs_little(folder: Path, tmp_path: Path) -> None:
    """Extensions of no length up to where a backing file's name is said to be."""
    image = tmp_path / "cd.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    raw = bytearray(image.read_bytes())
    raw[8:20] = struct.pack(">QI", 1 << 40, 6)
    raw[112:] = struct.pack(">II", 7, 0) * 1_000_000
    image.write_bytes(raw)
    read = 0

    def taken(at: int, length: int) -> bytes:
        nonlocal read
        read += 1
        return bytes(raw[at : at + length])

    for reader in (qcow2.parse, qcow2.named):
        with pytest.raises(ValueError):
            reader(taken)
    assert read < 20


def test_the_name_of_a_read_only_disk_that_is_taken_meanwhile_stays_anothers(folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "cd.iso"
    original.write_bytes(b"x" * MIB)
    worker = Worker(folder, [disk(folder / "cd.iso", "sda", readonly=True)])
    worker.new.make()
    (folder / "cd.iso").write_text("somebody's")
    refused("disk-exists", lambda: worker.new.receive(sent(original, "sda")))
    assert worker.undo() == []
    assert (folder / "cd.iso").read_text() == "somebody's"


def test_a_larger_file_than_was_offered_is_not_taken(folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "cd.iso"
    with original.open("wb") as file:
        file.truncate(MIB + 512)
    worker = Worker(folder, [disk(folder / "cd.iso", "sda", readonly=True)])
    worker.new.make()
    refused("protocol", lambda: worker.new.receive(sent(original, "sda")))
    assert worker.undo() == []


def test_what_it_takes_is_counted_by_what_was_made(folder: Path) -> None:
    worker = Worker(folder, [disk(folder / "a"), disk(folder / "b", "sda", readonly=True)])
    worker.new.make()
    with (folder / "a").open("r+b") as file:
        file.write(b"x" * 65536)
    device = str(folder.stat().st_dev)
    made = recorded({"files": worker.journal[-1]})
    assert newdisks.occupied(made)[device] == 65536
    (folder / "a").unlink()
    (folder / "a").write_bytes(b"y" * MIB)
    assert newdisks.occupied(made).get(device, 0) == 0
    assert worker.undo() == []


def test_the_journal_of_another_release_removes_nothing(folder: Path) -> None:
    (folder / "a").touch()
    assert recorded({"files": [str(folder / "a")]}) == []
    assert recorded({}) == []
