"""Faults of a host that last for a `with` block, and are gone after it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.lab.harness import kill, processes, wait
from vmferry.lab.host import LabHost


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """Have another text in a file."""
    before = path.read_bytes()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def mounted(host: LabHost, folder: str, *options: str, kind: str = "tmpfs") -> Iterator[None]:
    """Have an empty file system over a folder of one host."""
    host.run("mount", "-t", kind, *options, "none", folder)
    try:
        yield
    finally:
        host.run("umount", folder)


@contextmanager
def without(host: LabHost, program: str) -> Iterator[None]:
    """Have a program not installed on one host, if the machine has it."""
    path = shutil.which(program)
    if path is None:
        yield
        return
    host.run("mount", "--bind", "/dev/null", path)
    try:
        yield
    finally:
        host.run("umount", path)


@contextmanager
def changed(host: LabHost, file: str, old: str, new: str) -> Iterator[None]:
    """Have a part of a file of the machine replaced on one host; programs that run may have read it already."""
    text = Path(file).read_text()
    assert old in text
    with NamedTemporaryFile("w", suffix=Path(file).suffix) as other:
        other.write(text.replace(old, new))
        other.flush()
        Path(other.name).chmod(0o644)
        host.run("mount", "--bind", other.name, file)
        try:
            yield
        finally:
            host.run("umount", file)


@contextmanager
def stopped(host: LabHost) -> Iterator[None]:
    """End vmferryd on a host, and keep its supervisor from starting it again."""
    (supervisor,) = processes(host, "vmferry.supervisor")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        kill(host, "bin/vmferryd")
        wait(lambda: not host._daemon_answers(), 10.0, "vmferryd to be gone")
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        host.wait_ready()


@contextmanager
def without_supervisor(host: LabHost) -> Iterator[None]:
    """Kill a host's supervisor, and keep the host's init from starting it again; vmferryd runs on."""
    init = host.pid
    assert init is not None
    os.kill(init, signal.SIGSTOP)
    try:
        kill(host, "vmferry.supervisor")
        yield
    finally:
        os.kill(init, signal.SIGCONT)
        wait(lambda: processes(host, "vmferry.supervisor"), 10.0, "the supervisor to be back")


@contextmanager
def started_by_hand(host: LabHost) -> Iterator[None]:
    """Have a vmferryd on a host that its supervisor has not started."""
    with stopped(host):
        daemon = subprocess.Popen(
            host.command("vmferryd"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait(host._daemon_answers, 10.0, "vmferryd to answer")
    try:
        yield
    finally:
        kill(host, "bin/vmferryd")
        daemon.wait(10.0)
        host.wait_ready()


def restart_daemon(host: LabHost) -> None:
    """Have vmferryd started anew."""
    with stopped(host):
        pass


def restart_libvirt(host: LabHost) -> None:
    """Have libvirtd started anew; VMs run on."""
    kill(host, "libvirtd --pid-file")
    wait(lambda: host.run("virsh", "-q", "uri", check=False).returncode == 0, 30.0, "libvirtd to be back")


def refusals(host: LabHost, peer: str, call: str, times: int) -> list[str]:
    """Call a paired host as vmferryd does, several times in a row; return the codes of its refusals.

    Arguments:
        call: of `client`, a PeerClient.
    """
    return host.run(sys.executable, "-c", _CALL.format(call=call), peer, str(times)).stdout.split()


_CALL = """\
import sys
from vmferry import config
from vmferry.core.messages.bandwidth import BandwidthRequest
from vmferry.core.errors import VmferryError
from vmferry.core.messages.probe import ProbeRequest
from vmferry.identity import certificates
from vmferry.identity.peer import PeerClient
from vmferry.store.database import Database
from vmferry.store.peers import Peers

mine = config.load()
client = PeerClient(mine, Peers(Database(mine.database)).get(sys.argv[1]))
certificate, _ = certificates.create("test")
for _ in range(int(sys.argv[2])):
    try:
        {call}
    except VmferryError as error:
        print(error.code.name)
"""
