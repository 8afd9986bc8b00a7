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
NETWORK_MISSING = PreflightError.define(
    "migration-network-missing",
    "{host} has no address inside its migration networks ({networks}), and may use no others.",
    "On {host}, list one that it is in (`vmferry network add`), or allow any: `vmferry host set --any-network`.",
)
NETWORK_NOT_COMMON = PreflightError.define(
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
