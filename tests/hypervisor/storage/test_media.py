"""Media that both hosts may have: real files."""

import os
import subprocess
from pathlib import Path

import pytest

from vmferry.hypervisor.storage import media

KEY = "5a" * 32
ME = os.getuid()


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    path = tmp_path / "deb.iso"
    path.write_bytes(os.urandom(1 << 20) * 9)
    return path


def digest(path: Path, key: str = KEY, format_: str = "raw") -> str | None:
    return media.digest(str(path), key, lambda _done: True, format_=format_)


def test_the_same_content_has_the_same_digest_and_only_for_one_key(iso: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.iso"
    copy.write_bytes(iso.read_bytes())
    one, other = digest(iso), digest(copy)
    assert one
    assert other
    assert media.agree(one, other)
    assert digest(iso, "5b" * 32) != one
    copy.write_bytes(iso.read_bytes()[:-1] + b"\0")
    assert digest(copy) != one


def test_a_digest_can_be_given_up(iso: Path) -> None:
    seen: list[int] = []

    def give_up(done: int) -> bool:
        seen.append(done)
        return False

    assert media.digest(str(iso), KEY, give_up, format_="raw") is None
    assert seen == [4 << 20]


def test_a_file_that_changes_meanwhile_is_no_medium(iso: Path) -> None:
    def write(_done: int) -> bool:
        iso.write_bytes(b"x" * iso.stat().st_size)
        return True

    with pytest.raises(OSError, match="changed while it was read"):
        media.digest(str(iso), KEY, write, format_="raw")


def test_a_file_that_is_replaced_meanwhile_is_no_medium(iso: Path) -> None:
    def replace(_done: int) -> bool:
        other = iso.with_suffix(".new")
        other.write_bytes(iso.read_bytes())
        other.rename(iso)
        return True

    with pytest.raises(OSError, match="changed while it was read"):
        media.digest(str(iso), KEY, replace, format_="raw")


@pytest.mark.root
def test_no_medium_is_read_where_a_user_s_link_leads(iso: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    (theirs / "deb.iso").symlink_to(iso)
    os.mkfifo(theirs / "fifo")
    with pytest.raises(OSError, match="symbolic link"):
        digest(theirs / "deb.iso")
    with pytest.raises(OSError, match="no regular file"):
        digest(theirs / "fifo")


def test_an_image_that_names_another_file_is_refused(tmp_path: Path) -> None:
    base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
    for command in (["-f", "qcow2", str(base), "1M"], ["-f", "qcow2", "-b", str(base), "-F", "qcow2", str(top)]):
        subprocess.run(["qemu-img", "create", "-q", *command], check=True)
    with pytest.raises(OSError, match="names another file"):
        digest(top, format_="qcow2")
    assert digest(base, format_="qcow2")


def test_a_file_of_the_right_size_that_only_root_and_qemu_can_change_will_do(iso: Path) -> None:
    assert media.trouble(str(iso), iso.stat().st_size, ME) is None


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("size", "another size"),
        ("link", "no regular file"),
        ("fifo", "no regular file"),
        ("mode", "can write to it"),
        ("owner", "can write to it"),
        ("folder", "can replace it"),
        ("above", "can replace it"),
        ("gone", "No such file"),
    ],
)
@pytest.mark.root
def test_another_file_will_not_do(tmp_path: Path, what: str, why: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = folder / "deb.iso"
    path.write_bytes(b"x" * 10)
    size = 11 if what == "size" else 10
    if what == "link":
        path.rename(folder / "real.iso")
        path.symlink_to(folder / "real.iso")
    elif what == "fifo":
        path.unlink()
        os.mkfifo(path)
    elif what == "mode":
        path.chmod(0o664)
    elif what == "owner":
        os.chown(path, 1000, 1000)
    elif what == "folder":
        folder.chmod(0o777)
    elif what == "above":
        os.chown(folder.parent, 1000, 1000)
    elif what == "gone":
        path.unlink()
    assert why in str(media.trouble(str(path), size, 64055))
