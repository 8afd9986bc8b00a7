"""Codes of files and folders of a move: what cannot be made, read or trusted."""

from vmferry.core.errors import InternalError, PreflightError

RUN_FOLDER_DIFFERS = PreflightError.define(
    "run-folder-differs",
    "{host} keeps the sockets of this move in {theirs}, and {local} in {ours}. QEMU needs them at the same path on "
    "both hosts.",
    "Set the same `run_folder` in vmferry.toml on both hosts, and restart vmferryd there.",
)
GRANT_DIFFERS = InternalError.define(
    "grant-differs",
    "{host} answered with another plan for disk {disk} than was requested: {why}.",
    "Install the same release of vmferry on both hosts. If they have the same release, find out what is wrong with "
    "{host} before you move VMs there.",
)
IMAGE_UNREADABLE = PreflightError.define(
    "image-unreadable",
    "{path} cannot be read as a {format} image: {why}.",
    "Run `qemu-img check {path}`, and check that the VM's configuration names the right format.",
)
DISK_NOT_MADE = PreflightError.define(
    "disk-not-made",
    "The disk {disk} of {vm} cannot be created as {path} on {host}: {why}.",
    "Put it on another file system with --disk {disk}=PATH, or find out what is wrong with this one on {host}.",
)
DISK_PATH_UNUSABLE = PreflightError.define(
    "disk-path-unusable",
    "{path} on {host} cannot be the path of the disk {disk}: {why}.",
    "Name another path with --disk {disk}=PATH.",
)
SHARED_DISK_USED = PreflightError.define(
    "shared-disk-in-use",
    "{path}, the disk {disk} of {vm}, is already in use on {host}: it is {uses}.",
    "Remove it from one of the two (`virsh detach-disk`), or mark it <shareable/> or <readonly/> in both.",
)
