"""Files in folders of others, on the real file system: what a name there may lead to, and what is removed."""

import errno
import os
import re
import socket
from pathlib import Path

import pytest

from vmferry import safefiles
from vmferry.safefiles import Identity

OTHER = 65534  # nobody's


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Make a folder that another user may write, beside a file that is nobody's business."""
    (tmp_path / "secret").write_text("secret")
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, OTHER, OTHER)
    return place


def refused(path: object, number: int) -> None:
    with pytest.raises(OSError) as caught:
        os.close(safefiles.open_regular(str(path)))
    assert caught.value.errno == number


@pytest.mark.root
def test_links_are_followed_only_where_root_alone_can_make_them(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").symlink_to("secret")
    assert safefiles.read(str(tmp_path / "ours"), 10) == b"secret"
    (tmp_path / "folder").symlink_to(tmp_path)
    assert safefiles.read(str(tmp_path / "folder" / "secret"), 10) == b"secret"
    for target in ("../secret", tmp_path / "secret"):
        (theirs / "link").symlink_to(target)
        refused(theirs / "link", errno.ELOOP)
        (theirs / "link").unlink()
    (theirs / "folder").symlink_to(tmp_path)
    refused(theirs / "folder" / "secret", errno.ELOOP)
    with pytest.raises(OSError), safefiles.folder(str(theirs / "folder")):
        pass


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_folder_that_a_group_or_all_can_write_is_not_roots(tmp_path: Path, mode: int) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    (tmp_path / "open" / "link").symlink_to("../secret")
    refused(tmp_path / "open" / "link", errno.ELOOP)


def test_links_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refused(tmp_path / "a", errno.ELOOP)


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/a/./b", "/a//b", "//a", "/a/b/..", "/a\0b", "../a"])
def test_a_path_has_one_way_to_be_read(path: str) -> None:
    for act in (safefiles.open_regular, safefiles.split):
        with pytest.raises(OSError) as caught:
            act(path)
        assert caught.value.errno == errno.EINVAL


def test_a_path_that_names_no_file() -> None:
    for path in ("/", "/a/"):
        with pytest.raises(OSError):
            safefiles.split(path)
    assert safefiles.split("/a") == ("/", "a")
    assert safefiles.split("/a/b/c d") == ("/a/b", "c d")


@pytest.mark.root
def test_only_regular_files_are_opened(theirs: Path) -> None:
    os.mkfifo(theirs / "fifo")
    os.mknod(theirs / "device", 0o600 | 0o020000, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(theirs / "socket"))
    for name in ("fifo", "device", "socket", "."):
        with pytest.raises(OSError):
            os.close(safefiles.open_regular(str(theirs / name)))
        with safefiles.folder(str(theirs)) as folder, pytest.raises(OSError):
            os.close(safefiles.open_in(folder, name))


def test_a_large_file_is_not_read(theirs: Path) -> None:
    with (theirs / "large").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(OSError) as caught:
        safefiles.read(str(theirs / "large"), 64)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "x" * 256])
def test_a_name_stays_in_its_folder(theirs: Path, name: str) -> None:
    with safefiles.folder(str(theirs)) as folder:
        for act in (safefiles.make, safefiles.open_in, safefiles.identity):
            with pytest.raises(OSError):
                act(folder, name)


def test_what_is_there_is_neither_opened_nor_replaced(theirs: Path, tmp_path: Path) -> None:
    (theirs / "link").symlink_to("../secret")
    (theirs / "dangling").symlink_to("../new")
    (theirs / "file").write_text("theirs")
    with safefiles.folder(str(theirs)) as folder:
        for name in ("link", "dangling", "file"):
            with pytest.raises(FileExistsError):
                safefiles.make(folder, name)
        handle = safefiles.make(folder, "draft")
        for name in ("link", "dangling", "file"):
            with pytest.raises(FileExistsError):
                safefiles.rename(folder, handle, "draft", name)
        safefiles.rename(folder, handle, "draft", "final")
        os.close(handle)
    assert sorted(path.name for path in theirs.iterdir()) == ["dangling", "file", "final", "link"]
    assert (theirs / "file").read_text() == "theirs"
    assert not (tmp_path / "new").exists()
    assert (theirs / "final").stat().st_mode & 0o777 == 0o600


