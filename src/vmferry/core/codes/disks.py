"""Codes of a VM's disks: who else uses their files, what the files hold, what would be lost."""

from vmferry.core.errors import PreflightError

DISK_SHAREABLE = PreflightError.define(
    "disk-shareable",
    "{vm} shares its disk {disk} ({path}) with other VMs (<shareable/>), and {there} does not see that file: each "
    "would go on with a copy of its own.",
    "Put the file on storage that both hosts see, or take the disk out: `virsh detach-disk {vm} {disk} --live`.",
)
DISK_USED = PreflightError.define(
    "disk-used-elsewhere",
    "{path}, the disk {disk} of {vm}, is used on {host} by others as well: it is {uses}.",
    "Take it out of their configuration (`virsh edit`), or leave the file on {host} for them: --keep-source-disks.",
)
DISK_STAYS = PreflightError.define(
    "disk-stays",
    "{path}, the disk {disk} of {vm}, will stay on {host} after the move: {why}.",
    "Nothing has to be done; remove the file yourself when nobody needs it.",
)
DISK_REPLACED = PreflightError.define(
    "disk-replaced",
    "{path} is not the file that {vm} on {host} has open as its disk {disk}: it was replaced while the VM ran.",
    "{advice}.",
)
DISK_LINK = PreflightError.define(
    "disk-is-link",
    "{path}, the disk {disk} of {vm}, is a symbolic link to {file}; on {there} there will be a plain file.",
    "Nothing has to be done: on {host} the link and the file are removed once {vm} is on {there}.",
)
DISK_SNAPSHOTS = PreflightError.define(
    "disk-has-snapshots",
    "{path}, the disk {disk} of {vm}, holds snapshots that libvirt does not know of ({names}); the move would leave "
    "them behind.",
    "Leave the file on {host} (--keep-source-disks), or have the VM use a new one: "
    "`virsh blockcopy {vm} {disk} PATH --wait --pivot --transient-job`.",
)
DISKS_COLLIDE = PreflightError.define(
    "disks-same-path",
    "The disks {disks} of {vm} would all become {path} on {there}.",
    "Name a file of its own for all but one: --disk {last}=PATH.",
)
MEDIA_DIFFERS = PreflightError.define(
    "medium-differs",
    "{path} on {there} is not the file that {vm} has as its disk {disk}: {why}. It may be another VM's.",
    "Put the copy elsewhere with --disk {disk}=PATH, or eject it first: "
    "`virsh change-media {vm} {disk} --eject --live`.",
)
