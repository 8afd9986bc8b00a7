"""Whether the VM's name or UUID is already used on the destination."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _taken(case: Case) -> Iterator[Finding]:
    vm, destination = case.vm, case.destination
    if vm.vm in destination.names.values():
        yield Finding.blocks(codes.NAME_TAKEN, (vm.vm, vm.vm), host=destination.name, vm=vm.vm)
    elif vm.uuid in destination.names:
        seen = (vm.uuid, f"{vm.uuid} ({destination.names[vm.uuid]})")
        yield Finding.blocks(codes.UUID_TAKEN, seen, host=destination.name, uuid=vm.uuid, vm=destination.names[vm.uuid])


TAKEN = Check(
    _taken,
    {
        codes.NAME_TAKEN: "A VM with that name is defined there: another one, or an old definition of this one.",
        codes.UUID_TAKEN: "A VM was cloned with its UUID, by which libvirt identifies VMs.",
    },
)
