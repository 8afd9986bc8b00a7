"""Codes of what stands in a move's way as the two hosts are, or is worth knowing: most are findings of preflight/."""

from vmferry.core.errors import PreflightError

MIGRATION_DISABLED = PreflightError.define(
    "migration-disabled",
    "Migration is disabled on {host}, so that VMs neither leave it nor come to it.",
    "Enable it on {host}: `vmferry migration enable`.",
)
LIMIT_REACHED = PreflightError.define(
    "limit-reached",
    "The move has to wait: {reason}.",
    "Without --no-wait it begins as soon as there is a place; or raise the limit on {host}: "
    "`vmferry host set --max-migrations N --max-storage-migrations N`.",
)
MIGRATION_NETWORK_MISSING = PreflightError.define(
    "migration-network-missing",
    "{host} has no address inside its migration networks ({networks}), and may use no others.",
    "On {host}, list one that it is in (`vmferry network add SUBNET`), or allow any: `vmferry host set --any-network`.",
)
NETWORK_ABSENT = PreflightError.define(
    "network-not-here",
    "{host} has no address inside {subnet}.",
    "Name one that it is in ({subnets}), or list it all the same: `vmferry network add {subnet}`.",
)
MIGRATION_NETWORK_NOT_COMMON = PreflightError.define(
    "migration-network-not-common",
    "{source} keeps to its migration networks ({networks}), and {host} listens in none of them ({addresses}).",
    "List a network that both hosts are in, on both: `vmferry network add SUBNET`.",
)
VM_NOT_RUNNING = PreflightError.define("vm-not-running", "{vm} is {state} on {host}, not running.", "{advice}.")
VM_BUSY = PreflightError.define(
    "vm-busy", "{vm} is being moved already, by job {job}.", "Watch it with `vmferry job watch {job}`, or cancel it."
)
NAME_TAKEN = PreflightError.define(
    "name-taken", "{host} has a VM named {vm} already.", "Rename or remove that one, then move again."
)
UUID_TAKEN = PreflightError.define(
    "uuid-taken", "{host} has a VM with the UUID {uuid} already ({vm}).", "Remove that one, then move again."
)
AMOUNT_EXCESSIVE = PreflightError.define(
    "amount-excessive",
    "{host} gives no VM as much as {vm} has: {why}.",
    "Lower it in the VM's configuration (`virsh edit {vm}`), and start the VM anew.",
)
STORAGE_PATH_MISSING = PreflightError.define(
    "storage-path-missing",
    "The folder {path} for disk {disk} does not exist on {host}.",
    "Create it there, or name another with --storage-path.",
)
STORAGE_PATH_FORBIDDEN = PreflightError.define(
    "storage-path-forbidden",
    "{host} allows no VM disks in {path}.",
    "Name a folder below one of {allowed}, or add it to `disk_folders` in {host}'s vmferry.toml.",
)
STORAGE_FULL = PreflightError.define(
    "storage-full",
    "{path} on {host} has {free} bytes free, and disk {disk} needs {needed}.",
    "Free some space there, or name another folder with --storage-path.",
)
DISK_EXISTS = PreflightError.define(
    "disk-exists",
    "{path} exists on {host} already, and is not the disk {disk} of {vm}.",
    "Put the disk elsewhere with --disk {disk}=PATH, or on {host} see what uses that file before you remove it.",
)
DISK_NOT_SHARED = PreflightError.define(
    "disk-not-shared",
    "{host} does not see the disk {disk} of {vm} ({path}).",
    "Move it too: add --include-storage.",
)
DISK_UNSUPPORTED = PreflightError.define(
    "disk-unsupported",
    "The disk {disk} of {vm} cannot be moved: {why}.",
    "Only qcow2 and raw files without a backing file are moved; {advice}.",
)
DISK_FILE_MISSING = PreflightError.define(
    "disk-file-missing", "The disk {disk} of {vm} cannot be moved: {why}.", "{advice}."
)
DISK_BLOCK_JOB = PreflightError.define(
    "disk-has-block-job",
    "libvirt is at work on the disk {disk} of {vm} ({job}), and moves no VM meanwhile.",
    "Wait until `virsh blockjob {vm} {disk}` shows none, or end it: `virsh blockjob {vm} {disk} --abort`.",
)
MANAGED_SAVE = PreflightError.define(
    "vm-has-saved-state",
    "{vm} runs and has a managed save image too, which is older than its disks and cannot be moved.",
    "Remove the image: `virsh managedsave-remove {vm}`.",
)
DEFINED_DRIVE = PreflightError.define(
    "definition-drive-differs",
    "The drive {disk} of {vm} holds {path} in the VM's definition, but not in the running VM: the file stays on "
    "{host}, and once moved the definition has the drive empty.",
    "To have both alike, empty the drive there: `virsh change-media {vm} {disk} --eject --config`.",
)
DEFINED_DISK = PreflightError.define(
    "definition-disk-differs",
    "The definition of {vm} has another disk {disk} than the running VM: {path}. It is copied as well (options name it "
    "next-{disk}), its file stays on {host}, and the VM has the copy when it is next started.",
    "To leave it out, take it from the definition: `virsh detach-disk {vm} {disk} --config`.",
)
DEFINED_DISK_UNSUPPORTED = PreflightError.define(
    "definition-disk-unsupported",
    "The definition of {vm} has another disk {disk} than the running VM, and it cannot be moved: {why}.",
    "Take it out of the definition: `virsh detach-disk {vm} {disk} --config`.",
)
DEFINED_NETWORK = PreflightError.define(
    "definition-network-missing",
    "{host} has no active network or bridge {network}, which only the definition of {vm} is on: the VM would run "
    "there, and not start anew.",
    "Make it there, or name another with --map-network {network}=NAME ({known}).",
)
NOT_MIGRATABLE = PreflightError.define("vm-not-migratable", "{vm} cannot be moved while it runs: {why}.", "{advice}.")
DEVICE_FORBIDDEN = PreflightError.define(
    "device-forbidden",
    "{host} does not accept {vm}: {why}.",
    "Take that out of the VM's configuration (`virsh edit {vm}`) and start the VM anew{allowed}.",
)
MEMORY_SHORT = PreflightError.define(
    "memory-short",
    "{host} has {free} bytes of memory available, and {vm} needs {needed}.",
    "Free memory there, or choose another host.",
)
SAME_HOST_UUID = PreflightError.define(
    "same-host-uuid",
    "{source} and {host} have the same host UUID {uuid}, so libvirt takes them for one host.",
    "Set a `host_uuid` of its own in /etc/libvirt/libvirtd.conf on one of them and restart libvirtd.",
)
ENCRYPTION_DIFFERS = PreflightError.define(
    "encryption-required",
    "Encryption was to be off, but {host} requires it.",
    "Leave --encryption off out, or set it free on {host}: `vmferry host set --encryption optional`.",
)
LIBVIRT_REFUSED = PreflightError.define(
    "libvirt-refused", "libvirt on {host} refused {vm}: {detail}.", "Mend what it names, then move again."
)
VERSION_DIFFERS = PreflightError.define(
    "version-differs", "{source} and {host} share no version of {what}.", "Install the same release of vmferry on both."
)

