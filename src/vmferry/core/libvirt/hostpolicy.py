"""What a host allows in a VM from another host: its configuration could otherwise name any file and command.

libvirt runs as root and does what the XML says. So the XML is compared with a list of what is known to be harmless
(hostschema.py) and, here, with the paths and networks that this host's configuration allows. All else is a violation.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from xml.etree.ElementTree import Element

from vmferry.core.libvirt import hostschema
from vmferry.core.libvirt.domainxml import disks, parse_domain

# A hostile XML can have a million; nobody reads more than the first few.
_REASONS_MAX = 50


@dataclass(frozen=True, slots=True)
class Policy:
    """What this host allows.

    A folder includes all that is below it. Paths are text here; the caller follows links.

    Arguments:
        emulators: programs that may run a VM.
        disk_folders: where disks may be.
        boot_folders: where kernel, initramfs, firmware and the like may be.
        log_folders: where a serial console may be written to.
        nvram_folders: where UEFI variables may be, in a file named after the VM.
        networks: libvirt networks and bridges that a VM may use; `*` for any, and `user` for QEMU's own network,
            through
            which a guest reaches all that the host itself reaches, its loopback address too.
        ports: first and last of the TCP ports that the host keeps for itself.
    """

    emulators: tuple[str, ...]
    disk_folders: tuple[str, ...]
    boot_folders: tuple[str, ...]
    log_folders: tuple[str, ...] = ()
    nvram_folders: tuple[str, ...] = ("/var/lib/libvirt/qemu/nvram",)
    networks: tuple[str, ...] = ("*",)
    ports: tuple[tuple[int, int], ...] = ()


class Violation(str):
    """What is not allowed, as part of a sentence, and the setting that would allow it; empty if none would."""

    __slots__ = ("setting",)
    setting: str

    def __new__(cls, text: str, setting: str = "") -> "Violation":
        """Return a violation."""
        made = super().__new__(cls, text)
        made.setting = setting
        return made


def violations(xml: str, policy: Policy) -> list[Violation]:
    """Return what this host does not allow in a domain; none if all is well.

    Raises:
        UsageError: bad-request; the XML is not a domain (domainxml.parse).
    """
    domain = parse_domain(xml)
    found = _Judge(policy, domain.findtext("name") or "", domain.findtext("uuid") or "").judge(domain)
    reasons = (reason if isinstance(reason, Violation) else Violation(reason) for reason in found)
    return list(dict.fromkeys(islice(reasons, _REASONS_MAX)))


def strays(xml: str, granted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return which disks of a domain are not among those that are moved with it; none if all is well.

    A path in an allowed folder can still be another VM's disk, so each must be one of the plan.

    Arguments:
        granted: disk target -> path and format.

    Raises:
        UsageError: bad-request; the XML is not a domain (domainxml.parse).
    """
    found = []
    seen = set()
    for disk in disks(xml):
        if disk.target in seen:
            found.append(f"it has two disks {_shown(disk.target)}")
        seen.add(disk.target)
        if not disk.empty and granted.get(disk.target) != (disk.path, disk.format):
            what = ", ".join(_shown(word) for word in (disk.path or disk.volume or disk.kind, disk.format))
            found.append(f"its disk {_shown(disk.target)} ({what}) is not moved with it")
    return found[:_REASONS_MAX]


def inside(path: str, folders: tuple[str, ...]) -> bool:
    """Return whether a path is below a folder by its text alone: absolute, and without `.`, `..` or `//`."""
    if not path.startswith("/") or posixpath.normpath(path) != path or not path.isprintable():
        return False
    return any(path.startswith(posixpath.normpath(folder).rstrip("/") + "/") for folder in folders)


# --- values -------------------------------------------------------------------------------------------------

