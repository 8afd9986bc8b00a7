"""Prepare a lab for use: pair its hosts, and add VMs."""

import itertools
import re
import subprocess
from collections.abc import Sequence

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.shell import failed
from vmferry.lab.vms.vm import Guest, GuestDisk

FIRST = "web01"
_MAC = re.compile(r"52:54:00:93:00:([0-9a-f]{2})")
_NUMBERS = range(1, 255)  # of guests, the last byte of their addresses
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")


def pair(hosts: Sequence[LabHost]) -> int:
    """Pair each two hosts with one-time tokens, unless they are paired.

    Returns:
        How many pairs were added.
    """
    made = 0
    for one, two in itertools.combinations(hosts, 2):
        with one.client() as first, two.client() as second:
            if two.name not in [host.name for host in first.hosts()]:
                first.pair(second.invite().token, two.name)
                made += 1
    return made


def add(lab: Lab, name: str, host: LabHost, memory: int = 256, disk: int = 1024) -> Guest:
    """Create a VM on a host and start it. It changes memory and writes to its disk all the time.

    Arguments:
        memory: MiB.
        disk: MiB.

    Raises:
        UsageError: lab-vm-name: the name is invalid or in use, or the lab is full.
        InternalError: lab-command-failed: libvirt or qemu-img refused.
    """
    owners = {vm: one.name for one in lab.hosts for vm in one.vms()}
    if name in owners or not _NAME.fullmatch(name):
        why = f"{owners[name]} has a VM of that name" if name in owners else "use letters, digits, dots and dashes"
        raise UsageError(codes.LAB_VM_NAME, name=name, why=why)
    number = next((one for one in _NUMBERS if one not in _taken(lab)), None)
    if number is None:
        raise UsageError(codes.LAB_VM_NAME, name=name, why="the lab is full")
    guest = Guest(
        name=name,
        number=number,
        memory=memory,
        busy=min(32, memory // 4),
        rate=2,
        records=5,
        disks=(GuestDisk(size=disk, filled=min(100, disk // 4)),),
    )
    try:
        guest.create(host)
    except subprocess.CalledProcessError as error:
        raise failed(error.cmd, error.stderr) from error
    return guest


def _taken(lab: Lab) -> set[int]:
    """Return the numbers that guests of the lab have."""
    xmls = [one.run("virsh", "dumpxml", vm, check=False).stdout for one in lab.hosts for vm in one.vms()]
    return {int(found, 16) for xml in xmls for found in _MAC.findall(xml)}
