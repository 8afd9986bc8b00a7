"""Codes of files and folders of a move: what cannot be made, read or trusted."""

from vmferry.core.errors import InternalError, PreflightError

RUN_FOLDER_DIFFERS = PreflightError.define(
    "run-folder-differs",
    "{host} keeps the sockets of this move in {theirs}, and {local} in {ours}; QEMU needs them at one path on both.",
    "Set the same `run_folder` in vmferry.toml on both hosts, and restart vmferryd there.",
)
GRANT_DIFFERS = InternalError.define(
    "grant-differs",
    "{host} answered for disk {disk} with another plan than was asked for: {why}.",
    "Install the same release of vmferry on both hosts; if they have it, look for what is wrong with {host} before "
    "VMs go there.",
)
IMAGE_UNREADABLE = PreflightError.define(
    "image-unreadable",
    "{path} cannot be read as a {format} image: {why}.",
    "See what `qemu-img check {path}` says of it, and whether it is the format that the VM's configuration names.",
)
DISK_NOT_MADE = PreflightError.define(
    "disk-not-made",
    "The disk {disk} of {vm} cannot be made as {path} on {host}: {why}.",
    "Put it on another file system with --disk {disk}=PATH, or see on {host} what is wrong with that one.",
)
DISK_PATH_UNUSABLE = PreflightError.define(
    "disk-path-unusable",
    "{path} on {host} cannot be the path of the disk {disk}: {why}.",
    "Name another path with --disk {disk}=PATH.",
)
SHARED_DISK_USED = PreflightError.define(
    "shared-disk-in-use",
    "{path}, the disk {disk} of {vm}, is used on {host} already: it is {uses}.",
    "Let only one of the two have it (`virsh detach-disk`), or mark it <shareable/> or <readonly/> in both.",
)
