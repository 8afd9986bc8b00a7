import os
import queue
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vmferry.core.request import Sockets
from vmferry.transfer.worker.listeners import Doors

_CALL = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
caller = socket.socket(socket.AF_UNIX)
caller.connect(sys.argv[1])
assert caller.recv(1) == b""
"""


def test_each_door_leads_to_its_own_and_shuts(tmp_path: Path) -> None:
    (tmp_path / "qemu").mkdir()
    sockets = Sockets(str(tmp_path))
    came: queue.Queue[str] = queue.Queue()

    def note(name: str) -> object:
        def take(connection: socket.socket) -> None:
            came.put(name)
            connection.close()

        return take

    doors = Doors(sockets, os.getuid())
    doors.open(rpc=note("rpc"), memory=note("memory"), disk=note("disk"))  # type: ignore[arg-type]
    for name, place in (("rpc", sockets.rpc), ("memory", sockets.memory), ("disk", sockets.disk)):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(place)
            assert came.get(timeout=10) == name
        assert Path(place).stat().st_mode & 0o777 == 0o600
    doors.close()
    with socket.socket(socket.AF_UNIX) as caller, pytest.raises(ConnectionRefusedError):
        caller.connect(sockets.rpc)


@pytest.mark.root
def test_no_socket_is_made_where_another_could_exchange_its_name(tmp_path: Path) -> None:
    (tmp_path / "qemu").mkdir()
    os.chown(tmp_path / "qemu", 65534, 65534)
    (tmp_path / "victim").touch()
    (tmp_path / "qemu" / "memory.sock").symlink_to("../victim")
    doors = Doors(Sockets(str(tmp_path)), 65534)
    with pytest.raises(PermissionError):
        doors.open(rpc=print, memory=print, disk=print)
    doors.close()
    assert (tmp_path / "victim").stat().st_uid == os.getuid()


def test_one_connection_that_cannot_be_taken_closes_no_door(tmp_path: Path) -> None:
    (tmp_path / "qemu").mkdir()
    sockets = Sockets(str(tmp_path))
    came: queue.Queue[int] = queue.Queue()

    def take(connection: socket.socket) -> None:
        came.put(1)
        connection.close()
        raise OSError("the session has just broken")

    doors = Doors(sockets, os.getuid())
    doors.open(rpc=take, memory=take, disk=take)
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(sockets.rpc)
            assert came.get(timeout=10) == 1
    doors.close()


@pytest.mark.root
def test_only_root_and_qemu_come_in(tmp_path: Path) -> None:
    (tmp_path / "qemu").mkdir()
    for place in (tmp_path, *tmp_path.parents):
        if not place.stat().st_mode & 0o001:
            place.chmod(0o711)
    sockets = Sockets(str(tmp_path))
    came: queue.Queue[str] = queue.Queue()
    doors = Doors(sockets, 65533)

    def take(connection: socket.socket) -> None:
        came.put("memory")
        connection.close()

    doors.open(rpc=take, memory=take, disk=take)
    Path(sockets.memory).chmod(0o666)  # as if somebody had got past the permissions
    call = [sys.executable, "-c", _CALL, sockets.memory]
    assert subprocess.run([*call, "65534"], timeout=10, check=False).returncode == 0, "the door was shut at once"
    assert came.empty()
    with subprocess.Popen([*call, "65533"]) as caller:
        assert came.get(timeout=10) == "memory"
        caller.kill()
    doors.close()
