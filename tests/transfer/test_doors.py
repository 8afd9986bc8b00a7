import os
import queue
import socket
from pathlib import Path

import pytest

from vmferry.core.request import Sockets
from vmferry.transfer.doors import Doors


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
