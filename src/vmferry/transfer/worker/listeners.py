"""The unix sockets that the source's worker serves: to its libvirt and QEMU they are the destination."""

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from vmferry import safefiles
from vmferry.core.request import Sockets
from vmferry.net import localsockets

log = logging.getLogger("vmferry.transfer")

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
        own = os.geteuid()
        self._listen(self._sockets.rpc, own, (own,), rpc)
        self._listen(self._sockets.memory, self._qemu_uid, (self._qemu_uid, own), memory)
        self._listen(self._sockets.disk, self._qemu_uid, (self._qemu_uid, own), disk)

    def close(self) -> None:
        """Take no more connections; those taken stay."""
        for listener in self._listeners:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept; close alone would not
            except OSError:
                pass
            listener.close()
        self._listeners.clear()

    def _listen(self, place: str, owner: int, callers: tuple[int, ...], take: Take) -> None:
        folder, name = safefiles.split(place)
        with safefiles.folder(folder) as inside:
            status = os.fstat(inside)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise PermissionError(errno.EPERM, "others than root can write there", folder)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=inside)
            listener = socket.socket(socket.AF_UNIX)
            self._listeners.append(listener)
            # In a folder that root alone can write, the name stays what it is between these steps.
            listener.bind(place)
            os.chmod(name, 0o600, dir_fd=inside)
            os.chown(name, owner, -1, dir_fd=inside, follow_symlinks=False)
        listener.listen(64)
        threading.Thread(target=_accept, args=(listener, place, callers, take), name="door", daemon=True).start()


def _accept(listener: socket.socket, place: str, callers: tuple[int, ...], take: Take) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # closed
        try:
            localsockets.require(connection, callers)
            take(connection)
        except Exception:
            # One caller that is not let in, or whose stream cannot be opened, closes no door for the others.
            log.exception("a connection to %s was not taken", place)
            connection.close()
