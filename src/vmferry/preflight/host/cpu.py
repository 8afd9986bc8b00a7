"""Whether the destination's CPU can run the VM, by libvirt's own comparison, and whether the VM could come back."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import domainxml, xmltree
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check

_OF_THE_HOST = ("host-passthrough", "host-model", "maximum")


def _cpu(case: Case) -> Iterator[Finding]:
    destination = case.destination
    if destination.cpu_refusal is not None:
        mode, xml = domainxml.cpu(case.vm.live_xml)
        # With check='none' libvirt starts the VM whatever the CPU lacks; what the guest makes of it is its business.
        judge = Finding.warns if xmltree.parse(xml).get("check") == "none" else Finding.blocks
        yield judge(
            codes.CPU_INCOMPATIBLE,
            (mode, destination.cpu_refusal),
            host=destination.name,
            vm=case.vm.vm,
            why=destination.cpu_refusal,
        )
        return
    # A running VM keeps its CPU wherever it is; a start gives one that is its host's another.
    mode = domainxml.cpu(case.vm.persistent_xml)[0]
    # An emulated VM has QEMU's CPU, not the host's.
    if mode in _OF_THE_HOST and destination.cpu_same is False and domainxml.kind(case.vm.live_xml) == "kvm":
        seen = (mode, "its CPU differs")
        yield Finding.warns(
            codes.CPU_NO_WAY_BACK, seen, vm=case.vm.vm, mode=mode, host=destination.name, source=case.vm.source
        )


CPU = Check(
    _cpu,
    {
        codes.CPU_INCOMPATIBLE: "The guest uses instructions that the destination's CPU lacks, or that are disabled "
        "in its firmware or by "
        "microcode.",
        codes.CPU_NO_WAY_BACK: "host-model, host-passthrough and maximum mean a different CPU on each host.",
    },
)
