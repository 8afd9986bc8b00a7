"""What is fixed when a program of vmferry starts: vmferry.toml, and its reference from the same fields."""

import grp
import json
import os
import pwd
import socket
import textwrap
import tomllib
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vmferry.core import codes
from vmferry.core.errors import UsageError
from vmferry.core.message import fault
from vmferry.core.messages.api import NAME

DEFAULT_PATH = Path("/etc/vmferry/vmferry.toml")
Port = Annotated[int, Field(ge=1, le=65535)]


def _qemu_user() -> str:
    for name in ("libvirt-qemu", "qemu"):  # Debian's and Red Hat's
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return "qemu"


def _launcher() -> Literal["systemd", "supervisor"]:
    return "systemd" if Path("/run/systemd/system").is_dir() else "supervisor"  # sd_booted(3)


def _memory_channels() -> int:
    # QEMU's migration thread spins while its channels are busy: with two processors, which also run the guest and
    # this worker, that costs more than the channels bring (docs/performance.md).
    return 2 if len(os.sched_getaffinity(0)) >= 4 else 0


class Config(BaseModel):
    """The settings of one host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        default_factory=socket.gethostname,
        pattern=NAME,
        description="What this host is called; paired hosts know it by this name. Default: its host name.",
    )
    state_folder: Path = Field(
        default=Path("/var/lib/vmferry"),
        description="The database, this host's certificate and key, the files of jobs.",
    )
    run_folder: Path = Field(default=Path("/run/vmferry"), description="Sockets; empty after a reboot.")
    audit_folder: Path = Field(
        default=Path("/var/log/vmferry"), description="The audit log: who changed what here, or tried to."
    )
    listen: list[str] = Field(
        default=["0.0.0.0", "::"],  # noqa: S104 (a service for other hosts)
        description="Addresses on which vmferryd serves its HTTPS API.",
    )
    port: Port = Field(default=6601, description="TCP port of the HTTPS API.")
    advertise: str | None = Field(
        default=None,
        description="Address or name at which paired hosts reach this one. Default: the first of `listen` "
        "that is not a wildcard, else the address of the default route.",
    )
    data_ports: tuple[Port, Port] = Field(
        default=(6610, 6659), description="First and last TCP port for the data of incoming migrations."
    )
    disk_folders: list[Path] = Field(
        default=[Path("/var/lib/libvirt/images")],
        description="Folders in which (and below which) an incoming VM may have its disks.",
    )
    boot_folders: list[Path] = Field(
        default=[
            Path("/var/lib/libvirt/boot"),
            Path("/usr/share/qemu"),
            Path("/usr/share/OVMF"),
            Path("/usr/share/ovmf"),
            Path("/usr/share/AAVMF"),
            Path("/usr/share/edk2"),
            Path("/usr/share/edk2-ovmf"),
            Path("/usr/share/seabios"),
            Path("/run/libvirt/nix-ovmf"),
        ],
        description="Folders from which an incoming VM may take its kernel, initramfs and firmware. "
        "Not one with an initramfs of this host: the VM could read what secrets are in it.",
    )
    emulators: list[Path] = Field(
        default=[
            Path("/usr/bin/qemu-system-x86_64"),
            Path("/usr/bin/qemu-system-i386"),
            Path("/usr/bin/qemu-system-aarch64"),
            Path("/usr/bin/kvm"),
            Path("/usr/bin/kvm-spice"),
            Path("/usr/bin/qemu-kvm"),
            Path("/usr/libexec/qemu-kvm"),
            Path("/run/libvirt/nix-emulators/qemu-system-x86_64"),
            Path("/run/libvirt/nix-emulators/qemu-kvm"),
        ],
        description="Programs that may run an incoming VM. One that names another, or one that is not here, is run by "
        "the one that libvirt here has for its architecture.",
    )
    log_folders: list[Path] = Field(
        default=[Path("/var/log/libvirt/qemu")],
        description="Folders in which an incoming VM's serial ports may be written to files; in /var/log/libvirt/qemu, "
        "only to files that are named after the VM and its port (web01-serial0.log). "
        "Not one that holds other programs' logs: the VM could overwrite them.",
    )
    nvram_folders: list[Path] = Field(
        default=[Path("/var/lib/libvirt/qemu/nvram")],
        description="Folders in which an incoming VM may have its UEFI variables, in a file that is named after the VM "
        "or its UUID (web01_VARS.fd).",
    )
    allowed_networks: list[str] = Field(
        default=["*"],
        description="libvirt networks and bridges of this host that an incoming VM may be on; * for any that is here. "
        "`user`, which * does not mean, allows interfaces of type user: they reach this host's own services.",
    )
    qemu_user: str = Field(
        default_factory=_qemu_user,
        description="The user that libvirt runs QEMU as. Default: libvirt-qemu or qemu, whichever exists.",
    )
    libvirt_uri: str = Field(default="qemu:///system", description="This host's libvirt, for clients.")
    libvirt_socket: Path = Field(
        default=Path("/run/libvirt/libvirt-sock"),
        description="This host's libvirt, for the calls of an incoming migration.",
    )
    keytab: Path = Field(
        default=Path("/etc/krb5.keytab"), description="This host's keys in its domain, for the authentication kerberos."
    )
    forbid_credssp: bool = Field(
        default=False, description="Whether no user's password may leave or reach this host for a sign-in (CredSSP)."
    )
    group: str = Field(
        default="vmferry", description="Members of this group may use vmferryd's unix socket, as root may."
    )
    launcher: Literal["systemd", "supervisor"] = Field(
        default_factory=_launcher,
        description="What starts transfer processes. Default: systemd where it runs, else supervisor.",
    )
    jobs_kept: int = Field(
        default=730, ge=31, le=36500, description="Days after which a move that has ended is forgotten."
    )
    connections: int = Field(
        default=2, ge=1, le=16, description="TCP connections that carry a migration's data forward."
    )
    memory_channels: int = Field(
        default_factory=_memory_channels,
        ge=0,
        le=16,
        description="Parallel memory streams of QEMU (multifd); 0: one plain stream. "
        "Default: 2, or 0 on a host with less than four processors.",
    )

    silence_limit: float = Field(
        default=600.0,
        ge=1.0,
        description="Seconds without a byte from its source after which an incoming migration is given up.",
    )

    @field_validator("data_ports")
    @classmethod
    def _in_order(cls, ports: tuple[int, int]) -> tuple[int, int]:
        if ports[0] > ports[1]:
            raise ValueError("the first port must not be above the last")
        return ports

    @property
    def set_address(self) -> str | None:
        """Where paired hosts reach this one, as far as it was set."""
        if self.advertise:
            return self.advertise
        return next((entry for entry in self.listen if not _wildcard(entry)), None)

    @property
    def address(self) -> str:
        """Where paired hosts reach this one, as well as it can be told."""
        return self.set_address or _default_route() or self.name

    @property
    def database(self) -> Path:
        """The SQLite file that vmferryd and the transfer processes share."""
        return self.state_folder / "vmferry.db"

    @property
    def audit_log(self) -> Path:
        """The audit log, one JSON object a line."""
        return self.audit_folder / "audit.log"

    @property
    def socket(self) -> Path:
        """Vmferryd's unix socket."""
        return self.run_folder / "api.sock"

    def group_id(self) -> int | None:
        """Return the number of `group`, or None where there is no such group."""
        try:
            return grp.getgrnam(self.group).gr_gid
        except KeyError:
            return None


