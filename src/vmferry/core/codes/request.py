"""Codes of what is wrong with the request itself."""

from vmferry.core.errors import UsageError

VM_UNKNOWN = UsageError.define(
    "vm-unknown", "There is no VM {vm} on {host}.", "List the VMs: `vmferry vm list --host {host}`.", status=404
)
VM_NAME_UNUSABLE = UsageError.define(
    "vm-name-unusable",
    "A VM named {vm} cannot be moved: {why}.",
    "Shut it down and rename it: `virsh domrename`.",
)
HOST_UNKNOWN = UsageError.define(
    "host-unknown",
    "{local} does not know {host}: the two are not paired, and {host} has not yet been met as a host of the site or "
    "domain.",
    "Pair them first: `vmferry host pair {host}`. Or let both trust the site's authority (`vmferry host trust set "
    "CA.pem`), and check a move between them.",
    status=404,
)
JOB_UNKNOWN = UsageError.define(
    "job-unknown", "There is no job {job} on {host}.", "List the jobs: `vmferry job list`.", status=404
)
JOB_AMBIGUOUS = UsageError.define(
    "job-ambiguous", "{job} matches several jobs: {jobs}.", "Write more of the identifier; `vmferry job list` shows it."
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
    "same-host", "{vm} is already on {host}.", "Name another host; `vmferry host list` shows the paired hosts."
)
NOT_BUILT = UsageError.define("not-built", "{option} {value} is not implemented yet.", "Use {option} {instead}.")
BAD_REQUEST = UsageError.define("bad-request", "The request is not valid: {detail}.", "Correct it and send it again.")
STORAGE_PATH_NEEDS_STORAGE = UsageError.define(
    "storage-path-needs-storage",
    "--storage-path and --disk say where copied disks go, but the move does not include storage.",
    "Add --include-storage.",
)
CONFIG_INVALID = UsageError.define(
    "config-invalid", "The configuration {path} cannot be used: {why}.", "Correct it; see `vmferryd --print-config`."
)
SELF_PAIRING = UsageError.define(
    "self-pairing",
    "{host} cannot be paired with itself.",
    "Use the token on the other host, not on the host that made it.",
)
PEER_NAME_TAKEN = UsageError.define(
    "peer-name-taken",
    "{local} knows another host by the name {host}.",
    "Unpair that host (`vmferry host unpair {host}` on {local}), or give one of the two another `name` in "
    "vmferry.toml.",
    status=409,
)
PEER_BUSY = UsageError.define(
    "peer-busy",
    "{host} takes part in job {job}, which has not ended.",
    "Wait until the job ends, then unpair. Or end the job: `vmferry host unpair {host} --force`.",
    status=409,
)
MOVES_IN_PROGRESS = UsageError.define(
    "moves-in-progress",
    "{host} takes part in moves that have not ended ({jobs}).",
    "Choose what happens to them: `vmferry migration disable --wait`, or `--cancel`.",
    status=409,
)
NETWORK_INVALID = UsageError.define(
    "network-invalid", "This is not a migration network: {why}.", "Write it as 10.20.0.0/24 or fd20::/64."
)
NETWORK_EXISTS = UsageError.define(
    "network-exists",
    "The network {subnet} is already listed, with priority {priority}.",
    "Change it with `vmferry network set {subnet} --priority N`.",
    status=409,
)
NETWORK_UNKNOWN = UsageError.define(
    "network-unknown", "The network {subnet} is not listed.", "List the networks: `vmferry network list`.", status=404
)
SETTINGS_FILE = UsageError.define(
    "settings-file-invalid", "The settings in {path} cannot be used: {why}.", "Correct it; see docs/settings.md."
)
TOO_MANY_STREAMS = UsageError.define(
    "too-many-streams",
    "{caller} already follows {most} jobs at once.",
    "End some of these requests; `vmferry job list --watch` follows all jobs at once.",
    status=429,
)
METHOD_WRONG = UsageError.define("method-wrong", "{detail}.", "See docs/api.md.", status=405)
NOT_FOUND = UsageError.define("not-found", "There is nothing at {path}.", "See docs/api.md.", status=404)

COMMAND_LINE = UsageError.define("command-line", "{detail}", "See `{command} --help`.")
CONFIRMATION_NEEDED = UsageError.define(
    "confirmation-needed", "There is no terminal to ask on: {question}", "Add --yes if that is what you want."
)
TOKEN_NEEDED = UsageError.define(
    "pairing-token-needed",
    "A pairing token is needed, and there is no terminal to ask for it.",
    "Create one on the other host (`vmferry host pair --invite`), and name its file, or - for standard input, with "
    "--token-file.",
)
LAB_MISSING = UsageError.define(
    "lab-missing",
    "The lab cannot run here: {module} is not installed.",
    "Install vmferry with the packages that hosts need: `pip install 'vmferry[host]'`.",
)
