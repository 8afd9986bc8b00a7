"""Codes of what `vmferry doctor` finds on one host and between two, and of the try of the way between them."""

from vmferry.core.errors import PreflightError

# --- between two hosts ----------------------------------------------------------------------------------------------
MTU_BLACK_HOLE = PreflightError.define(
    "mtu-black-hole",
    "Large packets from {sender} do not come through between {source} and {address} of {host}, though small ones do.",
    "Give every interface, switch and tunnel between the two one MTU ({source} sends packets of {mtu} bytes: "
    "`ping -M do -s {size} {address}` shows whether they pass), or let ICMP `fragmentation needed` through.",
)
PROBE_UNTRIED = PreflightError.define(
    "data-port-untried",
    "Whether {host} can be reached on its data ports was not tried: {why}.",
    "Try again when its moves have ended, or install the same release of vmferry on both hosts.",
)
PROBE_BUSY = PreflightError.define(
    "probe-busy",
    "{host} is being asked by too many hosts at once whether its data ports can be reached.",
    "Try again in some seconds.",
)
ENCRYPTION_UNEQUAL = PreflightError.define(
    "encryption-differs",
    "Encryption is {here} on {source} and {there} on {host}: a move that asks for none is refused.",
    "Set the same on both: `vmferry host set --encryption required` (or optional).",
)
VIEW_UNKNOWN = PreflightError.define(
    "view-unknown",
    "{source} could not be asked how it sees {host}: {why}.",
    "See what is found between this host and {source}, or run `vmferry doctor {host}` on {source}.",
)

# --- vmferry on one host ----------------------------------------------------------------------------------------------
WORKERS_UNSTARTABLE = PreflightError.define(
    "transfer-not-startable",
    "{host} cannot start transfer processes: {why}.",
    "With systemd, install packaging/systemd/vmferry-transfer@.service and `systemctl daemon-reload`; "
    "without, start `vmferry-supervisor`.",
)
DAEMON_NOT_KEPT = PreflightError.define(
    "daemon-not-kept",
    "Nothing starts vmferryd on {host} after a reboot or a failure: {why}.",
    "`systemctl enable --now vmferryd`; without systemd, let the init start `vmferry-supervisor`.",
)
START_HOOK_MISSING = PreflightError.define(
    "start-hook-missing",
    "libvirt on {host} would start a VM that was just handed to another host: {why}.",
    "Install vmferry's hook on {host}: `vmferryd --print-hook | install -D -m 755 /dev/stdin {path}`; then let libvirt "
    "see it: `systemctl restart libvirtd` (VMs run on).",
)
SOCKET_CLOSED = PreflightError.define(
    "api-socket-closed",
    "Users who are not root cannot reach {path} on {host} (mode {mode}).",
    "Restart vmferryd, which makes it anew; who may do what is decided by user and group, not by this mode.",
)
GROUP_MISSING = PreflightError.define(
    "group-missing",
    "{host} has no group {group}, so that only root and those whom the settings name may use vmferry.",
    "Make it: `groupadd --system {group}`, or name another with `group` in vmferry.toml; "
    "then `systemctl restart vmferryd`.",
)
STATE_OPEN = PreflightError.define(
    "state-folder-open",
    "{path} on {host} holds keys, and others than root may look into it (mode {mode}).",
    "`chown root: {path} && chmod {wanted} {path}`.",
)
LISTENER_MISSING = PreflightError.define(
    "api-not-listening",
    "vmferryd on {host} does not listen at {address} port {port}, though vmferry.toml says so: {why}.",
    "Give {host} that address, or correct `listen` in vmferry.toml; then `systemctl restart vmferryd`.",
)
FIREWALL_DROPS = PreflightError.define(
    "firewall-drops",
    "The firewall of {host} lets nothing in at {address} on TCP {ports}.",
    "Open TCP 6601 and the data ports (6610-6659) for the paired hosts: `nft list ruleset` shows the rule.",
)

# --- certificates -----------------------------------------------------------------------------------------------------
CERTIFICATE_EXPIRED = PreflightError.define(
    "certificate-expired",
    "The certificate of {host} has expired on {date}.",
    "Remove host.pem and host.key from {host}'s state folder, restart vmferryd there, and pair it anew with its peers.",
)
CERTIFICATE_EXPIRES = PreflightError.define(
    "certificate-expires",
    "The certificate of {host} expires on {date}, in {days} days.",
    "Before then, remove host.pem and host.key from {host}'s state folder, restart vmferryd, and pair it anew.",
)
CERTIFICATE_EARLY = PreflightError.define(
    "certificate-not-yet-valid",
    "The certificate of {host} is valid only from {date} on.",
    "Set the clock of the host that says so; if it is right, give {host} another certificate.",
)
CERTIFICATE_UNUSABLE = PreflightError.define(
    "certificate-unusable",
    "The certificate of {host} and its key cannot be used: {why}.",
    "Restore {path} and the key beside it, or remove both, restart vmferryd, and pair {host} anew.",
)

# --- the host ---------------------------------------------------------------------------------------------------------
LIBVIRT_OLD = PreflightError.define(
    "libvirt-too-old",
    "{host} has libvirt {version}; vmferry is made for {wanted} and newer.",
    "Update libvirt on {host}.",
)
QEMU_OLD = PreflightError.define(
    "qemu-too-old",
    "{host} has QEMU {version}; vmferry is made for {wanted} and newer.",
    "Update QEMU on {host}, and start its VMs anew.",
)
CLOCK_FREE = PreflightError.define(
    "clock-unsynchronised",
    "The clock of {host} follows no time server.",
    "Start chrony, ntpd or systemd-timesyncd there (`timedatectl set-ntp true`).",
)
NETWORK_EMPTY = PreflightError.define(
    "network-without-address",
    "{host} has no address inside its migration network {subnet}.",
    "Give an interface of {host} an address in it, or take it off the list: `vmferry network remove {subnet}`.",
)
LINK_DOWN = PreflightError.define(
    "interface-down",
    "{interface} of {host}, which has {address} for migrations, is down.",
    "`ip link set {interface} up`; if it is up, see to its cable or the switch port.",
)
MTU_SMALL = PreflightError.define(
    "mtu-small",
    "{interface} of {host}, which has {address} for migrations, has an MTU of {mtu} bytes.",
    "`ip link set {interface} mtu 1500`, or more where the whole network takes it.",
)
FOLDER_MISSING = PreflightError.define(
    "disk-folder-missing",
    "{path}, named in `disk_folders`, does not exist on {host}.",
    "Create or mount it, or take it out of `disk_folders` in vmferry.toml.",
)
FOLDER_READ_ONLY = PreflightError.define(
    "disk-folder-unwritable",
    "No file can be made in {path} on {host}, named in `disk_folders`.",
    "Mount it for writing, or take it out of `disk_folders` in vmferry.toml.",
)
FOLDER_CLOSED = PreflightError.define(
    "disk-folder-unreachable",
    "QEMU runs as {user} on {host}, who may not pass through the folders of {path}.",
    "Let it: `chmod o+x` on each folder above.",
)
FOLDER_FULL = PreflightError.define(
    "disk-folder-full",
    "{path} on {host} has {free} bytes free, {percent} % of its file system.",
    "Free some space there.",
)
