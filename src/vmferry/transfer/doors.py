"""The unix sockets that the source's worker serves: to its libvirt and QEMU they are the destination."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from vmferry.core.request import Sockets

Take = Callable[[socket.socket], object]


class Doors:
    """The listening sockets of one outgoing move.

    Arguments:
        sockets: where they go.
        qemu_uid: the user that QEMU runs as; the memory and disk sockets are its own.
    """

    def __init__(self, sockets: Sockets, qemu_uid: int) -> None:
        self._sockets = sockets
        self._qemu_uid = qemu_uid
        self._listeners: list[socket.socket] = []

    def open(self, *, rpc: Take, memory: Take, disk: Take) -> None:
        """Listen; each function gets every connection to its socket, and owns it."""
        self._listen(self._sockets.rpc, 0, rpc)
        self._listen(self._sockets.memory, self._qemu_uid, memory)
        self._listen(self._sockets.disk, self._qemu_uid, disk)

    def close(self) -> None:
        """Take no more connections; those taken stay."""
        for listener in self._listeners:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept; close alone would not
            except OSError:
                pass
            listener.close()
        self._listeners.clear()

    def _listen(self, place: str, owner: int, take: Take) -> None:
        Path(place).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place)
        Path(place).chmod(0o600)
        os.chown(place, owner, 0)
        listener.listen(64)
        self._listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, take), name="door", daemon=True).start()


def _accept(listener: socket.socket, take: Take) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # closed
        try:
            take(connection)
        except Exception:
            connection.close()
            raise