_PARTITION = re.compile(r"/machine(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")
_RANDOM = re.compile(r"/dev/u?random")
_TAP = re.compile(r"vnet[0-9]+")  # libvirt's own names, which it gives anew on each host
_TERMINAL = re.compile(r"/dev/pts/[0-9]+")
# What QEMU and libvirt keep for their own files (opt/ovmf/, opt/org.qemu/) is not there for users.
_FW_CFG = re.compile(r"opt/(?!ovmf/|org\.qemu/)[A-Za-z0-9][A-Za-z0-9._/-]{0,50}")
_VARIABLES = re.compile(r"([_.-](vars|nvram|efivars))?\.(fd|qcow2|raw|img|bin)", re.IGNORECASE)
# libvirt's own folder for QEMU's messages: NAME.log in it is another VM's.
_LOGS = "/var/log/libvirt/qemu"
_LOG = re.compile(r"[._-](serial|parallel|console|channel)[A-Za-z0-9._-]*")
_FIRST_PORT = 5900  # of VNC; below are other services

# Devices with a character device of the host behind them.
_PORTS = ("serial", "parallel", "console", "channel")

# Where libvirt takes one word of several, and not every one is harmless.
_WORDS: dict[str, frozenset[str]] = {
    "@type": frozenset({"kvm", "qemu"}),
    "os/type": frozenset({"hvm"}),
    "os/nvram@type": frozenset({"file"}),
    "os/smbios@mode": frozenset({"emulate", "sysinfo"}),  # host would tell the guest of this host's serial numbers
    "sysinfo@type": frozenset({"smbios", "fwcfg"}),
    # coredump-... would write the guest's memory to this host's disk, which nobody has booked.
    "on_crash": frozenset({"destroy", "restart", "preserve", "rename-restart"}),
    "memoryBacking/source@type": frozenset({"anonymous", "memfd", "file"}),
    **{
        # fifo and rr would take a processor from all else on this host.
        f"cputune/{who}sched@scheduler": frozenset({"batch", "idle"})
        for who in ("vcpu", "iothread", "emulator")
    },
    "seclabel@type": frozenset({"dynamic"}),
    "devices/disk@device": frozenset({"disk", "cdrom", "floppy"}),
    "devices/disk/driver@name": frozenset({"qemu"}),
    "devices/disk/driver@type": frozenset({"qcow2", "raw"}),
    "devices/interface@type": frozenset({"network", "bridge", "user", "ethernet"}),
    "devices/interface/driver@name": frozenset({"qemu", "vhost"}),
    "devices/channel@type": frozenset({"pty", "unix", "null", "spicevmc", "qemu-vdagent", "file"}),
    "devices/channel/source@mode": frozenset({"bind"}),
    "devices/redirdev@type": frozenset({"spicevmc"}),
    "devices/smartcard@mode": frozenset({"passthrough"}),
    "devices/smartcard@type": frozenset({"spicevmc"}),
    "devices/input@type": frozenset({"mouse", "tablet", "keyboard"}),
    "devices/graphics@type": frozenset({"vnc", "spice"}),
    "devices/graphics/listen@type": frozenset({"address", "network", "none", "socket"}),
    "devices/video/driver@name": frozenset({"qemu"}),
    "devices/audio@type": frozenset({"none", "spice"}),
    "devices/rng/backend@model": frozenset({"random", "builtin"}),
    "devices/tpm/backend@type": frozenset({"emulator"}),
    "devices/memory@model": frozenset({"dimm", "virtio-mem"}),
    "devices/crypto@type": frozenset({"qemu"}),
    "devices/crypto/backend@model": frozenset({"builtin"}),
}
for _port in _PORTS[:3]:
    _WORDS[f"devices/{_port}@type"] = frozenset({"pty", "null", "file"})

# Free text: the guest's own business, or only shown to people.
_FREE = frozenset(
    {"title", "description", "os/cmdline", "sysinfo/entry", "sysinfo/oemStrings/entry"}
    | {f"sysinfo/{table}/entry" for table in ("bios", "system", "baseBoard", "chassis")}
    | {f"devices/disk/{text}" for text in ("serial", "vendor", "product")}
    | {"devices/graphics@passwd", "features/hyperv/vendor_id@value"}
)


_JUDGED_WITH_DEVICE = frozenset(f"devices/{port}/source@path" for port in _PORTS)


_USER_NETWORK = "user"  # as allowed_networks has it
_SEVERAL = frozenset({"seclabel", "sysinfo"})


