"""The table of error codes: one place, so that no two places say the same thing in different words."""

from vmferry.core.errors import (
    AccessError,
    CancelledError,
    InternalError,
    PreflightError,
    UnreachableError,
    UsageError,
    VmferryError,
)

# --- the request itself -------------------------------------------------------------------------------------
VM_UNKNOWN = UsageError.define(
    "vm-unknown", "There is no VM {vm} on {host}.", "See `vmferry vm list --host {host}`.", status=404
)
HOST_UNKNOWN = UsageError.define(
    "host-unknown", "{host} is not paired with {local}.", "Pair them first: `vmferry host pair {host}`.", status=404
)
JOB_UNKNOWN = UsageError.define(
    "job-unknown", "There is no job {job} on {host}.", "See `vmferry job list`.", status=404
)
DISK_UNKNOWN = UsageError.define(
    "disk-unknown", "{vm} has no disk {disk}.", "Its disks are {disks}; see `vmferry vm show {vm}`.", status=404
)
VM_NETWORK_UNKNOWN = UsageError.define(
    "vm-network-unknown",
    "{vm} has no interface on a network or bridge {network}.",
    "It is on {networks}; see `vmferry vm show {vm}`.",
    status=404,
)
SAME_HOST = UsageError.define(
    "same-host", "{vm} is on {host} already.", "Name another host; `vmferry host list` shows the paired ones."
)
NOT_BUILT = UsageError.define("not-built", "{option} {value} is not built yet.", "Use {option} {instead}.", status=501)
BAD_REQUEST = UsageError.define("bad-request", "The request is not valid: {detail}.", "Correct it and send it again.")
STORAGE_PATH_NEEDS_STORAGE = UsageError.define(
    "storage-path-needs-storage",
    "--storage-path and --disk say where copied disks go, but no storage was to be moved.",
    "Add --include-storage.",
)
CONFIG_INVALID = UsageError.define(
    "config-invalid", "The configuration {path} cannot be used: {why}.", "Correct it; see `vmferryd --print-config`."
)
SELF_PAIRING = UsageError.define(
    "self-pairing", "{host} cannot be paired with itself.", "Use the token on the other host, not where it was made."
)
PEER_NAME_TAKEN = UsageError.define(
    "peer-name-taken",
    "{local} knows another host by the name {host}.",
    "Unpair that one (`vmferry host unpair {host}` on {local}), or give one of them another `name` in vmferry.toml.",
    status=409,
)
PEER_BUSY = UsageError.define(
    "peer-busy", "{host} takes part in job {job}, which has not ended.", "Wait for its end, then unpair.", status=409
)
MOVES_IN_PROGRESS = UsageError.define(
    "moves-in-progress",
    "{host} takes part in moves that have not ended ({jobs}).",
    "Say what becomes of them: `vmferry migration disable --wait`, or `--cancel`.",
    status=409,
)
NETWORK_INVALID = UsageError.define(
    "network-invalid", "That is no migration network: {why}.", "Write it as 10.20.0.0/24 or fd20::/64."
)
NETWORK_EXISTS = UsageError.define(
    "network-exists",
    "The network {subnet} is listed already, with priority {priority}.",
    "Change it with `vmferry network set {subnet} --priority N`.",
    status=409,
)
NETWORK_UNKNOWN = UsageError.define(
    "network-unknown", "The network {subnet} is not listed.", "See `vmferry network list`.", status=404
)
SETTINGS_FILE = UsageError.define(
    "settings-file-invalid", "The settings in {path} cannot be used: {why}.", "Correct it; see docs/settings.md."
)
METHOD_WRONG = UsageError.define("method-wrong", "{detail}.", "See docs/api.md.", status=405)
NOT_FOUND = UsageError.define("not-found", "There is nothing at {path}.", "See docs/api.md.", status=404)

COMMAND_LINE = UsageError.define("command-line", "{detail}.", "See `{command} --help`.")
CONFIRMATION_NEEDED = UsageError.define(
    "confirmation-needed", "There is nobody to ask: {question}", "Add --yes if that is what you want."
)
TOKEN_NEEDED = UsageError.define(
    "pairing-token-needed",
    "Pairing takes a token, and there is no terminal to ask for it.",
    "Make one on the other host (`vmferry host pair --invite`) and name its file, or - for standard input, "
    "with --token-file.",
)
LAB_MISSING = UsageError.define(
    "lab-missing",
    "The lab cannot run here: {module} is not installed.",
    "Install vmferry with what hosts need: `pip install 'vmferry[host]'`.",
)

