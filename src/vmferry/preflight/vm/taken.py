"""Whether the VM's name or UUID is taken on the destination."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _taken(case: Case) -> Iterator[Finding]:
    vm, here = case.vm, case.here
    if vm.vm in here.names.values():
        yield Finding.blocks(codes.NAME_TAKEN, (vm.vm, vm.vm), host=here.name, vm=vm.vm)
    elif vm.uuid in here.names:
        seen = (vm.uuid, f"{vm.uuid} ({here.names[vm.uuid]})")
        yield Finding.blocks(codes.UUID_TAKEN, seen, host=here.name, uuid=vm.uuid, vm=here.names[vm.uuid])


TAKEN = Check(
    _taken,
    {
        codes.NAME_TAKEN: "A VM of that name is defined there: another one, or what is left of this one.",
        codes.UUID_TAKEN: "A VM was copied with its UUID; libvirt knows VMs by it.",
    },
)
