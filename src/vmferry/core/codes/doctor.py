"""Codes of what `vmferry doctor` finds on one host and between two, and of the try of the way between them."""

from vmferry.core.errors import PreflightError

# --- between two hosts ----------------------------------------------------------------------------------------------
MTU_BLACK_HOLE = PreflightError.define(
    "mtu-black-hole",
    "Large packets from {sender} are lost between {source} and {address} of {host}, while small ones arrive.",
    "Set the same MTU on every interface, switch and tunnel between the two ({source} sends packets of {mtu} bytes: "
    "`ping -M do -s {size} {address}` shows whether they pass), or let ICMP `fragmentation needed` through.",
)
PROBE_UNTRIED = PreflightError.define(
    "data-port-untried",
    "Whether {host} can be reached on its data ports was not tested: {why}.",
    "Try again when its moves have ended, or install the same release of vmferry on both hosts.",
)
PROBE_BUSY = PreflightError.define(
    "probe-busy",
    "Too many hosts are testing at once whether the data ports of {host} can be reached.",
    "Try again in a few seconds.",
)
ENCRYPTION_UNEQUAL = PreflightError.define(
    "encryption-differs",
    "Encryption is {here} on {source} and {there} on {host}: a move without encryption is refused.",
    "Set the same on both hosts: `vmferry host set --encryption required` (or optional).",
)
VIEW_UNKNOWN = PreflightError.define(
    "view-unknown",
    "{source} could not be asked for its view of {host}: {why}.",
    "Fix what is reported between this host and {source}, or run `vmferry doctor {host}` on {source}.",
)

# --- vmferry on one host ----------------------------------------------------------------------------------------------
WORKERS_UNSTARTABLE = PreflightError.define(
    "transfer-not-startable",
    "{host} cannot start transfer processes: {why}.",
    "With systemd, install packaging/systemd/vmferry-transfer@.service and run `systemctl daemon-reload`. Without "
    "systemd, start `vmferry-supervisor`.",
)
DAEMON_NOT_KEPT = PreflightError.define(
    "daemon-not-kept",
    "Nothing starts vmferryd on {host} after a reboot or a failure: {why}.",
    "Run `systemctl enable --now vmferryd`. Without systemd, let the init system start `vmferry-supervisor`.",
)
START_HOOK_MISSING = PreflightError.define(
    "start-hook-missing",
    "libvirt on {host} could start a VM that was just handed over to another host: {why}.",
    "Install vmferry's hook on {host}: `vmferryd --print-hook | install -D -m 755 /dev/stdin {path}`. Then restart "
    "libvirt, so that it uses the hook: `systemctl restart libvirtd` (VMs keep running).",
)
SOCKET_CLOSED = PreflightError.define(
    "api-socket-closed",
    "Users other than root cannot reach {path} on {host} (mode {mode}).",
    "Restart vmferryd, which creates it again: `systemctl restart vmferryd`. The user and group of the caller decide "
    "what they may do, not this mode.",
)
GROUP_MISSING = PreflightError.define(
    "group-missing",
    "{host} has no group {group}, so only root and the users named in the settings may use vmferry.",
    "Create it (`groupadd --system {group}`), or name another with `group` in vmferry.toml; then run `systemctl "
    "restart vmferryd`.",
)
STATE_OPEN = PreflightError.define(
    "state-folder-open",
    "{path} on {host} holds keys, and users other than root can read it (mode {mode}).",
    "Run `chown root: {path} && chmod {wanted} {path}`.",
)
LISTENER_MISSING = PreflightError.define(
    "api-not-listening",
    "vmferryd on {host} does not listen at {address} port {port}, as vmferry.toml says it should: {why}.",
    "Give {host} that address, or correct `listen` in vmferry.toml; then run `systemctl restart vmferryd`.",
)
FIREWALL_DROPS = PreflightError.define(
    "firewall-drops",
    "The firewall of {host} drops connections to {address} on TCP {ports}.",
    "Open TCP 6601 and the data ports (6610-6659) for the paired hosts. `nft list ruleset` shows the rule.",
)

# --- certificates -----------------------------------------------------------------------------------------------------
CERTIFICATE_EXPIRED = PreflightError.define(
    "certificate-expired",
    "The certificate of {host} expired on {date}.",
    "Remove host.pem and host.key from {host}'s state folder, restart vmferryd there, and pair the host again.",
)
CERTIFICATE_EXPIRES = PreflightError.define(
    "certificate-expires",
    "The certificate of {host} expires on {date}, in {days} days.",
    "Before then, remove host.pem and host.key from {host}'s state folder, restart vmferryd there, and pair the host "
    "again.",
)
CERTIFICATE_EARLY = PreflightError.define(
    "certificate-not-yet-valid",
    "The certificate of {host} is not valid before {date}.",
    "Set the clock of the host that reports this. If that clock is right, give {host} another certificate.",
)
CERTIFICATE_UNUSABLE = PreflightError.define(
    "certificate-unusable",
    "The certificate of {host} and its key cannot be used: {why}.",
    "Restore {path} and the key beside it, or remove both, restart vmferryd, and pair {host} again.",
)

# --- the host ---------------------------------------------------------------------------------------------------------
LIBVIRT_OLD = PreflightError.define(
    "libvirt-too-old",
    "{host} has libvirt {version}; vmferry needs {wanted} or newer.",
    "Update libvirt on {host}.",
)
QEMU_OLD = PreflightError.define(
    "qemu-too-old",
    "{host} has QEMU {version}; vmferry needs {wanted} or newer.",
    "Update QEMU on {host}, then shut its VMs down and start them again.",
)
CLOCK_FREE = PreflightError.define(
    "clock-unsynchronised",
    "The clock of {host} is not synchronised with a time server.",
    "Start chrony, ntpd or systemd-timesyncd there (`timedatectl set-ntp true`).",
)
NETWORK_EMPTY = PreflightError.define(
    "network-without-address",
    "{host} has no address inside its migration network {subnet}.",
    "Give an interface of {host} an address in it, or remove it from the list: `vmferry network remove {subnet}`.",
)
LINK_DOWN = PreflightError.define(
    "interface-down",
    "{interface} of {host} is down; it has the address {address} for migrations.",
    "Run `ip link set {interface} up`. If the interface is up, check its cable or the switch port.",
)
MTU_SMALL = PreflightError.define(
    "mtu-small",
    "{interface} of {host} has an MTU of only {mtu} bytes; it has the address {address} for migrations.",
    "Run `ip link set {interface} mtu 1500`, or set a higher value if the whole network supports it.",
)
FOLDER_MISSING = PreflightError.define(
    "disk-folder-missing",
    "The folder {path} in `disk_folders` does not exist on {host}.",
    "Create or mount it, or remove it from `disk_folders` in vmferry.toml.",
)
FOLDER_READ_ONLY = PreflightError.define(
    "disk-folder-unwritable",
    "No file can be created in the folder {path} in `disk_folders` of {host}.",
    "Mount it read-write, or remove it from `disk_folders` in vmferry.toml.",
)
FOLDER_CLOSED = PreflightError.define(
    "disk-folder-unreachable",
    "QEMU runs as {user} on {host}, and this user cannot enter the folders of {path}.",
    "Allow it with `chmod o+x` on each folder of the path.",
)
FOLDER_FULL = PreflightError.define(
    "disk-folder-full",
    "{path} on {host} has {free} bytes free, {percent} % of its file system.",
    "Free space there.",
)