VM_IN_USE = PreflightError.define(
    "vm-in-use",
    "libvirt is at work on {vm} ({job}).",
    "Wait until `virsh domjobinfo {vm}` says None, or end it: `virsh domjobabort {vm}`.",
)
VM_SNAPSHOTS = PreflightError.define(
    "vm-has-snapshots",
    "{vm} has {snapshots} snapshots and {checkpoints} checkpoints, which libvirt cannot move.",
    "Delete them (`virsh snapshot-delete {vm} NAME`, `virsh checkpoint-delete {vm} NAME`), then move.",
)
EMULATOR_OTHER = PreflightError.define(
    "emulator-other",
    "{host} has or allows no {named}, so {vm} is run by {emulator} there.",
    "If it has to be that program, install it on {host} and add it to `emulators` in {host}'s vmferry.toml.",
)
SOCKET_MOVED = PreflightError.define(
    "socket-moved",
    "The socket of {vm}'s channel {channel} is where libvirt puts it on {host}, not at {path}.",
    "If a program looks for it, `virsh dumpxml {vm}` on {host} says where it is once the VM runs there.",
)
MACHINE_UNKNOWN = PreflightError.define(
    "machine-unknown",
    "QEMU on {host} does not know the machine type {machine} of {vm}.",
    "Install a QEMU there that does (here it is {qemu}), or give the VM one of {known} (`virsh edit {vm}`) "
    "and start it anew.",
)
QEMU_OLDER = PreflightError.define(
    "qemu-older",
    "{host} has QEMU {there}, older than {here} on {source}; its makers promise only moves to a newer one.",
    "Install QEMU {here} on {host}, or try the move with a VM that may be lost.",
)
QEMU_NEWER = PreflightError.define(
    "qemu-newer",
    "{host} has QEMU {there}, newer than {here} on {source}: {vm} comes there safely, but its way back leads to an "
    "older one, which its makers do not promise to work.",
    "Install QEMU {there} on {source} before {vm} has to come back.",
)
LIBVIRT_OLDER = PreflightError.define(
    "libvirt-older",
    "{host} has libvirt {there}, older than {here} on {source}.",
    "Install libvirt {here} on {host}; what it does not know of {vm} it would refuse.",
)
CPU_INCOMPATIBLE = PreflightError.define(
    "cpu-incompatible",
    "The CPU of {host} cannot run {vm}: {why}.",
    "Give the VM a CPU model that both have (`virsh hypervisor-cpu-baseline`), and start it anew.",
)
CPU_NO_WAY_BACK = PreflightError.define(
    "cpu-no-way-back",
    "{vm} takes its CPU from its host ({mode}), and {host} has another than {source}: once started anew there, it "
    "could not come back.",
    "Give the VM a CPU model that both have (`virsh hypervisor-cpu-baseline`) with `virsh edit {vm}`.",
)
FIRMWARE_MISSING = PreflightError.define(
    "boot-file-missing",
    "{vm} starts from {path}, which is not on {host}.",
    "Copy it there, or install the package that it is of (`dpkg -S {path}` or `rpm -qf {path}` on {source}).",
)
TPM_MISSING = PreflightError.define(
    "tpm-missing",
    "{vm} has an emulated TPM, and {host} cannot emulate one.",
    "Install swtpm and swtpm-tools on {host}.",
)
DEVICE_HOST_BOUND = PreflightError.define(
    "device-host-bound",
    "{vm} uses a device of {source} itself: {device}.",
    "Take it out first: `virsh detach-device {vm} FILE {flag}`, where FILE has its XML.",
)
NETWORK_MISSING = PreflightError.define(
    "network-missing",
    "{host} has no network or bridge {network}, which {vm} would be on.",
    "Make it there, or name another with --map-network {here}=NAME ({known}), or unplug it: --map-network {here}=none.",
)
PORT_TAKEN = PreflightError.define(
    "display-port-taken",
    "The {kind} display of {vm} wants TCP port {port}, which {by} has on {host}.",
    "Free it there, or let libvirt choose the port: set autoport='yes' (`virsh edit {vm}`) and start the VM anew.",
)
LISTEN_ADDRESS = PreflightError.define(
    "display-address-missing",
    "The {kind} display of {vm} listens on {address}, which is no address of {host}.",
    "Have it listen on one that both hosts have, such as 127.0.0.1 (`virsh edit {vm}`), and start the VM anew.",
)
NETWORK_INACTIVE = PreflightError.define(
    "network-inactive",
    "The network {network} of {vm} is not active on {host}.",
    "Start it there: `virsh net-start {network}`.",
)
STORAGE_READ_ONLY = PreflightError.define(
    "storage-path-unwritable",
    "No file can be made in {path} on {host} for disk {disk}.",
    "Mount it for writing there, or name another folder with --storage-path.",
)
STORAGE_UNREACHABLE = PreflightError.define(
    "storage-path-unreachable",
    "QEMU runs as {user} on {host}, who may not pass through the folders of {path} for disk {disk}.",
    "Let it: `chmod o+x` on each folder above, or name another folder with --storage-path.",
)
STORAGE_NOT_DIRECT = PreflightError.define(
    "storage-no-direct-io",
    "The disk {disk} of {vm} uses cache={cache}, and the file system of {path} on {host} takes no direct I/O.",
    "Name a folder on another file system with --storage-path.",
)
HUGE_PAGES_SHORT = PreflightError.define(
    "huge-pages-short",
    "{vm} needs {needed} bytes of huge pages of {size} bytes, and {host} has {free} free.",
    "Reserve more there: `sysctl vm.nr_hugepages=N`, or for another size "
    "/sys/kernel/mm/hugepages/hugepages-SIZEkB/nr_hugepages.",
)
CLOCK_DIFFERS = PreflightError.define(
    "clock-differs",
    "The clocks of {source} and {host} are {seconds} seconds apart.",
    "Set both by the same time servers (`chronyc tracking`, `timedatectl`).",
)
SAME_HOSTNAME = PreflightError.define(
    "same-hostname",
    "{source} and {host} both call themselves {hostname}, which makes logs and messages hard to tell apart.",
    "Give one another name: `hostnamectl hostname NAME`.",
)
VMFERRY_DIFFERS = PreflightError.define(
    "vmferry-differs",
    "{source} has vmferry {here}, and {host} has {there}.",
    "Install the same release on both when you can.",
)
APPARMOR_RULES = PreflightError.define(
    "apparmor-rules-missing",
    "AppArmor confines QEMU on {host}, and vmferry's rules are not there: it may keep QEMU from the move's sockets.",
    "Append packaging/apparmor/libvirt-qemu to /etc/apparmor.d/local/abstractions/libvirt-qemu on {host}.",
)
SELINUX_UNTRIED = PreflightError.define(
    "selinux-untried",
    "SELinux confines QEMU on {host}, and vmferry brings no rules for it: it may keep QEMU from the move's sockets.",
    "Watch `ausearch -m avc -ts recent` on {host}, and allow what it shows with `audit2allow`.",
)
EMULATED_WRITES = PreflightError.define(
    "emulated-guest-loses-writes",
    "{vm} is emulated (type qemu), and QEMU {qemu} on {source} can lose what such a guest writes while it moves.",
    "Use KVM, QEMU 9.0 or newer, or `pti=on` on the guest's kernel command line.",
)
DEADLINE_MISSED = PreflightError.define(
    "deadline-missed", "{vm} would not be on {host} within {seconds} s: {why}.", "What would help: {advice}."
)
WILL_NOT_CONVERGE = PreflightError.define(
    "will-not-converge", "The copying of {vm} to {host} would come to no end: {why}.", "What would help: {advice}."
)
DOWNTIME_EXCEEDED = PreflightError.define(
    "downtime-exceeded",
    "{vm} would pause for about {downtime} ms, longer than the {wanted} ms that were asked for.",
    "Allow so much with --max-downtime, or move it over a faster network or when it writes less.",
)
NOT_PREDICTED = PreflightError.define(
    "not-predicted",
    "What the move of {vm} to {host} would be like was not predicted: {why}.",
    "Ask again when no move runs on {source} or {host}: `vmferry vm check {vm} {host} --predict`.",
)
BANDWIDTH_UNMEASURED = PreflightError.define(
    "bandwidth-unmeasured",
    "The way from {source} to {host} was not measured: {why}.",
    "Ask again when no move runs on either of them.",
)
DIRTY_RATE_UNMEASURED = PreflightError.define(
    "dirty-rate-unmeasured",
    "libvirt on {host} did not say in time how fast {vm} writes to its memory.",
    "Ask again; if that does not help, see `virsh domdirtyrate-calc {vm}`.",
)
