"""Unix sockets of this host: whoever is at the other end is asked of the kernel, never told from the path."""

import errno
import os
import socket
import stat
import struct
from collections.abc import Collection
from typing import Protocol

from vmferry import safefiles


class Connected(Protocol):
    """A socket, or what asyncio shows of one."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes:
        """Return what an option of the socket is."""
        ...


_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def dial(path: str, uid: int, seconds: float = 10.0) -> socket.socket:
    """Connect to a unix socket that a certain user listens on.

    Arguments:
        path: no link that another than root could have made is followed in it.
        uid: of the user.
        seconds: how long connecting may take.

    Raises:
        OSError: nobody listens there, or somebody else does (EPERM).
    """
    folder, name = safefiles.split(path)
    with safefiles.folder(folder) as inside:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), path)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(f"/proc/self/fd/{found}")
            require(connection, (uid,), path)
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
    finally:
        os.close(found)
    return connection


def user(connection: Connected) -> tuple[int, int]:
    """Return uid and gid of who is at the other end of a connected unix socket: of connect(2), or of listen(2)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, gid = _CREDENTIALS.unpack(raw)
    return uid, gid


def require(connection: Connected, uids: Collection[int], path: str = "") -> None:
    """Check who is at the other end of a connected unix socket.

    Arguments:
        path: of the socket, for the error.

    Raises:
        PermissionError: it is none of these users.
    """
    uid, _gid = user(connection)
    if uid not in uids:
        named = " or ".join(str(known) for known in uids)
        raise PermissionError(errno.EPERM, f"the user {uid} is at its other end, not {named}", path)
