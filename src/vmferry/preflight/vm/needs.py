"""What the VM needs of its host: libvirt notices what is missing only when the VM arrives, or never."""

import shlex
from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import needs
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check

_EDIT = "`virsh edit {vm}`, and start the VM anew"
_LIVE = {
    "vcpupin": "`virsh vcpupin {vm} {number} CPULIST`",
    "emulatorpin": "`virsh emulatorpin {vm} CPULIST`",
    "iothreadpin": "`virsh iothreadpin {vm} {number} CPULIST`",
}


def _cpus(case: Case) -> Iterator[Finding]:
    have, vm, host = case.destination.resources.cpus, case.vm.vm, case.destination.name
    for what, cpus in needs.pinned(case.plan.live_xml):
        wanted = needs.numbers(cpus)
        missing = sorted(wanted - have)
        if not have or not missing:
            continue
        word, _, number = what.partition(" ")
        advice = _LIVE.get(word, _EDIT).format(vm=shlex.quote(vm), number=number)
        names = {"vm": vm, "host": host, "what": what, "cpus": cpus, "missing": _some(missing), "advice": advice}
        # With one that is there the kernel takes the set, where no cpuset controller is in the way.
        judge = Finding.warns if wanted & have else Finding.blocks
        yield judge(codes.CPUS_MISSING, (f"{what}: {cpus}", f"no processor {_some(missing)}"), **names)


def _network(case: Case) -> Iterator[Finding]:
    have, vm, host = case.destination.resources, case.vm.vm, case.destination.name
    xml = case.plan.live_xml
    for name in needs.filters(xml):
        if have.filters is not None and name not in have.filters:
            names = {"vm": vm, "host": host, "source": case.vm.source, "filter": name}
            yield Finding.blocks(codes.FILTER_MISSING, (name, "no such filter"), **names)
    for network, group in dict.fromkeys(needs.portgroups(xml)):
        if network in have.portgroups and group not in have.portgroups[network]:
            seen = (f"{network}, {group}", ", ".join(have.portgroups[network]) or "none")
            yield Finding.warns(codes.PORTGROUP_MISSING, seen, vm=vm, host=host, network=network, portgroup=group)
    for name in needs.device_names(xml):
        if name in have.interfaces:
            yield Finding.blocks(codes.INTERFACE_TAKEN, (name, "is there"), vm=vm, host=host, name=name)
    for mac in dict.fromkeys(needs.macs(xml)):
        if mac in have.macs:
            seen = (mac, f"VM {have.macs[mac]}")
            yield Finding.warns(codes.MAC_TAKEN, seen, vm=vm, host=host, mac=mac, other=have.macs[mac])


def _rest(case: Case) -> Iterator[Finding]:
    have, vm, host = case.destination.resources, case.vm.vm, case.destination.name
    xml = case.plan.live_xml
    number = needs.cid(xml)
    if number is not None and number in have.cids:
        other, runs = have.cids[number]
        judge = Finding.blocks if runs else Finding.warns
        yield judge(codes.CID_TAKEN, (str(number), f"VM {other}"), vm=vm, host=host, cid=number, other=other)
    for path in have.missing_nodes:
        module = path.removeprefix("/dev/").replace("-", "_")
        yield Finding.blocks(codes.NODE_MISSING, (path, "not there"), vm=vm, host=host, path=path, module=module)
    for model in needs.labels(xml):
        if case.destination.confinement and model not in case.destination.confinement:
            known = ", ".join(case.destination.confinement)
            names = {"vm": vm, "host": host, "model": model, "known": known}
            yield Finding.blocks(codes.LABEL_MISSING, (model, known), **names)


def _some(found: list[int]) -> str:
    return ", ".join(str(number) for number in found[:5]) + (" and more" if len(found) > 5 else "")


CPUS = Check(
    _cpus,
    {codes.CPUS_MISSING: "Processors are pinned by their numbers (vcpupin, cpuset), and the destination has fewer."},
)
NETWORK = Check(
    _network,
    {
        codes.FILTER_MISSING: "Each host has its own network filters (virsh nwfilter-list).",
        codes.PORTGROUP_MISSING: "libvirt uses the settings of the network if the port group does not exist.",
        codes.INTERFACE_TAKEN: "The VM's network device has a name of its own (<target dev>), which is in use there.",
        codes.MAC_TAKEN: "A VM was cloned with its network cards.",
    },
)
REST = Check(
    _rest,
    {
        codes.CID_TAKEN: "Each vsock CID can be used only once on a host.",
        codes.NODE_MISSING: "A kernel module is not loaded there, or was not built.",
        codes.LABEL_MISSING: "The VM names the security driver that confines it (<seclabel model>).",
    },
)
