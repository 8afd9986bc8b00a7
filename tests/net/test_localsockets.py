import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmferry.net.localsockets import dial

OTHER = 65534
_LISTEN = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(8)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Make a folder of another user, that it can come to."""
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_mode & 0o001 == 0:
            place.chmod(0o711)
    place = tmp_path / "qemu"
    place.mkdir()
    os.chown(place, OTHER, OTHER)
    return place


@contextmanager
def listening(path: Path, uid: int) -> Iterator[None]:
    if uid == os.geteuid():
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(8)
            yield
        return
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _LISTEN, str(path)], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n"
        yield
        process.stdin.close()


def test_who_listens_is_asked_of_the_kernel(theirs: Path) -> None:
    with listening(theirs / "memory.sock", OTHER):
        dial(str(theirs / "memory.sock"), OTHER).close()
        with pytest.raises(PermissionError, match="65534"):
            dial(str(theirs / "memory.sock"), 0)


@pytest.mark.root
def test_a_socket_of_roots_in_qemus_folder_is_not_qemus(theirs: Path) -> None:
    with listening(theirs / "memory.sock", 0), pytest.raises(PermissionError):
        dial(str(theirs / "memory.sock"), OTHER)


@pytest.mark.root
def test_a_link_to_libvirts_socket_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    with listening(tmp_path / "libvirt-sock", 0):
        dial(str(tmp_path / "libvirt-sock"), 0).close()
        (theirs / "memory.sock").symlink_to("../libvirt-sock")
        for uid in (0, OTHER):
            with pytest.raises(OSError):
                dial(str(theirs / "memory.sock"), uid)
        (theirs / "memory.sock").unlink()
        os.link(tmp_path / "libvirt-sock", theirs / "memory.sock")
        with pytest.raises(PermissionError):
            dial(str(theirs / "memory.sock"), OTHER)


@pytest.mark.root
def test_a_folder_that_is_exchanged_for_a_link_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "libvirt").mkdir()
    os.chown(tmp_path / "libvirt", OTHER, OTHER)
    with listening(tmp_path / "libvirt" / "memory.sock", OTHER):
        (theirs / "inner").symlink_to("../libvirt")
        with pytest.raises(OSError):
            dial(str(theirs / "inner" / "memory.sock"), OTHER)


def test_what_is_no_socket_is_not_one(theirs: Path) -> None:
    (theirs / "file").touch()
    os.mkfifo(theirs / "fifo")
    for name in ("file", "fifo", "nothing"):
        with pytest.raises(OSError):
            dial(str(theirs / name), OTHER)
