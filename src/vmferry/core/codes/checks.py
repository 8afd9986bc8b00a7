"""Codes of what stands in a move's way as the two hosts are, or is worth knowing: most are findings of preflight/."""

from vmferry.core.errors import PreflightError

MIGRATION_DISABLED = PreflightError.define(
    "migration-disabled",
    "Migration is disabled on {host}: VMs can neither leave it nor move to it.",
    "Enable it on {host}: `vmferry migration enable`.",
)
LIMIT_REACHED = PreflightError.define(
    "limit-reached",
    "The move has to wait: {reason}.",
    "Without --no-wait, the move starts as soon as a slot is free. Or raise the limit on {host}: `vmferry host set "
    "--max-migrations N --max-storage-migrations N`.",
)
MIGRATION_NETWORK_MISSING = PreflightError.define(
    "migration-network-missing",
    "{host} has no address inside its migration networks ({networks}), and may use no others.",
    "On {host}, list a network that it is in (`vmferry network add SUBNET`), or allow any: `vmferry host set "
    "--any-network`.",
)
NETWORK_ABSENT = PreflightError.define(
    "network-not-here",
    "{host} has no address inside {subnet}.",
    "Name a network that it is in ({subnets}), or list this one anyway: `vmferry network add {subnet}`.",
)
MIGRATION_NETWORK_NOT_COMMON = PreflightError.define(
    "migration-network-not-common",
    "{source} uses only its migration networks ({networks}), and {host} listens in none of them ({addresses}).",
    "List a network that both hosts are in, on both hosts: `vmferry network add SUBNET`.",
)
VM_NOT_RUNNING = PreflightError.define("vm-not-running", "{vm} is {state} on {host}, not running.", "{advice}.")
VM_BUSY = PreflightError.define(
    "vm-busy",
    "{vm} is already being moved, by job {job}.",
    "Follow it with `vmferry job watch {job}`, or cancel it: `vmferry job cancel {job}`.",
)
NAME_TAKEN = PreflightError.define(
    "name-taken", "{host} already has a VM named {vm}.", "Rename or remove that VM, then move again."
)
UUID_TAKEN = PreflightError.define(
    "uuid-taken", "{host} already has a VM with the UUID {uuid} ({vm}).", "Remove that VM, then move again."
)
AMOUNT_EXCESSIVE = PreflightError.define(
    "amount-excessive",
    "{vm} has more than {host} allows a VM: {why}.",
    "Lower it in the VM's configuration (`virsh edit {vm}`), then shut the VM down and start it again.",
)
STORAGE_PATH_MISSING = PreflightError.define(
    "storage-path-missing",
    "The folder {path} for disk {disk} does not exist on {host}.",
    "Create it there, or name another folder with --storage-path.",
)
STORAGE_PATH_FORBIDDEN = PreflightError.define(
    "storage-path-forbidden",
    "{host} does not allow VM disks in {path}.",
    "Name a folder below one of {allowed}, or add the folder to `disk_folders` in {host}'s vmferry.toml.",
)
STORAGE_FULL = PreflightError.define(
    "storage-full",
    "{path} on {host} has {free} bytes free, and disk {disk} needs {needed}.",
    "Free space there, or name another folder with --storage-path.",
)
DISK_EXISTS = PreflightError.define(
    "disk-exists",
    "{path} already exists on {host}, and is not the disk {disk} of {vm}.",
    "Store the disk elsewhere with --disk {disk}=PATH. Or remove that file from {host}, once you are sure that "
    "nothing uses it.",
)
DISK_NOT_SHARED = PreflightError.define(
    "disk-not-shared",
    "{host} cannot see the disk {disk} of {vm} ({path}).",
    "Move the disk too: add --include-storage.",
)
DISK_UNSUPPORTED = PreflightError.define(
    "disk-unsupported",
    "The disk {disk} of {vm} cannot be moved: {why}.",
    "Only qcow2 and raw files without a backing file can be moved; {advice}.",
)
DISK_FILE_MISSING = PreflightError.define(
    "disk-file-missing", "The disk {disk} of {vm} cannot be moved: {why}.", "{advice}."
)
DISK_BLOCK_JOB = PreflightError.define(
    "disk-has-block-job",
    "libvirt has a block job on the disk {disk} of {vm} ({job}), and cannot move the VM meanwhile.",
    "Wait until `virsh blockjob {vm} {disk}` shows none, or end it: `virsh blockjob {vm} {disk} --abort`.",
)
MANAGED_SAVE = PreflightError.define(
    "vm-has-saved-state",
    "{vm} is running but also has a managed save image, which is older than its disks and cannot be moved.",
    "Remove the image: `virsh managedsave-remove {vm}`.",
)
DEFINED_DRIVE = PreflightError.define(
    "definition-drive-differs",
    "The drive {disk} of {vm} holds {path} in the VM's definition, but not in the running VM. The file stays on "
    "{host}, and after the move the drive is empty in the definition.",
    "To make both the same, empty the drive in the definition: `virsh change-media {vm} {disk} --eject --config`.",
)
DEFINED_DISK = PreflightError.define(
    "definition-disk-differs",
    "The disk {disk} in the definition of {vm} is another one than in the running VM: {path}. It is copied as well "
    "(options call it next-{disk}). The original stays on {host}, and the VM uses the copy at its next start.",
    "To leave it out, remove it from the definition: `virsh detach-disk {vm} {disk} --config`.",
)
DEFINED_DISK_UNSUPPORTED = PreflightError.define(
    "definition-disk-unsupported",
    "The disk {disk} in the definition of {vm} is another one than in the running VM, and cannot be moved: {why}.",
    "Remove it from the definition: `virsh detach-disk {vm} {disk} --config`.",
)
DEFINED_NETWORK = PreflightError.define(
    "definition-network-missing",
    "{host} has no active network or bridge {network}, which only the definition of {vm} uses: the VM would run "
    "there, but could not be started again.",
    "Create it there, or name another with --map-network {network}=NAME ({known}).",
)
NOT_MIGRATABLE = PreflightError.define("vm-not-migratable", "{vm} cannot be moved while it runs: {why}.", "{advice}.")
DEVICE_FORBIDDEN = PreflightError.define(
    "device-forbidden",
    "{host} does not accept {vm}: {why}.",
    "Remove that from the VM's configuration (`virsh edit {vm}`), then shut the VM down and start it again{allowed}.",
)
MEMORY_SHORT = PreflightError.define(
    "memory-short",
    "{host} has {free} bytes of memory available, and {vm} needs {needed}.",
    "Free memory there, or choose another host.",
)
SAME_HOST_UUID = PreflightError.define(
    "same-host-uuid",
    "{source} and {host} have the same host UUID {uuid}, so libvirt takes them for the same host.",
    "On one of them, set a different `host_uuid` in /etc/libvirt/libvirtd.conf and restart libvirtd.",
)
ENCRYPTION_DIFFERS = PreflightError.define(
    "encryption-required",
    "The move was requested without encryption, but {host} requires it.",
    "Leave out --encryption off, or make encryption optional on {host}: `vmferry host set --encryption optional`.",
)
LIBVIRT_REFUSED = PreflightError.define(
    "libvirt-refused", "libvirt on {host} refused {vm}: {detail}.", "Fix the cause that it names, then move again."
)
VERSION_DIFFERS = PreflightError.define(
    "version-differs",
    "{source} and {host} have no version of {what} in common.",
    "Install the same release of vmferry on both hosts.",
)

