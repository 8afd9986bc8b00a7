"""Machine type, and the versions of QEMU and libvirt, also for the move back."""

import re
from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import version
from vmferry.preflight.case import Case, Check

_SHOWN_MAX = 5


def _emulator(case: Case) -> Iterator[Finding]:
    named, taken = domainxml.emulator(case.vm.live_xml), domainxml.emulator(case.plan.live_xml)
    if named != taken:
        fields = {"host": case.destination.name, "vm": case.vm.vm, "named": named, "emulator": taken}
        yield Finding.warns(codes.EMULATOR_OTHER, (named, taken), **fields)


def _machine(case: Case) -> Iterator[Finding]:
    machine = domainxml.machine(case.plan.live_xml)
    known = case.destination.machines or []
    if machine and machine not in known:
        family = machine.rpartition("-")[0]
        like = sorted((name for name in known if name.rpartition("-")[0] == family), key=_age, reverse=True) or known
        yield Finding.blocks(
            codes.MACHINE_UNKNOWN,
            (machine, ", ".join(like[:_SHOWN_MAX]) or "none for this architecture"),
            host=case.destination.name,
            machine=machine,
            vm=case.vm.vm,
            qemu=version(case.vm.host.qemu),
            known=", ".join(like[:_SHOWN_MAX]) or "no machine type for this architecture",
        )


def _versions(case: Case) -> Iterator[Finding]:
    source, destination = case.vm.host, case.destination
    names = {"vm": case.vm.vm, "source": case.vm.source, "host": destination.name}
    if source.qemu and destination.qemu and _minor(source.qemu) != _minor(destination.qemu):
        code = codes.QEMU_NEWER if destination.qemu > source.qemu else codes.QEMU_OLDER
        seen = (version(source.qemu), version(destination.qemu))
        yield Finding.warns(code, seen, here=seen[0], there=seen[1], **names)
    if source.libvirt and destination.libvirt and _minor(source.libvirt) > _minor(destination.libvirt):
        seen = (version(source.libvirt), version(destination.libvirt))
        yield Finding.warns(codes.LIBVIRT_OLDER, seen, here=seen[0], there=seen[1], **names)


def _lethal(case: Case) -> Iterator[Finding]:
    if domainxml.loses_writes(case.vm.live_xml, case.vm.host.qemu):
        qemu = version(case.vm.host.qemu)
        yield Finding.warns(codes.EMULATED_WRITES, (qemu, ""), vm=case.vm.vm, qemu=qemu, source=case.vm.source)


def _age(machine: str) -> tuple[int, ...]:
    """Return the version of a machine type as a sort key; distributions' own (rhel9.2.0) compare by their numbers."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", machine.rpartition("-")[2]))


def _minor(number: int) -> int:
    """Drop the release number: releases fix faults and change nothing that matters here."""
    return number // 1000


MACHINE = Check(
    _machine,
    {
        codes.MACHINE_UNKNOWN: "The VM was started by a newer QEMU, or by the QEMU of another distribution, and has "
        "its hardware."
    },
)
EMULATOR = Check(
    _emulator,
    {
        codes.EMULATOR_OTHER: "Distributions install QEMU at different paths, and a host runs only the programs that "
        "it lists."
    },
)
VERSIONS = Check(
    _versions,
    {
        codes.QEMU_OLDER: "An older QEMU may not understand the device state that a newer one sends.",
        codes.QEMU_NEWER: "QEMU's developers test moves to a newer version, but not back to an older one.",
        codes.LIBVIRT_OLDER: "An older libvirt refuses what it does not know in a VM's configuration.",
    },
)
LETHAL = Check(
    _lethal,
    {codes.EMULATED_WRITES: "QEMU before 9.0 keeps translated code that bypasses the record of changed memory."},
)
