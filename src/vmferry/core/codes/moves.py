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
    "Check that it is up, that vmferryd runs there (`systemctl status vmferryd`), and that TCP 6601 is open.",
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
    "libvirt-failed",
    "libvirt on {host} could not do what vmferry requested: {detail}.",
    "Fix the cause that it names, then try again.",
)

# --- a move that ended otherwise ------------------------------------------------------------------------------------
CANCELLED = CancelledError.define(
    "cancelled", "Job {job} was cancelled by {caller}.", "{vm} {stands} on {host}. You can move it again at any time."
)
DEADLINE_PASSED = VmferryError.define(
    "deadline-passed",
    "{vm} was not on {peer} within {seconds} s of the request, so the move was given up, as --deadline asks.",
    "{vm} {stands} on {host}. `vmferry vm check {vm} {peer} --predict` shows what takes so long.",
)
JOB_ENDED = UsageError.define(
    "job-ended", "Job {job} has already ended ({state}).", "See the result: `vmferry job show {job}`.", 409
)
WAIT_OVER = VmferryError.define(
    "wait-over",
    "Job {job}, which moves {vm}, had not ended after {time} (state {state}).",
    "The job goes on. Wait again, or follow it with `vmferry job watch {job}`.",
)
TOO_LATE = UsageError.define(
    "too-late",
    "Job {job} has passed its commit and cannot be cancelled.",
    "Wait until it ends, then move the VM back.",
    409,
)
PAST_FORCE = UsageError.define(
    "past-force",
    "Job {job} can no longer be ended by force: this host and {peer} are deciding which of them runs {vm}.",
    "Wait until it ends. If {peer} is gone for good, settle the job by hand: `vmferry job resolve {job}`.",
    409,
)
RESOLVE_REFUSED = PreflightError.define(
    "resolve-refused",
    "Job {job} cannot be settled that way, because {vm} might run twice or not at all: {why}.",
    "`vmferry job resolve {job}` shows both choices, and changes nothing.",
)
SETTLED_BY_HAND = VmferryError.define(
    "settled-by-hand",
    "{caller} settled job {job} by hand: {vm} belongs to {host}.",
    "Make sure that no other host ever starts its copy of {vm}.",
)
PEER_LIMIT = PreflightError.define(
    "peer-limit",
    "{host} already keeps {what} of {peer}, the most that it allows one host.",
    "Wait until some of these moves have started or ended; `vmferry job list` on {peer} shows them.",
)
MOVE_FAILED = VmferryError.define(
    "move-failed", "The move of {vm} failed in phase {phase}: {why}.", "{vm} {stands} on {host}; {advice}."
)
DEFINITION_REFUSED = VmferryError.define(
    "definition-refused",
    "{host} does not accept the definition that {vm} was given during the copy: {why}.",
    "Change it again on {host}: `virsh edit {vm}`.",
)
LINK_LOST = VmferryError.define(
    "link-lost",
    "The connection to {peer} broke in phase {phase}: {why}.",
    "{vm} {stands} on {host}. Fix the network between the hosts, then move again.",
)
WORKER_DIED = VmferryError.define(
    "worker-died",
    "The transfer process of job {job} on {host} ended unexpectedly in phase {phase}.",
    "{vm} {stands} on {owner}. See `journalctl -u vmferry-transfer@{job}`, then move again.",
)
VM_LOST_AT_SWITCH = VmferryError.define(
    "vm-lost-at-switch",
    "{vm} ended on {host} at the switch of its move from {source}, and the contents of its memory are lost.",
    "{host} has it now, shut off, and its disks there are intact: {advice}.",
)
START_LOCK_FAILED = InternalError.define(
    "start-lock-failed",
    "The lock {path}, which prevents a VM that is handed over from being started here, cannot be written: {why}.",
    "Free space there, and check that its file system is mounted read-write; then move again.",
)
RPC_REFUSED = AccessError.define(
    "rpc-refused",
    "{host} refused a libvirt call that this move does not allow: {why}.",
    "If you did not change the VM during the move, treat the source host as compromised.",
)
NOT_THIS_VM = PreflightError.define(
    "not-this-vm",
    "The VM with the UUID {uuid} on {host} is not the one of this move: {why}.",
    "It was not changed. Find out who started it (`virsh dominfo {uuid}` on {host}), and end it if nobody needs it: "
    "`virsh destroy {uuid}`.",
)
PROTOCOL = InternalError.define(
    "protocol",
    "The other host broke the transfer protocol: {why}.",
    "Report this as a bug, with the log of both hosts.",
)
RELEASE_OLDER = PreflightError.define(
    "release-older",
    "The other host needs {what}, which the release of vmferry on {host} does not know.",
    "Update vmferry on {host}.",
)
DATABASE_NEWER = InternalError.define(
    "database-newer",
    "The database {path} has schema {found}, but this program knows schemas up to {known}.",
    "Install the newer release of vmferry again.",
)
DATABASE_FAILED = InternalError.define(
    "database-failed",
    "The database {path} on {host} cannot be used: {why}.",
    "Check on that host whether the file system is full or read-only, and whether a program has the database locked: "
    "`fuser -v {path}`.",
)
PHASE_REFUSED = InternalError.define(
    "phase-refused",
    "Job {job} on {host}, the {role} of the move, cannot go from phase {phase} to {then}.",
    "The transfer process reads the journal again and continues from there. `vmferry job show {job}` on {host} shows "
    "the job's state.",
)
PORTS_TAKEN = InternalError.define(
    "ports-taken",
    "No TCP port of {first}-{last} is free on {addresses}: {why}.",
    "Wait until other moves have ended, or widen `data_ports` in vmferry.toml.",
)
INTERNAL = InternalError.define("internal", "vmferry failed: {why}.", "Report this as a bug, with the log of vmferryd.")

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
    "{host} was created with {release}, not {wanted}.",
    "Take the lab down first: `vmferry lab down --name {name}`.",
    status=409,
)
LAB_VM_NAME = UsageError.define(
    "lab-vm-name",
    "The lab cannot create a VM {name}: {why}.",
    "Choose another name; `vmferry lab status` shows the existing VMs.",
)
LAB_SPACE = PreflightError.define(
    "lab-space",
    "{folder} has {free} MiB free, and building the root file system of {release} hosts needs {needed} MiB.",
    "Free space there.",
)
LAB_MIRROR = UnreachableError.define(
    "lab-mirror",
    "The packages of {release} cannot be fetched from {mirror}: {why}.",
    "Check that this machine can reach the mirror, name another with --mirror, or copy {place} from a machine that "
    "has it.",
)
LAB_DOMAIN_MISSING = PreflightError.define(
    "lab-domain-missing",
    "The lab cannot have a domain here: {packages} is not installed.",
    "Run `make setup` to install it, or use the Samba of another release: `vmferry lab up --samba newer`.",
)
LAB_NO_DOMAIN = UsageError.define(
    "lab-no-domain",
    "The lab {name} has no domain.",
    "Create one: `vmferry lab up --domain --name {name}`. Add `--trust` for the domain of `partner`.",
    status=409,
)
LAB_NO_TICKET = UnreachableError.define(
    "lab-no-ticket",
    "{person} cannot get a ticket on {host}: {why}",
    "Check that dc is up (`vmferry lab status --name {name}`), or start it: `vmferry lab up --name {name}`.",
)