# --- the two hosts as they stand --------------------------------------------------------------------------------
MIGRATION_DISABLED = PreflightError.define(
    "migration-disabled",
    "Migration is disabled on {host}, so that VMs neither leave it nor come to it.",
    "Enable it on {host}: `vmferry migration enable`.",
)
MIGRATION_NETWORK_MISSING = PreflightError.define(
    "migration-network-missing",
    "{host} has no address inside its migration networks ({networks}), and may use no others.",
    "On {host}, list one that it is in (`vmferry network add`), or allow any: `vmferry host set --any-network`.",
)
MIGRATION_NETWORK_NOT_COMMON = PreflightError.define(
    "migration-network-not-common",
    "{source} keeps to its migration networks ({networks}), and {host} listens in none of them ({addresses}).",
    "List a network that both hosts are in, on both: `vmferry network add SUBNET`.",
)
VM_NOT_RUNNING = PreflightError.define(
    "vm-not-running", "{vm} is {state} on {host}, not running.", "Start it first: `virsh start {vm}`."
)
VM_BUSY = PreflightError.define(
    "vm-busy", "{vm} is being moved already, by job {job}.", "Watch it with `vmferry job watch {job}`, or cancel it."
)
NAME_TAKEN = PreflightError.define(
    "name-taken", "{host} has a VM named {vm} already.", "Rename or remove that one, then move again."
)
UUID_TAKEN = PreflightError.define(
    "uuid-taken", "{host} has a VM with the UUID {uuid} already ({vm}).", "Remove that one, then move again."
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
    "Remove that file, or put the disk elsewhere with --disk {disk}=PATH.",
)
DISK_NOT_SHARED = PreflightError.define(
    "disk-not-shared",
    "{host} does not see the disk {disk} of {vm} ({path}).",
    "Move it too: add --include-storage.",
)
DISK_UNSUPPORTED = PreflightError.define(
    "disk-unsupported",
    "The disk {disk} of {vm} cannot be moved: {why}.",
    "Only qcow2 and raw files without a backing file are moved; flatten or convert it (`qemu-img convert`).",
)
DEVICE_FORBIDDEN = PreflightError.define(
    "device-forbidden",
    "{host} does not accept {vm}: {why}.",
    "Take that out of the VM's configuration, or allow it in {host}'s vmferry.toml.",
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
    "Wait until `virsh domjobinfo {vm}` says None, or `virsh domjobabort {vm}`.",
)
VM_SNAPSHOTS = PreflightError.define(
    "vm-has-snapshots",
    "{vm} has {snapshots} snapshots and {checkpoints} checkpoints, which libvirt cannot move.",
    "Delete them (`virsh snapshot-delete {vm} NAME`, `virsh checkpoint-delete {vm} NAME`), then move.",
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
    "Take it out first: `virsh detach-device {vm} FILE --live`.",
)
NETWORK_MISSING = PreflightError.define(
    "network-missing",
    "{host} has no network or bridge {network}, which {vm} is on.",
    "Make it there, or name another with --map-network {network}=NAME ({known}), or unplug it: "
    "--map-network {network}=none.",
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

# --- who may ----------------------------------------------------------------------------------------------------
NOT_ALLOWED = AccessError.define(
    "not-allowed",
    "{host} does not allow {caller} to {action}.",
    "Ask an administrator of {host} for the role {role}.",
)
NOT_AUTHENTICATED = AccessError.define(
    "not-authenticated",
    "{host} does not know who is calling.",
    "Use vmferry on {host} itself, as root or a member of its group `vmferry`.",
)
NOT_PAIRED = AccessError.define(
    "not-paired",
    "{host} does not know the host that is calling.",
    "Pair the two: `vmferry host pair` on either of them.",
)
JOB_KEY_WRONG = AccessError.define(
    "job-key-wrong", "The key shown for job {job} is not its key.", "Start the move again.", status=401
)
TOKEN_CERTIFICATE = AccessError.define(
    "pairing-certificate-wrong",
    "{address} shows another certificate than the pairing token names, so the token was not sent there.",
    "See whether that is the address of the host that made the token; if it is, find out who answers there.",
)
TOKEN_WRONG = AccessError.define(
    "pairing-token-wrong",
    "{host} did not accept the pairing token: it is wrong, used, or older than 10 minutes.",
    "Make a new one on {host}: `vmferry host pair --invite`.",
)
TOKEN_RATE = AccessError.define(
    "pairing-rate-limited",
    "{host} has seen too many wrong pairing tokens.",
    "Wait {seconds} seconds, then make a new one with `vmferry host pair --invite`.",
    status=429,
)
CERTIFICATE_CHANGED = AccessError.define(
    "certificate-changed",
    "{host} shows another certificate than the one it was paired with.",
    "If it was set up anew: `vmferry host unpair {host}`, then pair again. If not, find out who answers there.",
)

WORKER_CERTIFICATE = AccessError.define(
    "worker-certificate-wrong",
    "{host} shows another certificate than the one exchanged for job {job}.",
    "Start the move again; if it happens again, find out who answers at that address.",
)

# --- who does not answer ------------------------------------------------------------------------------------------
HOST_UNREACHABLE = UnreachableError.define(
    "host-unreachable",
    "{host} does not answer at {address}: {why}.",
    "See whether it is up and vmferryd runs there (`systemctl status vmferryd`), and whether TCP 6601 is open.",
)
DAEMON_UNREACHABLE = UnreachableError.define(
    "daemon-unreachable",
    "vmferryd does not answer at {address}: {why}.",
    "Start it: `systemctl start vmferryd`.",
)
DATA_UNREACHABLE = UnreachableError.define(
    "data-port-unreachable",
    "{host} does not answer on any of its migration addresses ({addresses}): {why}.",
    "Open TCP 6610-6659 between the hosts on that network.",
)
LIBVIRT_UNREACHABLE = UnreachableError.define(
    "libvirt-unreachable", "libvirt on {host} does not answer: {why}.", "Start it: `systemctl start libvirtd`."
)

# --- a move that ended otherwise ------------------------------------------------------------------------------------
CANCELLED = CancelledError.define(
    "cancelled", "Job {job} was cancelled by {caller}.", "{vm} runs on {host}; move it again when you like."
)
TOO_LATE = UsageError.define(
    "too-late", "Job {job} has passed its commit and cannot be cancelled.", "Let it finish, then move the VM back.", 409
)
MOVE_FAILED = VmferryError.define(
    "move-failed", "The move of {vm} failed in phase {phase}: {why}.", "{vm} runs on {host}; {advice}."
)
LINK_LOST = VmferryError.define(
    "link-lost",
    "The connection to {peer} broke in phase {phase}: {why}.",
    "{vm} runs on {host}; see to the network between the hosts, then move again.",
)
WORKER_DIED = VmferryError.define(
    "worker-died",
    "The transfer process of job {job} on {host} ended unexpectedly in phase {phase}.",
    "{vm} runs on {owner}; see `journalctl -u vmferry-transfer@{job}`, then move again.",
)
RPC_REFUSED = AccessError.define(
    "rpc-refused",
    "{host} refused a libvirt call that was not authorised for this move: {why}.",
    "If you did not change the VM during the move, treat the source host as compromised.",
)
PROTOCOL = InternalError.define(
    "protocol", "The peer broke the transfer protocol: {why}.", "Report it, with the log of both hosts."
)
DATABASE_NEWER = InternalError.define(
    "database-newer",
    "The database {path} has schema {found}, and this program knows up to {known}.",
    "Install the newer release of vmferry again.",
)
PORTS_TAKEN = InternalError.define(
    "ports-taken",
    "No TCP port of {first}-{last} is free on {addresses}: {why}.",
    "Let other moves end, or widen `data_ports` in vmferry.toml.",
)
INTERNAL = InternalError.define("internal", "vmferry failed: {why}.", "Report it, with the log of vmferryd.")

# --- the lab ----------------------------------------------------------------------------------------------------------
LAB_COMMAND = InternalError.define(
    "lab-command-failed",
    "`{command}` failed: {why}.",
    "The lab needs root on Debian 12 with the packages of `make setup`.",
)
LAB_DOWN = PreflightError.define("lab-down", "The lab {name} is not up.", "Start it: `vmferry lab up`.")
LAB_HOST_UNKNOWN = UsageError.define(
    "lab-host-unknown", "The lab has no host {host}.", "Its hosts are {hosts}.", status=404
)
LAB_TIMEOUT = InternalError.define(
    "lab-timeout", "{what} did not happen within {seconds} seconds.", "See the logs in {place}."
)
