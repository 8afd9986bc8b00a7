"""Every check there is, in the order in which their findings are told."""

from vmferry.core.vm import VmSnapshot
from vmferry.preflight import cpu, devices, firmware, hosts, machine, memory, networks, settings, storage, taken, vm
from vmferry.preflight.case import Case, Check, End, Room, Way

OF_HOST: tuple[Check[End], ...] = (settings.HOST,)
"""What each host asks of itself."""

OF_VM: tuple[Check[VmSnapshot], ...] = (vm.STATE, vm.SNAPSHOTS, vm.DISKS)
"""The source's half: the VM by itself."""

OF_MOVE: tuple[Check[Case], ...] = (
    hosts.IDENTITY,
    taken.TAKEN,
    machine.MACHINE,
    cpu.CPU,
    memory.MEMORY,
    storage.STORAGE,
    networks.NETWORKS,
    firmware.FILES,
    firmware.TPM,
    devices.BOUND,
    devices.POLICY,
    devices.LIBVIRT,
    machine.VERSIONS,
    machine.LETHAL,
    hosts.VMFERRY,
    hosts.CLOCK,
    hosts.CONFINEMENT,
)
"""The destination's half: the VM on it."""

OF_ROOM: tuple[Check[Room], ...] = (settings.ROOM,)
"""What each host asks of itself when it is only asked: a move finds out by taking its place."""

OF_WAY: tuple[Check[Way], ...] = (settings.WAY,)
"""The source again, when the destination has said where it would receive."""