class _Judge:
    """Judge one domain."""

    def __init__(self, policy: Policy, name: str, uuid: str) -> None:
        self._policy = policy
        self._name = name
        self._uuid = uuid
        boot = self._in("boot_folders", policy.boot_folders)
        self._rules: dict[str, Callable[[str], str | None]] = {
            "resource/partition": _match(_PARTITION, "is not below /machine"),
            "clock@timezone": _match(_ZONE, "is not a time zone"),
            "os/loader": boot,
            "os/nvram": self._nvram,
            "os/nvram/source@file": self._nvram,
            "os/nvram@template": boot,
            "os/kernel": boot,
            "os/initrd": boot,
            "os/dtb": boot,
            "os/shim": boot,
            "os/acpi/table": boot,
            "devices/emulator": self._emulator,
            "devices/disk/source@file": self._in("disk_folders", policy.disk_folders),
            "devices/interface/rom@file": boot,
            "sysinfo/entry@name": _match(_FW_CFG, "is no name for an entry of fw_cfg (opt/...)"),
            "devices/interface/source@network": self._network,
            "devices/interface/source@bridge": self._network,
            "devices/graphics@port": self._port,
            "devices/graphics@tlsPort": self._port,
            "devices/graphics@websocket": self._port,
            "devices/rng/backend": _match(_RANDOM, "is not /dev/urandom or /dev/random"),
        }
        for port in _PORTS:
            self._rules[f"devices/{port}/log@file"] = self._log
            self._rules[f"devices/{port}@tty"] = _match(_TERMINAL, "is not a terminal that libvirt made")

    def judge(self, domain: Element) -> Iterator[str]:
        """Return the violations of a whole domain."""
        yield from self._walk(domain, "")
        for path in ("*", "devices/emulator"):
            count = Counter(element.tag for element in domain.findall(path))
            for tag, number in count.items():
                if number > 1 and tag not in _SEVERAL:  # of which libvirt would take one
                    yield f"it has {number} <{_shown(tag)}>"
        for loader in domain.findall("os/loader"):
            if loader.get("type", "rom") != "rom" and loader.get("readonly") != "yes":
                # QEMU would write into a file that this host's other VMs start from.
                yield "os/loader is flash that the VM can write to (readonly='yes' is missing)"
        for device in domain.findall("devices/*"):
            if device.tag == "disk":
                yield from _judge_disk(device)
            elif device.tag in _PORTS:
                yield from self._judge_port(device)
            elif device.tag == "interface":
                yield from self._judge_interface(device)

    def _walk(self, element: Element, path: str) -> Iterator[str]:
        known = hostschema.attributes(path)
        if known is None:
            yield f"<{_shown(path)}> is not allowed"
            return
        if path == "metadata":
            return  # kept by libvirt for other programs, never acted on
        for key, value in element.attrib.items():
            if key not in known and ("*" not in known or ":" in key or key == "xmlns"):
                yield f"<{_shown(path or 'domain')}> may not have the attribute {_shown(key)}"
            else:
                yield from self._value(f"{path}@{key}", value)
        text = element.text or ""
        yield from self._value(path, text if text.strip() and not len(element) else text.strip())
        for child in element:
            if (child.tail or "").strip():
                yield f"<{_shown(path or 'domain')}> may not have text between its elements"
            below = f"{path}/{child.tag}" if path else child.tag
            if ":" in child.tag or "/" in child.tag:
                yield f"<{_shown(below)}> is not allowed"
            else:
                yield from self._walk(child, below)

    def _value(self, position: str, value: str) -> Iterator[str]:
        words = _WORDS.get(position)
        rule = self._rules.get(position)
        if words is not None:
            if value not in words:
                yield f"{position} {_shown(value)} is not allowed, only {', '.join(sorted(words))}"
        elif rule is not None:
            reason = rule(value) if value or position.startswith("devices/disk/source") else None
            if reason:
                yield Violation(f"{position} {_shown(value)} {reason}", getattr(reason, "setting", ""))
        elif position not in _FREE and position not in _JUDGED_WITH_DEVICE and "/" in value:
            yield f"{position} {_shown(value)} is a path where none is expected"

    # --- rules for one value: a reason, or None -------------------------------------------------------------

    def _in(self, setting: str, folders: tuple[str, ...]) -> Callable[[str], str | None]:
        places = ", ".join(folders) or "none are set"

        def rule(value: str) -> str | None:
            return None if inside(value, folders) else Violation(f"is not in this host's {setting} ({places})", setting)

        return rule

    def _emulator(self, value: str) -> str | None:
        known = value in self._policy.emulators
        return None if known else Violation("is not one of this host's emulators", "emulators")

    def _nvram(self, value: str) -> str | None:
        folder = self._in("nvram_folders", self._policy.nvram_folders)(value)
        name = posixpath.basename(value)
        stems = [stem for stem in (self._name, self._uuid) if stem and name.startswith(stem)]
        if folder or any(_VARIABLES.fullmatch(name.removeprefix(stem)) for stem in stems):
            return folder
        return f"is not named after the VM ({self._name}_VARS.fd)"

    def _log(self, value: str) -> str | None:
        folder = self._in("log_folders", self._policy.log_folders)(value)
        if folder or posixpath.dirname(value) != _LOGS:
            return folder
        name = posixpath.basename(value)
        if name.startswith(self._name) and _LOG.fullmatch(name.removeprefix(self._name)):
            return None
        return f"is not named after the VM and its port ({self._name}-serial0.log)"

    def _network(self, value: str) -> str | None:
        allowed = self._policy.networks
        if "*" in allowed or value in allowed:
            return None
        return Violation(f"is not in this host's allowed_networks ({', '.join(allowed)})", "allowed_networks")

    def _port(self, value: str) -> str | None:
        if value in ("-1", "0"):
            return None
        if not value.isascii() or not value.isdecimal() or not _FIRST_PORT <= int(value[:8]) < 1 << 16:
            return f"is no port from {_FIRST_PORT} on"
        if any(first <= int(value) <= last for first, last in self._policy.ports):
            return "is a port of vmferry's on this host (data_ports, port)"
        return None

    # --- rules for one device -------------------------------------------------------------------------------

    def _judge_port(self, port: Element) -> Iterator[str]:
        kind = port.get("type", "pty")
        for source in port.findall("source"):
            path = source.get("path")
            if path is None:
                continue
            if kind == "file":
                reason = self._log(path)
                if reason:
                    text = f"the {port.tag}'s file {_shown(path)} {reason}"
                    yield Violation(text, getattr(reason, "setting", ""))
            elif kind != "pty" or not _TERMINAL.fullmatch(path):
                # libvirt leaves out the paths it chose itself; any other could be another VM's socket.
                yield f"the {port.tag}'s {kind} {_shown(path)} is not chosen by libvirt"

    def _judge_interface(self, interface: Element) -> Iterator[str]:
        """Require libvirt to create the device of an interface without a network: others could be another VM's."""
        for target in interface.findall("target"):
            if interface.get("type") == "ethernet" and not _TAP.fullmatch(target.get("dev", "")):
                yield f"an interface of type ethernet may not use the device {_shown(target.get('dev', ''))}"
        if interface.get("type") == "user" and _USER_NETWORK not in self._policy.networks:
            text = "an interface of type user reaches this host's own services, and allowed_networks has no `user`"
            yield Violation(text, "allowed_networks")


def _judge_disk(disk: Element) -> Iterator[str]:
    """Require a disk to be a file; an empty drive may be of another type, because it names nothing."""
    sources = disk.findall("source")
    if len(sources) > 1 or len(disk.findall("driver")) > 1:
        yield "a disk has more than one <source> or <driver>"
    for source in sources:
        if disk.get("type", "file") != "file":
            yield f"a disk of type {_shown(disk.get('type', ''))} is not allowed, only files"
        elif source.get("file") is None and disk.get("device") not in ("cdrom", "floppy"):
            yield "a disk names no file"


def _match(pattern: re.Pattern[str], reason: str) -> Callable[[str], str | None]:
    return lambda value: None if pattern.fullmatch(value) else reason


def _shown(text: str) -> str:
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= 120 else f"{shown[:100]}..."