def test_a_file_is_renamed_where_there_are_no_hard_links(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (theirs / "file").write_text("theirs")
    with safefiles.folder(str(theirs)) as folder:
        handle = safefiles.make(folder, "draft")
        with pytest.raises(FileExistsError):
            safefiles.rename(folder, handle, "draft", "file")
        safefiles.rename(folder, handle, "draft", "final")
        with pytest.raises(OSError, match="another file"):
            safefiles.rename(folder, handle, "file", "other")
        os.close(handle)
    assert sorted(path.name for path in theirs.iterdir()) == ["file", "final"]


@pytest.mark.parametrize("kind", ["link", "file", "gone"])
def test_no_file_that_was_put_in_its_place_gets_the_final_name(theirs: Path, tmp_path: Path, kind: str) -> None:
    """Whoever may write in the folder cannot have libvirt give a file of theirs, or any other one, to QEMU's user."""
    with safefiles.folder(str(theirs)) as folder:
        handle = safefiles.make(folder, "draft")
        (theirs / "draft").rename(theirs / "kept")
        if kind == "link":
            (theirs / "draft").symlink_to(tmp_path / "secret")
        elif kind == "file":
            (theirs / "draft").write_text("theirs")
        safefiles.rename(folder, handle, "draft", "final")
        assert safefiles.identity(folder, "final") == Identity.of(handle)
        assert safefiles.exists(folder, "draft") == (kind != "gone"), "what is not ours stays"
        for name in ("kept", "final"):
            (theirs / name).unlink()
        with pytest.raises(FileNotFoundError):
            safefiles.rename(folder, handle, "draft", "final")
        os.close(handle)


def test_only_the_file_that_was_made_is_removed(theirs: Path) -> None:
    with safefiles.folder(str(theirs)) as folder:
        handle = safefiles.make(folder, "disk")
        made = Identity.of(handle)
        os.close(handle)
        (theirs / "disk").unlink()
        (theirs / "disk").write_text("another's, perhaps with the number that ours had")
        assert not safefiles.remove(folder, "disk", made)
        assert (theirs / "disk").exists()
        (theirs / "disk").unlink()
        (theirs / "disk").symlink_to("../secret")
        assert not safefiles.remove(folder, "disk", made)
        assert not safefiles.remove(folder, "gone", made)
        there = safefiles.identity(folder, "disk")
        assert there is not None
        assert safefiles.remove(folder, "disk", there)
    assert (theirs.parent / "secret").exists()
    assert list(theirs.iterdir()) == []


def test_a_number_that_is_used_again_is_another_file(tmp_path: Path) -> None:
    seen: dict[tuple[int, int], Identity] = {}
    with safefiles.folder(str(tmp_path)) as folder:
        for _ in range(50):
            handle = safefiles.make(folder, "disk")
            made = Identity.of(handle)
            os.close(handle)
            again = seen.get((made.device, made.inode))
            assert again != made
            seen[made.device, made.inode] = made
            (tmp_path / "disk").unlink()
        safefiles.sync(folder)
        assert safefiles.real(folder) == str(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one"
    (tmp_path / "one.part").symlink_to(tmp_path / "elsewhere")  # of a write that was cut off, or of somebody else
    synced: list[str] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    safefiles.write(path, "first")
    assert path.read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert synced == [str(tmp_path / "one.part"), str(tmp_path)]
    assert not (tmp_path / "elsewhere").exists()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        safefiles.write(path, "second")
    assert path.read_text() == "first"


def test_files_are_put_in_place_by_one_function() -> None:
    """Another one would forget to sync the folder."""
    source = Path(safefiles.__file__).parent
    others = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r'with_(name|suffix)\(.*\.(new|part)"', path.read_text())
    }
    assert others == {
        "agent/peers/site.py",  # a file to try a certificate with
        "lab/image.py",
        "lab/tree.py",
        "safefiles.py",
    }
