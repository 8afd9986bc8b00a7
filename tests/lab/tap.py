"""A TCP proxy between two workers that understands their frames, and tells a script of each message in its order."""

import ctypes
import fcntl
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmferry.core.policy.settings import SettingsChange
from vmferry.lab import layout
from vmferry.lab.host import LabHost
from vmferry.lab.shell import inside
from vmferry.transfer.rpc import protocol
from vmferry.transfer.transport import frames, hello, seal

_MARK = 0x7A
_PORT = 6699
_SO_ORIGINAL_DST = 80
_SIOCOUTQ = 0x5411
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class _Cut(Exception):
    """Everything is to be cut."""


class _Assembly:
    """One direction of one stream, put in order by offset."""

    def __init__(self) -> None:
        self.taken = 0
        self.early: dict[int, bytes] = {}
        self.splitter = protocol.Splitter()
        self.control = bytearray()

    def feed(self, offset: int, data: bytes) -> bytes:
        self.early[offset] = data
        found = b""
        for start in sorted(self.early):
            if start > self.taken:
                break
            part = self.early.pop(start)[self.taken - start :]
            found += part
            self.taken += len(part)
        return found


class Tap:
    """Stands between the source's worker and the destination's.

    Arguments:
        source: where connections are taken over.
        destination: whose migration address they are for.
        at: the event, `rpc>306`, `control<went`, ...; `DATA>` for the first such frame after call 306.
        before: act before the event is passed on, else after.
        action: what to do; it returns whether everything is to be cut then.
    """

    def __init__(
        self, source: LabHost, destination: LabHost, at: str, *, before: bool, action: Callable[[], bool]
    ) -> None:
        self.events: list[str] = []
        self.acted = threading.Event()
        self._at, self._before, self._action = at, before, action
        self._source, self._destination = source, destination
        self._lock = threading.RLock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._rpc_streams: set[int] = set()
        self._streams: dict[tuple[int, str], _Assembly] = {}
        self._finishing = False
        self._cut = False
        self._listener = self._open()

    @contextmanager
    def running(self) -> Iterator["Tap"]:
        # A source that keeps to a network's interface cannot be led aside to this process.
        with self._source.client() as client:
            client.change_settings(SettingsChange(any_network=True))
        space = self._source.lab.namespace(self._source.name)
        self._listener.bind(("", _PORT))
        self._listener.listen(64)
        inside(space, "nft", "add table ip tap")
        inside(space, "nft", "add chain ip tap out { type nat hook output priority -100 ; }")
        address = layout.migration(self._destination.name)
        rule = f"meta mark != {_MARK} ip daddr {address} tcp dport 6610-6659 redirect to :{_PORT}"
        inside(space, "nft", f"add rule ip tap out {rule}")
        self._start(self._accept)
        try:
            yield self
        finally:
            inside(space, "nft", "delete table ip tap")
            self.cut()
            for thread in self._threads:
                thread.join()
            for sock in (self._listener, *self._sockets):
                sock.close()

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._cut = True
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _open(self) -> socket.socket:
        made: list[socket.socket | OSError] = []
        space = self._source.lab.namespace(self._source.name)

        def enter() -> None:
            try:
                with Path(f"/run/netns/{space}").open() as file:
                    if _libc.setns(file.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.append(sock)
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                raw = client.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
                port, address = struct.unpack_from("!2xH4s", raw)
                server = self._open()
                self._sockets.append(server)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
                server.connect((socket.inet_ntoa(address), port))
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                said: dict[str, str] = {}
                for one, two, direction in ((client, server, ">"), (server, client, "<")):
                    self._start(self._pump, one, two, direction, said)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pump(self, one: socket.socket, two: socket.socket, direction: str, said: dict[str, str]) -> None:
        try:
            for number in range(2 if direction == ">" else 3):
                head = exactly(one, hello.HEAD)
                body = exactly(one, hello.length(head))
                if direction == ">" and number == 0:
                    said["direction"] = json.loads(body)["direction"]
                two.sendall(head + body)
            if (said["direction"] == "forward") == (direction == ">"):
                while True:
                    self._frame(one, two, direction)
            while data := one.recv(65536):
                two.sendall(data)
        except _Cut:
            self.cut()
        except OSError:
            pass
        for sock in (one, two):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _frame(self, one: socket.socket, two: socket.socket, direction: str) -> None:
        head = exactly(one, frames.HEADER.size)
        stream, kind, _, offset, length, _ = frames.parse(head)
        payload = exactly(one, length)
        with self._lock:
            names = self._names(direction, stream, frames.Type(kind), offset, payload)
            self.events += names
            hit = self._at in names and not self.acted.is_set()
            if hit and self._before:
                self._act()
            if not hit:
                if self._cut:
                    raise _Cut
            else:
                self._pass(two, head + payload)
                if not self._before:
                    self._act()
                return
        two.sendall(head + payload)

    def _act(self) -> None:
        self.acted.set()
        if self._action():
            raise _Cut

    def _pass(self, two: socket.socket, data: bytes) -> None:
        """Send, and see that the other end's kernel has it."""
        two.sendall(data)
        limit = time.monotonic() + 2.0
        while time.monotonic() < limit and struct.unpack("i", fcntl.ioctl(two, _SIOCOUTQ, b"\0" * 4))[0]:
            time.sleep(0.001)
        time.sleep(0.02)

    def _names(self, direction: str, stream: int, kind: frames.Type, offset: int, payload: bytes) -> list[str]:
        names = []
        if self._finishing and f"{kind.name}{direction}" not in self.events:
            names.append(f"{kind.name}{direction}")
        if kind is frames.Type.OPEN and frames.opening_of(payload)[0] == "rpc":
            self._rpc_streams.add(stream)
        if kind is not frames.Type.DATA or (stream != frames.CONTROL and stream not in self._rpc_streams):
            return names
        assembly = self._streams.setdefault((stream, direction), _Assembly())
        data = assembly.feed(offset, payload)
        if stream == frames.CONTROL:
            assembly.control += data
            while len(assembly.control) >= 4:
                size = int.from_bytes(assembly.control[:4], "big")
                if len(assembly.control) < 4 + size + seal.SIZE:
                    break
                names.append(f"control{direction}{json.loads(bytes(assembly.control[4 : 4 + size])).get('do')}")
                del assembly.control[: 4 + size + seal.SIZE]
            return names
        for message in assembly.splitter.feed(data):
            names.append(f"rpc{direction}{message.procedure}")
            self._finishing |= names[-1] == "rpc>306"
        return names


def exactly(sock: socket.socket, length: int) -> bytes:
    """Read so many bytes."""
    held = bytearray()
    while len(held) < length:
        data = sock.recv(length - len(held))
        if not data:
            raise ConnectionResetError
        held += data
    return bytes(held)
