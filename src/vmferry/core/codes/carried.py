"""Codes of what a move changes in a VM's configuration."""

from vmferry.core.errors import PreflightError

CHAIN_CLOSED = PreflightError.define(
    "definition-chain-closed",
    "The definition of {vm} on {host} will say that no file is below its disk {disk} (an empty <backingStore/>): "
    "{source} can write to {path} too, and what its header names would be opened at the next start.",
    "Nothing has to be done; to have the definition as it was, take that out with `virsh edit {vm}` on {host}.",
)
VARIABLES_EXIST = PreflightError.define(
    "firmware-variables-exist",
    "{path} exists on {host} already, and the UEFI variables of {vm} would take its place.",
    "See what uses it on {host}, and move it away: `mv {path} {path}.old`. Variables in a folder that both hosts see "
    "cannot be moved: give the VM a file in a folder of the host's own (`virsh edit {vm}`).",
)
VARIABLES_PLACE = PreflightError.define(
    "firmware-variables-unplaced",
    "The UEFI variables of {vm} cannot be in {folder} on {host}: {why}.",
    "Make that folder there, writable and no link: `mkdir -p {folder}`.",
)
DEFINED_VARIABLES = PreflightError.define(
    "definition-variables-differ",
    "The definition of {vm} has its UEFI variables in {path}, the running VM in {live}: only those of the running VM "
    "are carried to {host}, and the next start there begins with new ones.",
    "To have both alike, name {live} in the definition: `virsh edit {vm}`.",
)
TPM_STAYS = PreflightError.define(
    "tpm-state-stays",
    "The TPM of {vm} keeps its state for good (persistent_state='yes'): a copy of it goes along, and libvirt leaves "
    "the old one on {source}, with the keys in it.",
    "Unless both hosts see that folder, remove it on {source} when {vm} is on {host}: "
    "`rm -r /var/lib/libvirt/swtpm/{uuid}`.",
)
VOLUME_FILE = PreflightError.define(
    "disk-volume-becomes-file",
    "The disk {disk} of {vm} is the volume {volume} of the storage pool {pool}; on {host} it will be named by its "
    "file, {path}.",
    "Nothing has to be done; to have it as a volume there, give {host} a pool with that folder and change the disk "
    "with `virsh edit {vm}`.",
)
