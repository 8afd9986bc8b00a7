"""The kinds of faults: what each does to a host, and how it is taken back."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults.plan import KINDS
from tests.lab.harness import Pair, processes
from vmferry.lab import network
from vmferry.lab.host import LabHost

_WORKER, _DAEMON, _SUPERVISOR = "bin/vmferry-transfer", "bin/vmferryd", "vmferry.supervisor"
_LIBVIRTD, _QEMU = "libvirtd --pid-file", "qemu-system-x86_64 -name guest="
_IMAGES = "/var/lib/libvirt/images"


@dataclass(slots=True)
class Scene:
    """Where a fault happens.

    Arguments:
        source: the name of the host that the VM leaves.
        job: the move, as soon as it is known.
        cancelled: whether the source has taken a cancel; the destination only passes one on.
    """

    pair: Pair
    vm: str
    source: str
    job: str = ""
    cancelled: bool = False


Apply = Callable[[Scene, LabHost], AbstractContextManager[None]]


def apply(kind: str, scene: Scene, host: LabHost) -> AbstractContextManager[None]:
    """Return the fault of a kind on a host: it is there for a `with` block, or happens when the block begins."""
    return _KINDS[kind](scene, host)


def _signal(host: LabHost, pattern: str, number: signal.Signals) -> list[int]:
    found = processes(host, pattern) if host.pid else []
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it ended by itself
    return found


def _killed(pattern: str) -> Apply:
    @contextmanager
    def fault(_: Scene, host: LabHost) -> Iterator[None]:
        _signal(host, pattern, signal.SIGKILL)
        yield

    return fault


def _stopped(pattern: str) -> Apply:
    @contextmanager
    def fault(_: Scene, host: LabHost) -> Iterator[None]:
        found = _signal(host, pattern, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in found:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue  # another fault killed it

    return fault


@contextmanager
def _libvirtd_away(_: Scene, host: LabHost) -> Iterator[None]:
    init = host.pid
    if init is None:
        yield
        return
    os.kill(init, signal.SIGSTOP)  # it would start libvirtd again
    try:
        _signal(host, _LIBVIRTD, signal.SIGKILL)
        yield
    finally:
        if host.pid == init:
            os.kill(init, signal.SIGCONT)


@contextmanager
def _host_dead(scene: Scene, host: LabHost) -> Iterator[None]:
    host.stop()
    try:
        yield
    finally:
        host.start([one.name for one in scene.pair.hosts])
        host.wait_ready()
        scene.pair.listen_again()


def _cut(*links: str) -> Apply:
    @contextmanager
    def fault(scene: Scene, host: LabHost) -> Iterator[None]:
        for link in links:
            network.set_link(scene.pair.lab.layout, host.name, link, up=False)
        try:
            yield
        finally:
            for link in links:
                network.set_link(scene.pair.lab.layout, host.name, link, up=True)

    return fault


@contextmanager
def _slow(scene: Scene, host: LabHost) -> Iterator[None]:
    network.limit(scene.pair.lab.layout, host.name, "migration", "5mbit")
    try:
        yield
    finally:
        network.limit(scene.pair.lab.layout, host.name, "migration", None)  # the next run sets what it wants


@contextmanager
def _database_locked(_: Scene, host: LabHost) -> Iterator[None]:
    database = sqlite3.connect(host.home / "vmferry" / "vmferry.db", timeout=5.0, isolation_level=None)
    try:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            pass  # held by another fault
        yield
    finally:
        database.close()


@contextmanager
def _folder_read_only(_: Scene, host: LabHost) -> Iterator[None]:
    done = host.run("mount", "--bind", _IMAGES, _IMAGES, check=False) if host.pid else None
    if done is None or done.returncode:
        yield
        return
    host.run("mount", "-o", "remount,ro,bind", _IMAGES, check=False)
    try:
        yield
    finally:
        if host.pid:
            host.run("umount", "--lazy", _IMAGES, check=False)


@contextmanager
def _cancelled(scene: Scene, host: LabHost) -> Iterator[None]:
    if host.pid and scene.job:
        taken = _person(host, "vmferry", "job", "cancel", scene.job)
        scene.cancelled |= taken and host.name == scene.source
    yield


def _virsh(command: str) -> Apply:
    @contextmanager
    def fault(scene: Scene, host: LabHost) -> Iterator[None]:
        if host.pid:
            _person(host, "virsh", command, scene.vm)
        yield

    return fault


def _person(host: LabHost, *command: str) -> bool:
    """Run what a person may type; it may wait for a process that a fault has stopped. Return whether it was taken."""
    try:
        done = subprocess.run(host.command(*command), capture_output=True, timeout=40.0, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


_KINDS: dict[str, Apply] = {
    "worker killed": _killed(_WORKER),
    "vmferryd killed": _killed(_DAEMON),
    "supervisor killed": _killed(_SUPERVISOR),
    "libvirtd killed": _killed(_LIBVIRTD),
    "QEMU killed": _killed(_QEMU),
    "move cancelled": _cancelled,
    "VM suspended": _virsh("suspend"),
    "VM resumed": _virsh("resume"),
    "VM started": _virsh("start"),
    "VM destroyed": _virsh("destroy"),
    "worker stopped": _stopped(_WORKER),
    "vmferryd stopped": _stopped(_DAEMON),
    "libvirtd stopped": _stopped(_LIBVIRTD),
    "QEMU stopped": _stopped(_QEMU),
    "libvirtd away": _libvirtd_away,
    "host dead": _host_dead,
    "migration link cut": _cut("migration"),
    "management link cut": _cut("management"),
    "both links cut": _cut("management", "migration"),
    "migration link slow": _slow,
    "database locked": _database_locked,
    "disk folder read-only": _folder_read_only,
}
assert tuple(sorted(_KINDS)) == tuple(sorted(KINDS))
