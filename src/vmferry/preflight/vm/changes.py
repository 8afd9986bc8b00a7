"""What the move changes in the VM's configuration, besides paths and the networks that the user mapped."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import domainxml
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _chains(case: Case) -> Iterator[Finding]:
    for target in case.plan.closed:
        path = case.plan.defined[target][0]
        names = {
            "vm": case.vm.vm,
            "source": case.vm.source,
            "host": case.destination.name,
            "disk": target,
            "path": path,
        }
        yield Finding.warns(codes.CHAIN_CLOSED, ("", f"{target}: <backingStore/>"), **names)


def _volumes(case: Case) -> Iterator[Finding]:
    told = set()
    for xml, planned in ((case.vm.live_xml, case.plan.live), (case.vm.persistent_xml, case.plan.defined)):
        for disk in domainxml.disks(xml):
            if disk.kind != "volume" or disk.target not in planned or (disk.pool, disk.volume) in told:
                continue
            told.add((disk.pool, disk.volume))
            path = planned[disk.target][0]
            names = {"vm": case.vm.vm, "host": case.destination.name, "disk": disk.target, "path": path}
            seen = (f"{disk.pool}/{disk.volume}", path)
            yield Finding.warns(codes.VOLUME_FILE, seen, pool=disk.pool, volume=disk.volume, **names)


CHAINS = Check(
    _chains,
    {
        codes.CHAIN_CLOSED: "Both hosts see the disk's file, and the definition does not say where its backing chain "
        "ends: libvirt then "
        "reads the header."
    },
)
VOLUMES = Check(
    _volumes,
    {codes.VOLUME_FILE: "Each host has its own storage pools: one with the same name can be another folder there."},
)
