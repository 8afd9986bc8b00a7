"""Memory, huge pages, and what else of a host a VM uses."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import amounts, domainxml
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check

_USUAL_HUGE_PAGE = 2 << 20  # bytes, where the VM does not say


def _memory(case: Case) -> Iterator[Finding]:
    vm, destination = case.vm, case.destination
    sizes = domainxml.huge_pages(case.plan.live_xml)
    for size in sizes:
        size = size or _USUAL_HUGE_PAGE
        free = destination.huge_pages.get(size, 0)
        # A VM with pages of several sizes says for each guest node which: together they hold its memory.
        if len(sizes) == 1 and free < vm.memory:
            seen = (f"{vm.memory} bytes", f"{free} bytes of huge pages free")
            yield Finding.blocks(
                codes.HUGE_PAGES_SHORT, seen, vm=vm.vm, host=destination.name, needed=vm.memory, size=size, free=free
            )
    if not sizes and destination.memory < vm.memory:
        seen = (f"{vm.memory} bytes", f"{destination.memory} bytes available")
        yield Finding.blocks(
            codes.MEMORY_SHORT, seen, host=destination.name, free=destination.memory, vm=vm.vm, needed=vm.memory
        )


def _amounts(case: Case) -> Iterator[Finding]:
    reasons = dict.fromkeys(amounts.excesses(case.plan.live_xml) + amounts.excesses(case.plan.persistent_xml))
    if reasons:
        why = "; ".join(reasons)
        yield Finding.blocks(codes.AMOUNT_EXCESSIVE, (why, ""), host=case.destination.name, vm=case.vm.vm, why=why)


MEMORY = Check(
    _memory,
    {
        codes.MEMORY_SHORT: "The host's other VMs and programs leave less than the VM may use.",
        codes.HUGE_PAGES_SHORT: "Huge pages are reserved beforehand, and too few of them are free.",
    },
)
AMOUNTS = Check(
    _amounts,
    {
        codes.AMOUNT_EXCESSIVE: "Each of them uses memory, threads or descriptors of the host when the VM starts, "
        "besides the guest's memory. A "
        "host accepts no VM with more of them than any guest needs."
    },
)