def _wildcard(entry: str) -> bool:
    try:
        return ip_address(entry).is_unspecified
    except ValueError:  # a name
        return False


def _default_route() -> str | None:
    """Ask the kernel for its source address; connecting a datagram socket sends nothing."""
    for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return None


def load(path: Path | None = None) -> Config:
    """Read the configuration; a default path that does not exist means all defaults.

    Arguments:
        path: the file; None means $VMFERRY_CONFIG, else /etc/vmferry/vmferry.toml.

    Raises:
        UsageError: the file cannot be read, is not TOML, or holds what it may not.
    """
    named = path or (Path(os.environ["VMFERRY_CONFIG"]) if os.environ.get("VMFERRY_CONFIG") else None)
    file = named or DEFAULT_PATH
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        if named is not None:
            raise UsageError(codes.CONFIG_INVALID, path=str(file), why="the file does not exist") from error
        values = {}
    except OSError as error:
        raise UsageError(codes.CONFIG_INVALID, path=str(file), why=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(codes.CONFIG_INVALID, path=str(file), why=str(error)) from error
    try:
        return Config(**values)
    except ValidationError as error:
        raise UsageError(codes.CONFIG_INVALID, path=str(file), why=fault(error)) from error


def reference() -> str:
    """Return vmferry.toml with every field, its meaning and its default, all commented out."""
    parts = [f"# The configuration of vmferry ({DEFAULT_PATH}). What is commented out is the default.\n"]
    for name, field in Config.model_fields.items():
        make = field.default_factory
        default: object = field.default if make is None else _call(make)
        lines = textwrap.wrap(field.description or "", 108, initial_indent="# ", subsequent_indent="# ")
        shown = '""' if default is None else json.dumps(default, default=str)
        parts.append("\n".join([*lines, f"#{name} = {shown}"]) + "\n")
    return "\n".join(parts)


def _call(make: Callable[..., object]) -> object:
    return make()
