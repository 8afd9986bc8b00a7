"""All checks, in the order in which their findings are shown."""

from vmferry.core.messages.vm import VmSnapshot
from vmferry.preflight import forecast
from vmferry.preflight.case import Case, Check, DataRoute, End, FreeSlot
from vmferry.preflight.doctor import (
    access,
    certificates,
    clock,
    confinement,
    firewall,
    libvirt,
    listening,
    pair,
    service,
)
from vmferry.preflight.doctor import networks as doctor_networks
from vmferry.preflight.doctor import storage as doctor_storage
from vmferry.preflight.doctor.health import Health, Meeting
from vmferry.preflight.forecast import Forecast
from vmferry.preflight.host import compatibility, cpu, machine, memory, networks, reach, settings
from vmferry.preflight.host.compatibility import Pair
from vmferry.preflight.host.reach import Reachability
from vmferry.preflight.vm import changes, devices, displays, firmware, needs, sharing, storage, taken, vm
from vmferry.preflight.vm.sharing import Leaving

OF_HOST: tuple[Check[End], ...] = (settings.HOST,)
"""Each host about itself."""

OF_VM: tuple[Check[VmSnapshot], ...] = (vm.STATE, vm.SAVED, vm.DISKS, vm.BITMAPS, vm.DEFINITION, vm.BLOCKED)
"""The source about the VM alone."""

OF_MOVE: tuple[Check[Case], ...] = (
    compatibility.of_case(compatibility.IDENTITY),
    taken.TAKEN,
    machine.MACHINE,
    machine.EMULATOR,
    cpu.CPU,
    memory.MEMORY,
    memory.AMOUNTS,
    storage.STORAGE,
    networks.NETWORKS,
    displays.DISPLAYS,
    needs.CPUS,
    needs.NETWORK,
    needs.REST,
    firmware.FILES,
    firmware.VARIABLES,
    firmware.TPM,
    devices.BOUND,
    devices.POLICY,
    devices.SOCKETS,
    devices.LIBVIRT,
    changes.CHAINS,
    changes.VOLUMES,
    machine.VERSIONS,
    machine.LETHAL,
    compatibility.of_case(compatibility.VMFERRY),
    compatibility.of_case(compatibility.CLOCK),
    compatibility.of_case(compatibility.CONFINEMENT),
)
"""The destination about the VM on it."""

OF_SLOT: tuple[Check[FreeSlot], ...] = (settings.SLOT,)
"""Each host about its free slots, in a check only: a move takes its slot instead."""

OF_ROUTE: tuple[Check[DataRoute], ...] = (settings.ROUTE,)
"""The source, once the destination has said where it would listen."""

OF_LEAVING: tuple[Check[Leaving], ...] = (sharing.SHARING,)
"""The source, once the destination has said which disks both see."""

OF_REACH: tuple[Check[Reachability], ...] = (reach.REACH,)
"""The source, after the reachability test."""

OF_HEALTH: tuple[Check[Health], ...] = (
    service.SERVICE,
    service.ENABLED,
    access.ACCESS,
    libvirt.LIBVIRT_ANSWERS,
    certificates.CERTIFICATES,
    listening.LISTENING,
    firewall.FIREWALL,
    doctor_networks.NETWORKS,
    doctor_storage.STORAGE,
    clock.CLOCK,
    confinement.CONFINEMENT,
)
"""`vmferry doctor` about one host."""

OF_MEETING: tuple[Check[Meeting], ...] = (pair.CERTIFICATE, pair.ANSWER, pair.SETTINGS)
"""`vmferry doctor` about two hosts: whether one answers the other, and what its settings say."""

OF_PAIR: tuple[Check[Pair], ...] = (compatibility.IDENTITY, compatibility.VMFERRY, compatibility.CLOCK)
"""`vmferry doctor` about what two hosts report about themselves."""

OF_FORECAST: tuple[Check[Forecast], ...] = (forecast.FORECAST,)
"""The source at the end, if the move was predicted."""
