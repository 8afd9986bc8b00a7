"""Codes of what a move changes in a VM's configuration."""

from vmferry.core.errors import PreflightError

CHAIN_CLOSED = PreflightError.define(
    "definition-chain-closed",
    "The definition of {vm} on {host} will say that no file is below its disk {disk} (an empty <backingStore/>): "
    "{source} can write to {path} too, and what its header names would be opened at the next start.",
    "Nothing has to be done; to have the definition as it was, take that out with `virsh edit {vm}` on {host}.",
)
VOLUME_FILE = PreflightError.define(
    "disk-volume-becomes-file",
    "The disk {disk} of {vm} is the volume {volume} of the storage pool {pool}; on {host} it will be named by its "
    "file, {path}.",
    "Nothing has to be done; to have it as a volume there, give {host} a pool with that folder and change the disk "
    "with `virsh edit {vm}`.",
)
