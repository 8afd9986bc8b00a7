"""Codes of what a move changes in a VM's configuration."""

from vmferry.core.errors import PreflightError

CHAIN_CLOSED = PreflightError.define(
    "definition-chain-closed",
    "The definition of {vm} on {host} will say that its disk {disk} has no backing file (an empty <backingStore/>): "
    "{source} can also write to {path}, and a backing file named in its header would be opened at the next start.",
    "Nothing has to be done. To restore the definition, remove that element with `virsh edit {vm}` on {host}.",
)
VARIABLES_EXIST = PreflightError.define(
    "firmware-variables-exist",
    "{path} already exists on {host}, and the UEFI variables of {vm} need that path.",
    "Find out what uses the file on {host}, and move it away: `mv {path} {path}.old`. Variables in a folder that "
    "both hosts share cannot be moved: give the VM a file in a local folder (`virsh edit {vm}`).",
)
VARIABLES_PLACE = PreflightError.define(
    "firmware-variables-unplaced",
    "The UEFI variables of {vm} cannot be stored in {folder} on {host}: {why}.",
    "Create that folder there. It must be writable and not a link: `mkdir -p {folder}`.",
)
DEFINED_VARIABLES = PreflightError.define(
    "definition-variables-differ",
    "The definition of {vm} has its UEFI variables in {path}, the running VM in {live}. Only those of the running VM "
    "are moved to {host}, and the next start there begins with new ones.",
    "To use the same file for both, name {live} in the definition: `virsh edit {vm}`.",
)
TPM_STAYS = PreflightError.define(
    "tpm-state-stays",
    "The TPM of {vm} has persistent state (persistent_state='yes'). The state is copied to the destination, and "
    "libvirt also leaves the old state, with its keys, on {source}.",
    "Once {vm} is on {host}, remove it on {source}, unless both hosts share that folder: `rm -r "
    "/var/lib/libvirt/swtpm/{uuid}`.",
)
VOLUME_FILE = PreflightError.define(
    "disk-volume-becomes-file",
    "The disk {disk} of {vm} is the volume {volume} of the storage pool {pool}. On {host}, the VM will name its file "
    "{path} instead.",
    "Nothing has to be done. To have it as a volume there, define a pool with that folder on {host} and change the "
    "disk with `virsh edit {vm}`.",
)
