"""The addresses of this host and the interfaces that have them, asked of the kernel (rtnetlink(7)).

Every move asks anew when it starts, so that addresses that came or went since count without anybody watching.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from vmferry.core.policy.networks import Local

_RTM_NEWADDR, _RTM_GETADDR, _ERROR, _DONE = 20, 22, 2, 3
_REQUEST_DUMP = 0x1 | 0x300
_HEADER = struct.Struct("=LHHLL")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBL")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_UNUSABLE = 0x40 | 0x08  # tentative; another host has it already
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def addresses() -> list[Local]:
    """Give every usable address of this host.

    Raises:
        OSError: the kernel does not tell.
    """
    found: list[Local] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.sendall(
            _HEADER.pack(_HEADER.size + _ADDRESS.size, _RTM_GETADDR, _REQUEST_DUMP, 1, 0) + _ADDRESS.pack(0, 0, 0, 0, 0)
        )
        while True:
            for kind, body in _messages(kernel.recv(64 << 10)):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "the kernel does not tell its addresses")
                if kind == _RTM_NEWADDR and (local := _local(body)) is not None:
                    found.append(local)


def of(address: str) -> str | None:
    """Name the interface that has an address; None when none has it."""
    return next((local.interface for local in addresses() if local.address == address), None)


def hold(sock: socket.socket, local: Local) -> None:
    """Keep a socket to the interface of an address: whatever the routes say, nothing leaves or comes by another.

    An address of the loopback interface is the host's as a whole, and its packets leave by any.

    Raises:
        OSError: there is no such interface any more.
    """
    if local.interface not in ("", "lo"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, local.interface.encode() + b"\0")


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _local(body: bytes) -> Local | None:
    family, length, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = dict(_attributes(body[_ADDRESS.size :]))
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)  # the second is the peer's on a tunnel
    if _IFA_FLAGS in attributes:
        (flags,) = struct.unpack("=L", attributes[_IFA_FLAGS])
    if raw is None or family not in _FAMILIES or flags & _UNUSABLE:
        return None
    try:
        return Local(str(ip_address(raw)), length, socket.if_indextoname(index))
    except OSError:
        return None  # it went away meanwhile


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return max(4, (length + 3) & ~3)
