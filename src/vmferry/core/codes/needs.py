"""Codes of what a VM takes for granted of its host, and of what its images hold that is not carried."""

from vmferry.core.errors import PreflightError

MAC_TAKEN = PreflightError.define(
    "mac-taken",
    "{other} on {host} has a network card with the address of one of {vm}'s, {mac}: in one network, both would lose "
    "packets.",
    "Give one of the two another address (`virsh edit {other}` on {host}), and start it anew.",
)
CPUS_MISSING = PreflightError.define(
    "cpus-missing",
    "{vm} is bound to processors ({what}: {cpus}) of which {host} lacks {missing}.",
    "Bind it to others, or to none: {advice}.",
)
FILTER_MISSING = PreflightError.define(
    "network-filter-missing",
    "{host} has no network filter {filter}, which a network card of {vm} has.",
    "Define it there from what `virsh nwfilter-dumpxml {filter}` shows on {source}: `virsh nwfilter-define FILE`.",
)
PORTGROUP_MISSING = PreflightError.define(
    "network-portgroup-missing",
    "The network {network} on {host} has no port group {portgroup}: {vm} would have the network's own settings.",
    "Add it there: `virsh net-edit {network}`.",
)
LABEL_MISSING = PreflightError.define(
    "confinement-missing",
    "{vm} has a security label of {model}, which does not confine VMs on {host} ({known}): libvirt would not start it.",
    "Take <seclabel> out (`virsh edit {vm}`) and start the VM anew, or switch {model} on in /etc/libvirt/qemu.conf "
    "on {host}.",
)
INTERFACE_TAKEN = PreflightError.define(
    "interface-name-taken",
    "{host} has a network device {name} already, and {vm} would have one of that name.",
    "Leave the name to libvirt: take <target dev='{name}'/> out (`virsh edit {vm}`) and start the VM anew.",
)
CID_TAKEN = PreflightError.define(
    "vsock-cid-taken",
    "{other} on {host} has the vsock number (CID) {cid}, which {vm} would have.",
    "Let libvirt choose: set <cid auto='yes'/> (`virsh edit {vm}`) and start the VM anew.",
)
NODE_MISSING = PreflightError.define(
    "device-node-missing",
    "{vm} needs {path}, which is not on {host}.",
    "Load the kernel's module for it there: `modprobe {module}`.",
)
BITMAPS_LOST = PreflightError.define(
    "disk-bitmaps-stay",
    "{path}, the disk {disk} of {vm}, holds bitmaps that are switched off ({names}); libvirt carries only those that "
    "record, and a backup that needs these begins anew.",
    "Nothing has to be done; to carry one, switch it on while {vm} is off: `qemu-img bitmap --enable {path} NAME`.",
)
BITMAP_NAME = PreflightError.define(
    "disk-bitmap-name",
    "{path}, the disk {disk} of {vm}, holds the bitmap {name}, whose name is too long for QEMU to carry it.",
    "Have the program that made it remove it, or do so while {vm} is off: `qemu-img bitmap --remove {path} NAME`.",
)
