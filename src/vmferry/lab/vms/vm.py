"""The lab's VM: a guest that changes its memory, writes to its disk and sends ticks, so that a move can be verified."""

import re
import subprocess
from dataclasses import dataclass, field

from vmferry.lab import image
from vmferry.lab.host import LabHost

IMAGES = "/var/lib/libvirt/images"

# pti=on: QEMU before 9.0 loses writes while it moves an emulated VM, because clearing the dirty bitmap does not flush
# the translation cache (fixed by QEMU's commit 03bfc2188f06); one guest in six crashed. With page table isolation the
# guest flushes that cache whenever it enters or leaves its kernel: none of 40 crashed.
_XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 pti=on {parameters}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{disks}    <interface type='bridge'>
      <mac address='52:54:00:93:00:{number:02x}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""

_WITH_ALL = ("--managed-save", "--snapshots-metadata", "--checkpoints-metadata", "--nvram")


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk of the guest. Sizes are in MiB.

    Arguments:
        filled: how much of it has data from the beginning.
        device: `disk`, or `cdrom`; a cdrom without a path is an empty drive.
        options: options of `qemu-img create`, e.g. `preallocation=metadata`, which virt-install uses.
    """

    target: str = "vda"
    format: str = "qcow2"
    size: int = 2048
    filled: int = 300
    folder: str = IMAGES
    readonly: bool = False
    device: str = "disk"
    empty: bool = False
    options: str = ""

    def path(self, vm: str) -> str:
        """Return the path of its file."""
        return f"{self.folder}/{vm}-{self.target}.{self.format}"

    def xml(self, vm: str) -> str:
        """Return its element of the domain XML."""
        bus = "sata" if self.device == "cdrom" else "virtio"
        source = "" if self.empty else f"<source file='{self.path(vm)}'/>"
        readonly = "<readonly/>" if self.readonly else ""
        return (
            f"    <disk type='file' device='{self.device}'><driver name='qemu' type='{self.format}'/>"
            f"{source}<target dev='{self.target}' bus='{bus}'/>{readonly}</disk>\n"
        )


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM to create. Memory is in MiB, `rate` in changed MiB per second, `records` in disk records per second.

    Arguments:
        machine: by default the newest of Debian 12's QEMU, which newer releases also have; `q35` is the newest of each.
    """

    name: str = "web01"
    number: int = 1
    memory: int = 256
    busy: int = 64
    rate: int = 10
    records: int = 20
    disks: tuple[GuestDisk, ...] = field(default_factory=lambda: (GuestDisk(),))
    persistent: bool = True
    machine: str = "pc-q35-7.2"

    def create(self, host: LabHost) -> None:
        """Create its disks on a host, define it and start it.

        Raises:
            CalledProcessError: libvirt or qemu-img refused.
        """
        for disk in self.disks:
            if not disk.empty:
                self._make(host, disk)
        kernel, initramfs = image.prepare(host.lab)
        xml = _XML.format(
            name=self.name,
            number=self.number,
            memory=self.memory,
            machine=self.machine,
            parameters=f"vmf.vm={self.number} vmf.memory={self.busy} vmf.rate={self.rate} vmf.records={self.records}",
            kernel=kernel,
            initramfs=initramfs,
            disks="".join(disk.xml(self.name) for disk in self.disks),
        )
        host.run("virsh", "define", "/dev/stdin", text=xml)
        host.run("virsh", "start", self.name)

    def _make(self, host: LabHost, disk: GuestDisk) -> None:
        path = disk.path(self.name)
        options = ["-o", disk.options] if disk.options else []
        host.run("qemu-img", "create", "-q", "-f", disk.format, *options, path, f"{disk.size}M")
        # The guest's records are in the last 64 MiB. The rest never changes and shows that a copy is complete.
        steps = [f"write -q -P {1 + start % 251} {start}M 1M" for start in range(min(disk.filled, disk.size - 64))]
        arguments = [word for step in steps for word in ("-c", step)]
        if arguments:
            host.run("qemu-io", "-f", disk.format, *arguments, path)


def state(host: LabHost, name: str) -> str:
    """Return the state of a VM on a host, as virsh prints it; `absent` if it does not exist."""
    done = host.run("virsh", "domstate", name, check=False)
    return done.stdout.strip() if not done.returncode else "absent"


def check_content(host: LabHost, disk: GuestDisk, path: str) -> None:
    """Verify every byte of the data that was filled in at the beginning. The VM may be running.

    Raises:
        AssertionError: the data differs.
    """
    steps = [f"read -q -P {1 + start % 251} {start}M 1M" for start in range(min(disk.filled, disk.size - 64))]
    arguments = [word for step in steps for word in ("-c", step)]
    try:
        done = host.run("qemu-io", "-f", disk.format, "-r", "-U", *arguments, path)
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{path} cannot be read: {error.stderr}") from error
    wrong = re.findall(r"Pattern verification failed.*", done.stdout + done.stderr)
    assert not wrong, f"{path}: {wrong[:3]}"


def remove_all(host: LabHost) -> None:
    """Remove every VM and disk of a host."""
    for name in host.run("virsh", "-q", "list", "--name").stdout.strip().splitlines():
        host.run("virsh", "destroy", name, check=False)
    for name in host.run("virsh", "-q", "list", "--all", "--name").stdout.strip().splitlines():
        host.run("virsh", "undefine", name, *_WITH_ALL, check=False)
    for file in host.images.iterdir():
        file.unlink()
