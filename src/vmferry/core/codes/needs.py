"""Codes of what a VM takes for granted of its host, and of what its images hold that is not carried."""

from vmferry.core.errors import PreflightError

MAC_TAKEN = PreflightError.define(
    "mac-taken",
    "{other} on {host} has a network card with the same address {mac} as one of {vm}: in the same network, both "
    "would lose packets.",
    "Give one of the two another address (`virsh edit {other}` on {host}), then shut that VM down and start it again.",
)
CPUS_MISSING = PreflightError.define(
    "cpus-missing",
    "{vm} is pinned to processors ({what}: {cpus}), and {host} lacks {missing}.",
    "Pin it to others, or to none: {advice}.",
)
FILTER_MISSING = PreflightError.define(
    "network-filter-missing",
    "{host} has no network filter {filter}, which a network card of {vm} uses.",
    "Save the output of `virsh nwfilter-dumpxml {filter}` on {source} to a file, and define it on {host}: `virsh "
    "nwfilter-define FILE`.",
)
PORTGROUP_MISSING = PreflightError.define(
    "network-portgroup-missing",
    "The network {network} on {host} has no port group {portgroup}: {vm} would get the settings of the network itself.",
    "Add it there: `virsh net-edit {network}`.",
)
LABEL_MISSING = PreflightError.define(
    "confinement-missing",
    "{vm} has a security label of {model}, which does not confine VMs on {host} ({known}): libvirt would not start "
    "the VM.",
    "Remove <seclabel> (`virsh edit {vm}`), then shut the VM down and start it again. Or enable {model} in "
    "/etc/libvirt/qemu.conf on {host}.",
)
INTERFACE_TAKEN = PreflightError.define(
    "interface-name-taken",
    "{host} already has a network device {name}, and {vm} needs a device of that name.",
    "Let libvirt choose the name: remove <target dev='{name}'/> (`virsh edit {vm}`), then shut the VM down and start "
    "it again.",
)
CID_TAKEN = PreflightError.define(
    "vsock-cid-taken",
    "{other} on {host} has the vsock CID {cid}, which {vm} needs.",
    "Let libvirt choose it: set <cid auto='yes'/> (`virsh edit {vm}`), then shut the VM down and start it again.",
)
NODE_MISSING = PreflightError.define(
    "device-node-missing",
    "{vm} needs {path}, which does not exist on {host}.",
    "Load its kernel module there: `modprobe {module}`.",
)
BITMAPS_LOST = PreflightError.define(
    "disk-bitmaps-stay",
    "{path}, the disk {disk} of {vm}, contains disabled bitmaps ({names}). libvirt moves only enabled bitmaps, so a "
    "backup that needs these has to start from the beginning.",
    "Nothing has to be done. To move a bitmap, enable it while {vm} is off: `qemu-img bitmap --enable {path} NAME`.",
)
BITMAP_NAME = PreflightError.define(
    "disk-bitmap-name",
    "{path}, the disk {disk} of {vm}, contains the bitmap {name}, whose name is too long for QEMU to move.",
    "Remove it with the program that created it, or while {vm} is off: `qemu-img bitmap --remove {path} NAME`.",
)
