"""Proofs that two hosts see the same storage, on the real file system: nobody makes one but who writes there."""

import os
from pathlib import Path

import pytest
from tests.preflight.make import DISK

from vmferry.core.messages.offer import Artifact
from vmferry.hypervisor.storage import proofs

NONCE = "5a" * 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    (place / "web01.qcow2").write_text("content")
    return place


def ours(folder: Path, name: str = "web01.qcow2", target: str = "vda") -> Artifact:
    return DISK.model_copy(update={"path": str(folder / name), "target": target})


def forged(folder: Path, **change: object) -> Artifact:
    values = {"nonce": NONCE, "nonce_file": str(folder / ".vmferry-x"), **change}
    return ours(folder).model_copy(update=values)


def test_what_was_written_is_seen_and_removed(folder: Path) -> None:
    (marked,) = proofs.write([ours(folder)], "0123456789ab", NONCE)
    assert proofs.shows(marked, NONCE)
    assert not proofs.shows(marked, "6b" * 16), "another was drawn"
    proofs.remove([marked.nonce_file])
    assert [path.name for path in folder.iterdir()] == ["web01.qcow2"]
    assert not proofs.shows(marked, NONCE)
    proofs.remove([marked.nonce_file])


def test_a_job_that_was_interrupted_writes_anew(folder: Path) -> None:
    proofs.write([ours(folder)], "0123456789ab", NONCE)
    (marked,) = proofs.write([ours(folder)], "0123456789ab", "6b" * 16)
    assert proofs.shows(marked, "6b" * 16)
    proofs.remove([marked.nonce_file])


def test_another_file_of_the_same_name_is_not_the_disk(folder: Path) -> None:
    (marked,) = proofs.write([ours(folder)], "0123456789ab", NONCE)
    (folder / "other").write_text("another")
    (folder / "web01.qcow2").unlink()
    (folder / "web01.qcow2").symlink_to("other")
    assert not proofs.shows(marked, NONCE), "a link may lead to another file on each host"
    (folder / "web01.qcow2").unlink()
    (folder / "other").rename(folder / "web01.qcow2")
    assert not proofs.shows(marked, NONCE), "its number is another"


def test_a_link_gets_no_proof(folder: Path) -> None:
    (folder / "link.qcow2").symlink_to("web01.qcow2")
    assert proofs.write([ours(folder, "link.qcow2")], "0123456789ab", NONCE) == [ours(folder, "link.qcow2")]
    assert proofs.write([ours(folder, "missing")], "0123456789ab", NONCE)[0].nonce is None


def test_no_file_of_others_is_written_or_removed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    os.chown(folder, 65534, 65534)
    (folder / ".vmferry-0123456789ab-vda").symlink_to("../secret")
    (marked,) = proofs.write([ours(folder)], "0123456789ab", NONCE)
    assert (tmp_path / "secret").read_text() == "secret"
    proofs.remove([marked.nonce_file])
    proofs.remove([str(tmp_path / "secret"), "secret", "", None])
    proofs.remove([f"{folder}/.vmferry-x/../../secret"])
    assert (tmp_path / "secret").exists()


@pytest.mark.root
def test_no_proof_is_removed_where_a_user_s_link_leads(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "elsewhere" / ".vmferry-0123456789ab-vda"
    mark.parent.mkdir()
    mark.write_text("somebody's")
    os.chown(folder, 65534, 65534)
    (folder / "link").symlink_to(mark.parent)
    (why,) = proofs.remove([f"{folder}/link/{mark.name}"])
    assert "symbolic link" in why
    assert mark.exists()


def test_a_proof_that_cannot_be_removed_is_named(folder: Path) -> None:
    (folder / ".vmferry-x").mkdir()
    (folder / ".vmferry-y").touch()
    places = [f"{folder}/.vmferry-{name}" for name in "xyz"]
    assert proofs.remove([*places, f"{folder}/web01.qcow2/.vmferry-x"]) == [f"{folder}/.vmferry-x: Is a directory"]
    assert not (folder / ".vmferry-y").exists()


@pytest.mark.parametrize("kind", ["link", "fifo", "large", "device", "folder", "longer", "missing"])
@pytest.mark.root
def test_only_a_small_regular_file_is_a_proof(folder: Path, kind: str) -> None:
    mark = folder / ".vmferry-x"
    if kind == "link":
        (folder / "nonce").write_text(NONCE)
        mark.symlink_to("nonce")
    elif kind == "fifo":
        os.mkfifo(mark)
    elif kind == "large":
        with mark.open("wb") as file:
            file.truncate(3 << 30)
    elif kind == "device":
        os.mknod(mark, 0o020600, os.makedev(1, 5))
    elif kind == "folder":
        mark.mkdir()
    elif kind == "longer":
        mark.write_text(NONCE + "\n")
    assert not proofs.shows(forged(folder), NONCE)


@pytest.mark.parametrize(
    "mark",
    [
        "secret",
        "../.vmferry-x",
        "./.vmferry-x",
        "/.vmferry-x",
        "inner/.vmferry-x",
        ".vmferry-x/",
        ".Vmferry-x",
        "a/../.vmferry-x",
    ],
)
def test_a_proof_has_a_reserved_name_and_lies_beside_the_disk(folder: Path, mark: str) -> None:
    (folder / "inner").mkdir()
    for place in (
        folder / "secret",
        folder / ".vmferry-x",
        folder.parent / ".vmferry-x",
        folder / "inner" / ".vmferry-x",
        folder / ".Vmferry-x",
    ):
        place.write_text(NONCE)
    assert proofs.shows(forged(folder), NONCE)
    assert not proofs.shows(forged(folder, nonce_file=f"{folder}/{mark}"), NONCE)


def test_a_proof_is_no_disk_itself(folder: Path) -> None:
    (folder / ".vmferry-x").write_text(NONCE)
    (folder / ".vmferry-y").write_text("")
    assert not proofs.shows(forged(folder, path=str(folder / ".vmferry-y")), NONCE)
