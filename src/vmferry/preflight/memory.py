"""Memory and huge pages."""

from collections.abc import Iterator

from vmferry.core import codes, domainxml
from vmferry.core.finding import Finding
from vmferry.preflight.case import Case, Check

_USUAL_HUGE_PAGE = 2 << 20  # bytes, where the VM does not say


def _memory(case: Case) -> Iterator[Finding]:
    vm, here = case.vm, case.here
    sizes = domainxml.huge_pages(case.plan.live_xml)
    for size in sizes:
        size = size or _USUAL_HUGE_PAGE
        free = here.huge_pages.get(size, 0)
        # A VM with pages of several sizes says for each guest node which: together they hold its memory.
        if len(sizes) == 1 and free < vm.memory:
            seen = (f"{vm.memory} bytes", f"{free} bytes of huge pages free")
            yield Finding.blocks(
                codes.HUGE_PAGES_SHORT, seen, vm=vm.vm, host=here.name, needed=vm.memory, size=size, free=free
            )
    if not sizes and here.memory < vm.memory:
        seen = (f"{vm.memory} bytes", f"{here.memory} bytes available")
        yield Finding.blocks(codes.MEMORY_SHORT, seen, host=here.name, free=here.memory, vm=vm.vm, needed=vm.memory)


MEMORY = Check(
    _memory,
    {
        codes.MEMORY_SHORT: "The host's other VMs and programs leave less than the VM may take.",
        codes.HUGE_PAGES_SHORT: "Huge pages are set aside beforehand, and those that are free are too few.",
    },
)
