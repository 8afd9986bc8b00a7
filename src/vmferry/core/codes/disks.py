"""Codes of a VM's disks: who else uses their files, what the files hold, what would be lost."""

from vmferry.core.errors import PreflightError

DISK_SHAREABLE = PreflightError.define(
    "disk-shareable",
    "{vm} shares its disk {disk} ({path}) with other VMs (<shareable/>), and {there} cannot see that file: each VM "
    "would continue with its own copy.",
    "Put the file on storage that both hosts can see, or detach the disk: `virsh detach-disk {vm} {disk} --live`.",
)
DISK_USED = PreflightError.define(
    "disk-used-elsewhere",
    "{path}, the disk {disk} of {vm}, is also used by others on {host}: it is {uses}.",
    "Remove it from their configuration (`virsh edit`), or leave the file on {host} for them: --keep-source-disks.",
)
DISK_STAYS = PreflightError.define(
    "disk-stays",
    "{path}, the disk {disk} of {vm}, will stay on {host} after the move: {why}.",
    "Nothing has to be done. Remove the file yourself when it is no longer needed.",
)
DISK_REPLACED = PreflightError.define(
    "disk-replaced",
    "{path} is not the file that {vm} on {host} has open as its disk {disk}: the file was replaced while the VM ran.",
    "{advice}.",
)
DISK_LINK = PreflightError.define(
    "disk-is-link",
    "{path}, the disk {disk} of {vm}, is a symbolic link to {file}. On {there} it will be a regular file.",
    "Nothing has to be done. The link and the file are removed from {host} once {vm} is on {there}.",
)
DISK_SNAPSHOTS = PreflightError.define(
    "disk-has-snapshots",
    "{path}, the disk {disk} of {vm}, contains snapshots that libvirt does not know ({names}). The move does not "
    "copy them.",
    "Leave the file on {host} (--keep-source-disks), or have the VM use a new file: `virsh blockcopy {vm} {disk} "
    "PATH --wait --pivot --transient-job`.",
)
DISKS_COLLIDE = PreflightError.define(
    "disks-same-path",
    "The disks {disks} of {vm} would all have the path {path} on {there}.",
    "Give each of them a path of its own: --disk {last}=PATH.",
)
MEDIA_DIFFERS = PreflightError.define(
    "medium-differs",
    "{path} on {there} is not the file that {vm} has as its disk {disk}: {why}. It may belong to another VM.",
    "Store the copy elsewhere with --disk {disk}=PATH, or eject it first: `virsh change-media {vm} {disk} --eject "
    "--live`.",
)
