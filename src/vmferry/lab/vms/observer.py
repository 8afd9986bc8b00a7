"""Receive the guests' ticks, and record through which host and when each came. This shows the pause from outside.

Each host has a thread in the switch's namespace, with a socket that is bound to the interface of that host. So the host
of a tick is certain.
"""

import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vmferry.core import codes
from vmferry.core.errors import InternalError
from vmferry.lab import layout, network
from vmferry.lab.layout import Layout

_TICK = struct.Struct("<IIQQQQQQ")
_MAGIC = 0x5449434B
_CLONE_NEWNET = 0x40000000
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33  # asm-generic/socket.h; Python names neither
_TIMESPEC = struct.Struct("qq")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick: when it came (monotonic seconds), through which host, and what the guest reported."""

    at: float
    host: str
    vm: int
    number: int
    memory_errors: int
    pages_changed: int
    records: int
    disk_errors: int
    verified: int


class Observer:
    """Listens until `close`. It is a context manager.

    Arguments:
        lab: the lab of the guests.
        hosts: names of the hosts to listen at.
    """

    def __init__(self, lab: Layout, hosts: list[str]) -> None:
        self._changed = threading.Condition()
        self._ticks: dict[int, list[Tick]] = {}
        self._closing = False
        self._sockets: dict[str, socket.socket] = {}
        self._verify = int(time.time())  # a number that no earlier observer has sent to this guest
        self._threads = []
        for host in hosts:
            opened = _open_in(lab.switch, network.observer_interface(host))
            self._sockets[host] = opened
            thread = threading.Thread(target=self._listen, args=(host, opened), name=f"observer-{host}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Ticks that came before are kept."""
        self._closing = True
        for thread in self._threads:
            thread.join(5.0)
        for opened in self._sockets.values():
            opened.close()

    def ticks(self, vm: int = 1, since: float = 0.0) -> list[Tick]:
        """Return the ticks of a VM since a point in time, in the order in which they came."""
        with self._changed:
            return [tick for tick in self._ticks.get(vm, []) if tick.at >= since]

    def wait(
        self, wanted: Callable[[Tick], bool], vm: int = 1, timeout: float = 60.0, since: float | None = None
    ) -> Tick:
        """Wait for a tick that came after `since` (default: now).

        Raises:
            InternalError: lab-timeout.
        """
        limit = time.monotonic() + timeout
        start = time.monotonic() if since is None else since
        seen = 0
        with self._changed:
            while True:
                ticks = self._ticks.get(vm, [])
                for tick in ticks[seen:]:
                    if tick.at >= start and wanted(tick):
                        return tick
                seen = len(ticks)
                if not self._changed.wait(max(0.0, limit - time.monotonic())) and time.monotonic() >= limit:
                    raise InternalError(
                        codes.LAB_TIMEOUT, what=f"A tick of guest {vm}", seconds=timeout, place="the lab"
                    )

    def wait_ticking(self, host: str, vm: int = 1, timeout: float = 60.0) -> Tick:
        """Wait for a tick of a VM through a host."""
        return self.wait(lambda tick: tick.host == host, vm, timeout)

    def pause(self, since: float, until: float, vm: int = 1) -> float:
        """Return the longest time without a tick, in seconds, between two points in time (at most until now)."""
        moments = [tick.at for tick in self.ticks(vm) if since <= tick.at <= until]
        ends = [since, *moments, max(since, *moments, min(until, time.monotonic()))]
        return max(after - before for before, after in pairwise(ends))

    def lost(self, vm: int = 1, since: float = 0.0) -> int:
        """Return how many ticks are missing between the first and the last since a point in time."""
        numbers = {tick.number for tick in self.ticks(vm, since)}
        return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0

    def ran_twice(self, vm: int | None = None) -> list[int]:
        """Return the numbers that came through more than one host: then two copies were running.

        Arguments:
            vm: number of the VM; None for all VMs.
        """
        with self._changed:
            vms = list(self._ticks) if vm is None else [vm]
        twice = []
        for one in vms:
            hosts: dict[int, str] = {}
            twice += [tick.number for tick in self.ticks(one) if hosts.setdefault(tick.number, tick.host) != tick.host]
        return twice

    def command(self, text: str, vm: int = 1) -> None:
        """Send a command to a guest through every host, because it may run on any of them."""
        for opened in self._sockets.values():
            try:
                opened.sendto(text.encode(), (f"{layout.GUESTS}.{100 + vm}", layout.COMMAND_PORT))
            except OSError:
                continue  # the guest is not on this host

    def verify(self, vm: int = 1, timeout: float = 120.0) -> Tick:
        """Have a guest verify all its memory and disk records. Return the tick that reports the result.

        Raises:
            InternalError: lab-timeout.
        """
        self._verify += 1
        wanted = self._verify & 0x7FFFFFFF
        limit = time.monotonic() + timeout
        while True:
            self.command(f"verify {wanted}", vm)
            try:
                return self.wait(lambda tick: tick.verified == wanted, vm, timeout=2.0)
            except InternalError:
                if time.monotonic() > limit:
                    raise

    def _listen(self, host: str, opened: socket.socket) -> None:
        opened.settimeout(0.2)
        while not self._closing:
            try:
                data, attached, _, _ = opened.recvmsg(2048, 256)
            except OSError:  # the wait is over
                continue
            if len(data) != _TICK.size:
                continue  # the answer to a command
            magic, vm, *numbers = _TICK.unpack(data)
            if magic != _MAGIC:
                continue
            tick = Tick(_arrival(attached), host, vm, *numbers)
            with self._changed:
                self._ticks.setdefault(vm, []).append(tick)
                self._changed.notify_all()


def _arrival(attached: list[tuple[int, int, bytes]]) -> float:
    """Return the monotonic time at which the kernel received a datagram; this thread may have run later."""
    for level, kind, data in attached:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            ago: int = time.time_ns() - seconds * 1_000_000_000 - nanoseconds
            return time.monotonic() - ago / 1e9
    return time.monotonic()


def _open_in(namespace: str, interface: str) -> socket.socket:
    """Open a socket for one interface. It stays in its namespace, whichever thread uses it."""
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            with Path(f"/run/netns/{namespace}").open() as space:
                if _libc.setns(space.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            opened.bind(("", layout.TICK_PORT))
            made.append(opened)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)  # the namespace of a thread ends with it
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
