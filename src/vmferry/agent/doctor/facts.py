"""Looks at this host for `vmferry doctor`: everything that its checks judge is gathered here. Nothing is changed."""

import ctypes
import errno
import json
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from vmferry import safefiles
from vmferry.agent.doctor import hook
from vmferry.agent.moves.launcher import Launcher
from vmferry.config import Config
from vmferry.core.errors import UnreachableError
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.hypervisor.snapshot import Snapshots
from vmferry.hypervisor.storage import folders
from vmferry.identity import certificates
from vmferry.jobs import startlock
from vmferry.net import interfaces
from vmferry.preflight.doctor.health import CertificateHealth, Folder, GuardedFile, Health, NetworkLink
from vmferry.store.settings import Settings

LIMIT = 5.0  # seconds that a program may take to answer
_LISTEN = "0A"  # state of a socket in /proc/net/tcp
_UP = 0x1  # IFF_UP
_TIMEX = 208  # bytes of struct timex on 64-bit machines (adjtimex(2))
_TIME_ERROR = 5
_LINKS = Path("/sys/class/net")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Gathers how this host stands. Every method blocks."""

    config: Config
    settings: Settings
    snapshots: Snapshots
    launcher: Launcher

    def host(self) -> HostSnapshot:
        """Give what this host tells others of itself.

        Raises:
            UnreachableError: libvirt-unreachable.
        """
        return self.snapshots.source()

    def certificate(self) -> CertificateHealth:
        """Look at this host's own certificate and key, as they are on disk."""
        place, key = self.config.state_folder / "host.pem", self.config.state_folder / "host.key"
        found = paired(_text(place) or "", str(place))
        return CertificateHealth(found.path, found.begins, found.ends, certificates.trouble(place, key))

    def health(self) -> Health:
        """Give how this host stands."""
        config = self.config
        # What asks other programs goes on side by side.
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="look") as pool:
            libvirt = pool.submit(self._libvirt)
            workers, kept = pool.submit(self.launcher.trouble), pool.submit(self.launcher.neglect)
            firewall = pool.submit(_firewall)
            addresses = interfaces.addresses()
            host, at_risk, why = libvirt.result()
            rules, no_rules = firewall.result()
            synchronised = _synchronised()
            unchecked = [] if no_rules is None else [f"firewall: {no_rules}"]
            unchecked += ["clock: whether it follows a time server"] if synchronised is None else []
            return Health(
                name=config.name,
                settings=self.settings.host(),
                now=datetime.now(UTC),
                listen=config.listen,
                address=config.address,
                port=config.port,
                data_ports=config.data_ports,
                addresses=addresses,
                links={local.interface: _link(local.interface) for local in addresses},
                socket=_file(config.socket),
                state=[_file(config.state_folder), _file(config.state_folder / "host.key")],
                certificate=self.certificate(),
                folders=[_folder(folder, config.qemu_user) for folder in config.disk_folders],
                qemu_user=config.qemu_user,
                listeners=_listeners(),
                host=host,
                libvirt=why,
                at_risk=at_risk,
                workers=workers.result(),
                kept=kept.result(),
                unlocked=hook.trouble(config),
                hook=str(startlock.HOOK),
                synchronised=synchronised,
                firewall=rules,
                group_missing=None if config.group_id() is not None else config.group,
                unchecked=unchecked,
            )

    def _libvirt(self) -> tuple[HostSnapshot | None, Sequence[str], str]:
        try:
            return self.host(), self.snapshots.at_risk(), ""
        except UnreachableError as error:
            return None, (), str(error.fields.get("why", error.reason))


def paired(pem: str, path: str = "") -> CertificateHealth:
    """Look at the dates of a certificate."""
    try:
        return CertificateHealth(path, *certificates.validity(pem))
    except ValueError:
        return CertificateHealth(path)


def _file(path: Path) -> GuardedFile:
    try:
        status = path.stat()
    except OSError:
        return GuardedFile(str(path), None)
    return GuardedFile(str(path), stat.S_IMODE(status.st_mode), status.st_uid)


def _folder(path: Path, user: str) -> Folder:
    if not path.is_dir():
        return Folder(str(path), exists=False)
    usage = shutil.disk_usage(path)
    try:
        with safefiles.folder(str(path)) as inside:
            writable, _direct = folders.probe(inside)
    except OSError:  # reached over a link that a user can have made: no move makes a disk there
        writable = False
    return Folder(
        str(path),
        writable=writable,
        reachable=folders.passes(user, path.resolve()),
        free=usage.free,
        size=usage.total,
    )


def _link(name: str) -> NetworkLink:
    """Look at an interface; one that went away meanwhile is down."""
    place = _LINKS / name
    flags, carrier, mtu = (_text(place / file) for file in ("flags", "carrier", "mtu"))
    up = flags is not None and bool(int(flags, 16) & _UP) and carrier == "1"  # carrier cannot be read when it is off
    return NetworkLink(up=up, mtu=int(mtu or 0))


def _listeners() -> frozenset[tuple[str, int]]:
    """Give address and port of every TCP socket that listens in this network namespace (proc(5))."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in (_text(Path("/proc/net") / name) or "").splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTEN:
                address, port = words[1].split(":")
                found.add((_address(address), int(port, 16)))
    return frozenset(found)


def _address(text: str) -> str:
    """Read an address of /proc/net/tcp: words of 32 bits in the machine's order, which is little-endian here."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def _synchronised() -> bool | None:
    """Ask the kernel whether the clock is right; None: it does not tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = int(libc.adjtimex(ctypes.create_string_buffer(_TIMEX)))  # modes 0: nothing is set
    if state >= 0:
        return state != _TIME_ERROR
    if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        return None
    # The unit's ProtectClock= keeps vmferryd from the call, even to ask; systemd may ask for it.
    said = _output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said[0].strip())


def _firewall() -> tuple[Sequence[Mapping[str, Any]] | None, str | None]:
    """Give the rules of nftables, or why they are not known."""
    text, why = _output("nft", "--json", "list", "ruleset")
    if why is not None and "not permitted" in why:
        return (
            None,
            "vmferryd may not read its rules (its unit has no CAP_NET_ADMIN); root sees them: `nft list ruleset`",
        )
    if why is not None:
        return None, why
    try:
        return json.loads(text)["nftables"], None
    except (ValueError, KeyError):
        return None, "nft printed what cannot be read"


def _output(*command: str) -> tuple[str, str | None]:
    """Run a program; gives what it prints, and why it failed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except FileNotFoundError:
        return "", f"{command[0]} is not installed"
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"{command[0]}: {error}"
    if done.returncode:
        return "", f"{command[0]}: {(done.stderr.strip() or 'it failed').splitlines()[0]}"
    return done.stdout, None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
