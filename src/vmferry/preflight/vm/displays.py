"""Whether the VM's displays can listen on the destination."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _displays(case: Case) -> Iterator[Finding]:
    host, vm = case.destination.name, case.vm.vm
    for one in case.destination.displays:
        seen = (f"{one.kind} on {one.address}:{one.port}", one.by or f"no address {one.address}")
        if one.by:
            yield Finding.blocks(codes.PORT_TAKEN, seen, host=host, vm=vm, kind=one.kind, port=one.port, by=one.by)
        else:
            yield Finding.blocks(codes.LISTEN_ADDRESS, seen, host=host, vm=vm, kind=one.kind, address=one.address)


DISPLAYS = Check(
    _displays,
    {
        codes.PORT_TAKEN: "The display has a fixed port (autoport='no'), and another VM or program uses it there.",
        codes.LISTEN_ADDRESS: "The display listens on an address of the source.",
    },
)
