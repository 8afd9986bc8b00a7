"""Codes of who does not answer, what becomes of a move that ended otherwise, and the lab."""

from vmferry.core.errors import (
    AccessError,
    CancelledError,
    InternalError,
    PreflightError,
    UnreachableError,
    UsageError,
    VmferryError,
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
    "{host} does not answer on its data ports at {addresses}: {why}.",
    "Open TCP 6610-6659 between the hosts on that network.",
)
LIBVIRT_UNREACHABLE = UnreachableError.define(
    "libvirt-unreachable", "libvirt on {host} does not answer: {why}.", "Start it: `systemctl start libvirtd`."
)
LIBVIRT_FAILED = PreflightError.define(
    "libvirt-failed", "libvirt on {host} could not do what vmferry asked of it: {detail}.", "Mend what it names."
)

# --- a move that ended otherwise ------------------------------------------------------------------------------------
CANCELLED = CancelledError.define(
    "cancelled", "Job {job} was cancelled by {caller}.", "{vm} {stands} on {host}; move it again when you like."
)
DEADLINE_PASSED = VmferryError.define(
    "deadline-passed",
    "{vm} was not on {peer} {seconds} s after its move was asked for, and the move was given up as --deadline wants.",
    "{vm} {stands} on {host}; `vmferry vm check {vm} {peer} --predict` shows what takes so long.",
)
JOB_ENDED = UsageError.define(
    "job-ended", "Job {job} has ended already ({state}).", "See how: `vmferry job show {job}`.", 409
)
WAIT_OVER = VmferryError.define(
    "wait-over",
    "Job {job}, which moves {vm}, had not ended after {time} (state {state}).",
    "It goes on: wait again, or watch it with `vmferry job watch {job}`.",
)
TOO_LATE = UsageError.define(
    "too-late", "Job {job} has passed its commit and cannot be cancelled.", "Let it finish, then move the VM back.", 409
)
PAST_FORCE = UsageError.define(
    "past-force",
    "Job {job} cannot be ended by force any more: whose {vm} is, is being decided between this host and {peer}.",
    "Let it finish. If {peer} is gone for good, settle it by hand: `vmferry job resolve {job}`.",
    409,
)
RESOLVE_REFUSED = PreflightError.define(
    "resolve-refused",
    "Job {job} cannot be settled that way, {vm} might run twice or nowhere: {why}.",
    "`vmferry job resolve {job}` shows both ways, and changes nothing.",
)
SETTLED_BY_HAND = VmferryError.define(
    "settled-by-hand",
    "{caller} settled job {job}: {vm} is {host}'s.",
    "See that no other host ever starts its copy of {vm}.",
)
PEER_LIMIT = PreflightError.define(
    "peer-limit",
    "{host} keeps {what} of {peer} already, and no host may have more there.",
    "Wait until some of these moves have begun or ended; see `vmferry job list` on {peer}.",
)
MOVE_FAILED = VmferryError.define(
    "move-failed", "The move of {vm} failed in phase {phase}: {why}.", "{vm} {stands} on {host}; {advice}."
)
DEFINITION_REFUSED = VmferryError.define(
    "definition-refused",
    "{host} does not accept the definition that {vm} was given while it was copied: {why}.",
    "Define it anew on {host}: `virsh edit {vm}`.",
)
LINK_LOST = VmferryError.define(
    "link-lost",
    "The connection to {peer} broke in phase {phase}: {why}.",
    "{vm} {stands} on {host}; see to the network between the hosts, then move again.",
)
WORKER_DIED = VmferryError.define(
    "worker-died",
    "The transfer process of job {job} on {host} ended unexpectedly in phase {phase}.",
    "{vm} {stands} on {owner}; see `journalctl -u vmferry-transfer@{job}`, then move again.",
)
VM_LOST_AT_SWITCH = VmferryError.define(
    "vm-lost-at-switch",
    "{vm} ended on {host} at the switch of its move from {source}, and what it had in memory is lost.",
    "{host} has it now, shut off, and its disks there are whole: {advice}.",
)
START_LOCK_FAILED = InternalError.define(
    "start-lock-failed",
    "The lock {path}, which keeps a VM that is handed over from being started here, cannot be written: {why}.",
    "Make room there, and see that its file system is mounted for writing; then move again.",
)
RPC_REFUSED = AccessError.define(
    "rpc-refused",
    "{host} refused a libvirt call that was not authorised for this move: {why}.",
    "If you did not change the VM during the move, treat the source host as compromised.",
)
NOT_THIS_VM = PreflightError.define(
    "not-this-vm",
    "The VM with the UUID {uuid} on {host} is not the one of this move: {why}.",
    "It stays as it is. See who started it (`virsh dominfo {uuid}` on {host}); end it yourself if nobody needs it.",
)
PROTOCOL = InternalError.define(
    "protocol", "The peer broke the transfer protocol: {why}.", "Report it, with the log of both hosts."
)
RELEASE_OLDER = PreflightError.define(
    "release-older",
    "The other host needs what the release of vmferry on {host} does not know: {what}.",
    "Update vmferry on {host}.",
)
DATABASE_NEWER = InternalError.define(
    "database-newer",
    "The database {path} has schema {found}, and this program knows up to {known}.",
    "Install the newer release of vmferry again.",
)
DATABASE_FAILED = InternalError.define(
    "database-failed",
    "The database {path} on {host} cannot be used: {why}.",
    "See there whether its file system is full or read-only, and whether a program holds it locked: `fuser -v {path}`.",
)
PHASE_REFUSED = InternalError.define(
    "phase-refused",
    "The {role}'s job {job} on {host} is in the phase {phase}, and {then} may not follow that.",
    "Its worker reads the journal again and goes on from there; `vmferry job show {job}` on {host} says how it stands.",
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
LAB_HOST_RELEASE = UsageError.define(
    "lab-host-release",
    "{host} was made with {release}, not {wanted}.",
    "Take the lab down first: `vmferry lab down --name {name}`.",
    status=409,
)
LAB_VM_NAME = UsageError.define(
    "lab-vm-name",
    "The lab makes no VM {name}: {why}.",
    "Choose another name; `vmferry lab status` shows what is there.",
)
LAB_SPACE = PreflightError.define(
    "lab-space",
    "{folder} has {free} MiB free, and making the root of {release} hosts takes {needed}.",
    "Free some space there.",
)
LAB_MIRROR = UnreachableError.define(
    "lab-mirror",
    "The packages of {release} cannot be fetched from {mirror}: {why}.",
    "See whether this machine reaches it, name another with --mirror, or copy {place} from a machine that has it.",
)
LAB_DOMAIN_MISSING = PreflightError.define(
    "lab-domain-missing",
    "The lab cannot have a domain here: {packages} is not installed.",
    "Run `make setup`, which installs it; or use another release's Samba: `vmferry lab up --samba newer`.",
)
LAB_NO_DOMAIN = UsageError.define(
    "lab-no-domain",
    "The lab {name} has no domain.",
    "Give it one: `vmferry lab up --domain --name {name}`; `--trust` for the one that `partner` is of.",
    status=409,
)
LAB_NO_TICKET = UnreachableError.define(
    "lab-no-ticket",
    "{person} gets no ticket on {host}: {why}",
    "See whether dc is up, `vmferry lab status --name {name}`, and start it: `vmferry lab up --name {name}`.",
)
