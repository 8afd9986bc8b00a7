"""Networks and bridges: found by name on the destination, as the plan maps them."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt.domainxml import networks, parse_domain
from vmferry.core.libvirt.needs import open_vswitch
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _networks(case: Case) -> Iterator[Finding]:
    destination = case.destination
    known = ", ".join([*destination.networks, *destination.bridges]) or "it has none"
    bridges, switches = _bridges(case.plan.live_xml), open_vswitch(case.plan.live_xml)
    for name in networks(case.plan.live_xml):
        kind = "bridge" if name in bridges else "network"
        names = {"host": destination.name, "network": name, "vm": case.vm.vm}
        if name in switches and name in destination.resources.interfaces:
            continue  # Open vSwitch's bridges are no bridges to the kernel
        if name not in (destination.bridges if kind == "bridge" else destination.networks):
            seen = (f"{kind} {name}", known)
            yield Finding.blocks(codes.NETWORK_MISSING, seen, known=known, here=_before(case, name), **names)
        elif kind == "network" and not destination.networks[name]:
            yield Finding.blocks(codes.NETWORK_INACTIVE, (f"{kind} {name}", "inactive"), **names)

    running = networks(case.plan.live_xml)
    bridges = _bridges(case.plan.persistent_xml)
    for name in networks(case.plan.persistent_xml):
        kind = "bridge" if name in bridges else "network"
        found = name in destination.bridges if kind == "bridge" else destination.networks.get(name, False)
        if name not in running and not found:
            seen = (f"{kind} {name} of the definition", known)
            yield Finding.warns(
                codes.DEFINED_NETWORK, seen, host=destination.name, network=name, vm=case.vm.vm, known=known
            )


def _before(case: Case, name: str) -> str:
    """Return the name on the source of a network in the plan, as --map-network expects it."""
    mapped = [before for before, after in case.vm.options.map_networks.items() if after == name]
    known = networks(case.vm.live_xml)
    return next((before for before in mapped if before in known), name)


def _bridges(xml: str) -> set[str]:
    """Return the bridges that the VM names itself; the bridge of a libvirt network belongs to that network."""
    sources = parse_domain(xml).findall("devices/interface[@type='bridge']/source")
    return {source.get("bridge", "") for source in sources}


NETWORKS = Check(
    _networks,
    {
        codes.NETWORK_MISSING: "Networks are found by name, and the destination has none with that name.",
        codes.DEFINED_NETWORK: "An interface was attached or changed for the next start.",
        codes.NETWORK_INACTIVE: "The network is defined there, but not started (`virsh net-autostart`).",
    },
)