VM_IN_USE = PreflightError.define(
    "vm-in-use",
    "libvirt has a job on {vm} ({job}).",
    "Wait until `virsh domjobinfo {vm}` shows None, or end the job: `virsh domjobabort {vm}`.",
)
VM_SNAPSHOTS = PreflightError.define(
    "vm-has-snapshots",
    "{vm} has {snapshots} snapshots and {checkpoints} checkpoints, which libvirt cannot move.",
    "Delete them (`virsh snapshot-delete {vm} NAME`, `virsh checkpoint-delete {vm} NAME`), then move again.",
)
EMULATOR_OTHER = PreflightError.define(
    "emulator-other",
    "{host} does not have or does not allow {named}, so {emulator} runs {vm} there.",
    "If the VM needs that program, install it on {host} and add it to `emulators` in {host}'s vmferry.toml.",
)
SOCKET_MOVED = PreflightError.define(
    "socket-moved",
    "On {host}, the socket of {vm}'s channel {channel} is where libvirt creates it, not at {path}.",
    "If a program uses the socket, find its new path with `virsh dumpxml {vm}` on {host} once the VM runs there.",
)
MACHINE_UNKNOWN = PreflightError.define(
    "machine-unknown",
    "QEMU on {host} does not know the machine type {machine} of {vm}.",
    "Install a newer QEMU there ({qemu} runs here), or give the VM one of {known} (`virsh edit {vm}`), then shut it "
    "down and start it again.",
)
QEMU_OLDER = PreflightError.define(
    "qemu-older",
    "{host} has QEMU {there}, older than {here} on {source}. QEMU only guarantees moves to a newer version.",
    "Install QEMU {here} on {host}, or try the move with a VM that you can afford to lose.",
)
QEMU_NEWER = PreflightError.define(
    "qemu-newer",
    "{host} has QEMU {there}, newer than {here} on {source}. {vm} can move there, but QEMU does not guarantee the "
    "move back to the older version.",
    "Install QEMU {there} on {source} before you move {vm} back.",
)
LIBVIRT_OLDER = PreflightError.define(
    "libvirt-older",
    "{host} has libvirt {there}, older than {here} on {source}.",
    "Install libvirt {here} on {host}. An older libvirt refuses what it does not know in the configuration of a VM.",
)
CPU_INCOMPATIBLE = PreflightError.define(
    "cpu-incompatible",
    "The CPU of {host} cannot run {vm}: {why}.",
    "Give the VM a CPU model that both hosts have (`virsh hypervisor-cpu-baseline`), then shut it down and start it "
    "again.",
)
CPU_NO_WAY_BACK = PreflightError.define(
    "cpu-no-way-back",
    "{vm} uses the CPU of its host ({mode}), and the CPU of {host} differs from that of {source}: once restarted "
    "there, the VM could not move back.",
    "Give the VM a CPU model that both hosts have (`virsh hypervisor-cpu-baseline`) with `virsh edit {vm}`.",
)
FIRMWARE_MISSING = PreflightError.define(
    "boot-file-missing",
    "{vm} boots from {path}, which does not exist on {host}.",
    "Copy it there, or install the package that it belongs to (`dpkg -S {path}` or `rpm -qf {path}` on {source} "
    "shows which).",
)
TPM_MISSING = PreflightError.define(
    "tpm-missing",
    "{vm} has an emulated TPM, and {host} cannot emulate one.",
    "Install swtpm and swtpm-tools on {host}.",
)
DEVICE_HOST_BOUND = PreflightError.define(
    "device-host-bound",
    "{vm} uses a physical device of {source}: {device}.",
    "Detach it first: `virsh detach-device {vm} FILE {flag}`, where FILE contains the XML of the device.",
)
NETWORK_MISSING = PreflightError.define(
    "network-missing",
    "{host} has no network or bridge {network}, which {vm} needs.",
    "Create it there, or name another with --map-network {here}=NAME ({known}), or disconnect the interface: "
    "--map-network {here}=none.",
)
PORT_TAKEN = PreflightError.define(
    "display-port-taken",
    "The {kind} display of {vm} needs TCP port {port}, which {by} uses on {host}.",
    "Free the port there. Or let libvirt choose one: set autoport='yes' (`virsh edit {vm}`), then shut the VM down "
    "and start it again.",
)
LISTEN_ADDRESS = PreflightError.define(
    "display-address-missing",
    "The {kind} display of {vm} listens on {address}, which is not an address of {host}.",
    "Let it listen on an address that both hosts have, such as 127.0.0.1 (`virsh edit {vm}`), then shut the VM down "
    "and start it again.",
)
NETWORK_INACTIVE = PreflightError.define(
    "network-inactive",
    "The network {network} of {vm} is not active on {host}.",
    "Start it there: `virsh net-start {network}`.",
)
STORAGE_READ_ONLY = PreflightError.define(
    "storage-path-unwritable",
    "No file can be created in {path} on {host} for disk {disk}.",
    "Mount it read-write there, or name another folder with --storage-path.",
)
STORAGE_UNREACHABLE = PreflightError.define(
    "storage-path-unreachable",
    "QEMU runs as {user} on {host}, and this user cannot enter the folders of {path} for disk {disk}.",
    "Allow it with `chmod o+x` on each folder of the path, or name another folder with --storage-path.",
)
STORAGE_NOT_DIRECT = PreflightError.define(
    "storage-no-direct-io",
    "The disk {disk} of {vm} uses cache={cache}, and the file system of {path} on {host} does not support direct I/O.",
    "Name a folder on another file system with --storage-path.",
)
HUGE_PAGES_SHORT = PreflightError.define(
    "huge-pages-short",
    "{vm} needs {needed} bytes of huge pages of {size} bytes, and {host} has {free} free.",
    "Reserve more there with `sysctl vm.nr_hugepages=N`, or for another page size in "
    "/sys/kernel/mm/hugepages/hugepages-SIZEkB/nr_hugepages.",
)
CLOCK_DIFFERS = PreflightError.define(
    "clock-differs",
    "The clocks of {source} and {host} differ by {seconds} seconds.",
    "Synchronise both with the same time servers (`chronyc tracking`, `timedatectl`).",
)
SAME_HOSTNAME = PreflightError.define(
    "same-hostname",
    "{source} and {host} have the same host name {hostname}, which makes logs and messages hard to tell apart.",
    "Rename one of them: `hostnamectl hostname NAME`.",
)
VMFERRY_DIFFERS = PreflightError.define(
    "vmferry-differs",
    "{source} has vmferry {here}, and {host} has {there}.",
    "Install the same release on both hosts when you can.",
)
APPARMOR_RULES = PreflightError.define(
    "apparmor-rules-missing",
    "AppArmor confines QEMU on {host}, and vmferry's rules are not installed there: QEMU may be denied the sockets "
    "of the move.",
    "Append packaging/apparmor/libvirt-qemu to /etc/apparmor.d/local/abstractions/libvirt-qemu on {host}.",
)
SELINUX_UNTRIED = PreflightError.define(
    "selinux-untried",
    "SELinux confines QEMU on {host}, and vmferry has no rules for it: QEMU may be denied the sockets of the move.",
    "Watch `ausearch -m avc -ts recent` on {host}, and allow what it shows with `audit2allow`.",
)
EMULATED_WRITES = PreflightError.define(
    "emulated-guest-loses-writes",
    "{vm} is emulated (type qemu), and QEMU {qemu} on {source} can lose memory writes of such a guest while it moves.",
    "Use KVM, or QEMU 9.0 or newer, or boot the guest's kernel with `pti=on`.",
)
DEADLINE_MISSED = PreflightError.define(
    "deadline-missed", "{vm} would not be on {host} within {seconds} s: {why}.", "What helps: {advice}."
)
WILL_NOT_CONVERGE = PreflightError.define(
    "will-not-converge", "Copying {vm} to {host} would never finish: {why}.", "What helps: {advice}."
)
DOWNTIME_EXCEEDED = PreflightError.define(
    "downtime-exceeded",
    "{vm} would pause for about {downtime} ms, longer than the requested {wanted} ms.",
    "Allow a longer pause with --max-downtime. Or move it over a faster network, or when the VM writes less.",
)
NOT_PREDICTED = PreflightError.define(
    "not-predicted",
    "The move of {vm} to {host} could not be predicted: {why}.",
    "Try again when no move runs on {source} or {host}: `vmferry vm check {vm} {host} --predict`.",
)
BANDWIDTH_UNMEASURED = PreflightError.define(
    "bandwidth-unmeasured",
    "The bandwidth from {source} to {host} was not measured: {why}.",
    "Try again when no move runs on either host.",
)
DIRTY_RATE_UNMEASURED = PreflightError.define(
    "dirty-rate-unmeasured",
    "libvirt on {host} did not report in time how fast {vm} writes to its memory.",
    "Try again. If that does not help, run `virsh domdirtyrate-calc {vm}`.",
)
