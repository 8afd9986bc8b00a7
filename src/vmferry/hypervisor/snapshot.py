"""Collects the state of this host for the checks before a move (preflight/); it changes nothing."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

import vmferry
from vmferry import safefiles
from vmferry.config import Config
from vmferry.core.libvirt import capabilities, domainxml, firmware, hostpolicy
from vmferry.core.messages.offer import Artifact, Proposal
from vmferry.core.messages.snapshot import DestinationSnapshot, DiskTarget, HostSnapshot
from vmferry.hypervisor import displays, resources
from vmferry.hypervisor.connection import connected, is_gone, sentence, translating
from vmferry.hypervisor.storage import folders, media, proofs, shared
from vmferry.hypervisor.storage.chains import Identity

_APPARMOR_RULES = Path("/etc/apparmor.d/local/abstractions/libvirt-qemu")
_PID_FILES = Path("/run/libvirt/qemu")
_HUGE_PAGES = Path("/sys/kernel/mm/hugepages")


class Snapshots:
    """Inspects this host. Every method raises UnreachableError (libvirt-unreachable) while libvirtd is away."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def source(self) -> HostSnapshot:
        """Return what an offer tells about this host."""
        with self._libvirt() as connection:
            return HostSnapshot(**self._common(connection, connection.getCapabilities()))

    def destination(
        self,
        vm: Proposal,
        paths: Mapping[str, str],
        nonce: str | None = None,
        made: Mapping[Identity, str] | None = None,
    ) -> DestinationSnapshot:
        """Return how this host stands for one VM.

        Arguments:
            paths: where each disk would be copied to, target -> path; those that may not be shared are not looked
                for at their own.
            nonce: that was drawn here for the source to write beside the disks; None: it has asked for none.
            made: files that other moves have made here: identity -> whose.
        """
        came = time.time()  # as near as can be to when the source read its own clock
        # Each asks libvirt or the file system on its own; what is slow (CPU, capabilities) goes on beside the rest.
        with (
            self._libvirt() as connection,
            ThreadPoolExecutor(max_workers=4, thread_name_prefix="snapshot") as pool,
        ):
            found = pool.submit(connection.getCapabilities)
            cpu = pool.submit(self._cpu, connection, vm, found)
            networks = pool.submit(_networks, connection)
            tpm = pool.submit(self._tpm, connection, vm, found)
            places = pool.submit(self._places, connection, vm, paths, nonce, made or {})
            return DestinationSnapshot(
                **self._common(connection, found.result()) | {"clock": came},
                name=self._config.name,
                qemu_user=self._config.qemu_user,
                names={domain.UUIDString(): domain.name() for domain in connection.listAllDomains()},
                networks=networks.result(),
                bridges=sorted(place.parent.name for place in Path("/sys/class/net").glob("*/bridge")),
                machines=capabilities.machines(
                    found.result(), domainxml.architecture(vm.live_xml), domainxml.kind(vm.live_xml)
                ),
                emulators=self._emulators(),
                emulator=capabilities.emulator(
                    found.result(), domainxml.architecture(vm.live_xml), domainxml.kind(vm.live_xml)
                ),
                cpu_refusal=cpu.result()[0],
                cpu_same=cpu.result()[1],
                tpm=tpm.result(),
                missing_files=self._missing(vm.live_xml, vm.persistent_xml),
                memory=_memory(),
                huge_pages=_huge_pages(),
                places=places.result(),
                variables=self._variables(vm.live_xml),
                displays=displays.obstacles(vm.live_xml, _running(connection)),
                resources=resources.find(connection, vm.live_xml, vm.uuid),
                policy=policy(self._config),
            )

    def at_risk(self) -> list[str]:
        """Return the names of running VMs that can lose memory writes while they move (domainxml.loses_writes)."""
        with self._libvirt() as connection:
            qemu = connection.getVersion()
            running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            return [domain.name() for domain in running if _loses_writes(domain, qemu)]

    def resident(self, vm: str) -> int:
        """Return the bytes of memory that a VM's QEMU has taken so far; 0 when it is not there (yet).

        libvirt would tell as well (virDomainMemoryStats), but only when the move that brings the VM is over.
        """
        try:
            pid = int((_PID_FILES / f"{vm}.pid").read_text())
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGESIZE")

    def refusal(self, *xmls: str) -> str | None:
        """Return why this host's libvirt refuses a VM; None if it accepts it. Nothing is defined or started.

        libvirt builds QEMU's command line, which includes all checks before a start: elements, devices that this QEMU
        has,
        machine type. It does not check whether files and networks exist.
        """
        with self._libvirt() as connection:
            for xml in xmls:
                try:
                    connection.domainXMLToNative("qemu-argv", xml, 0)
                except libvirt.libvirtError as error:
                    if is_gone(error, connection):
                        raise
                    return sentence(error)
        return None

    # --- parts ------------------------------------------------------------------------------------------------

    @contextmanager
    def _libvirt(self) -> Iterator[Any]:
        host = self._config.name
        with connected(self._config.libvirt_uri, host) as connection, translating(connection, host):
            yield connection

    def _common(self, connection: Any, said: str) -> dict[str, Any]:
        confinement = capabilities.confinement(said)
        return {
            "uuid": capabilities.host_uuid(said),
            "hostname": socket.gethostname(),
            "vmferry": vmferry.__version__,
            "libvirt": connection.getLibVersion(),
            "qemu": connection.getVersion(),
            "clock": time.time(),
            "cpu": capabilities.cpu(said),
            "confinement": confinement,
            "confinement_rules": "apparmor" not in confinement or self._has_rules(),
        }

    def _cpu(self, connection: Any, vm: Proposal, said: "Future[str]") -> tuple[str | None, bool | None]:
        """Return libvirt's refusal of the VM's CPU, and whether the source's CPU is identical to this host's."""
        mode, xml = domainxml.cpu(vm.live_xml)
        compared = _compare(connection, vm.host.cpu)
        same = None if compared is None else compared == libvirt.VIR_CPU_COMPARE_IDENTICAL
        if mode == "custom":
            here = self._run_here(vm.live_xml, said)
            return _refused(connection, here, xml) if here is not None else None, same
        if mode and domainxml.kind(vm.live_xml) == "kvm" and compared == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
            return f"it is {mode}, and the CPU here lacks features of the source's", same
        return None, same

    def _tpm(self, connection: Any, vm: Proposal, said: "Future[str]") -> bool:
        asked = any(domainxml.has(xml, "devices/tpm") for xml in (vm.live_xml, vm.persistent_xml))
        here = self._run_here(vm.live_xml, said) if asked else None
        if here is None:
            return True  # nobody asked, or the VM cannot come anyway
        try:
            told = connection.getDomainCapabilities(
                domainxml.emulator(here) or None,
                domainxml.architecture(here),
                domainxml.machine(here) or None,
                domainxml.kind(here),
            )
        except libvirt.libvirtError:
            return True  # it cannot run the VM at all, and other checks say why
        return capabilities.tpm(told)

    def _emulators(self) -> list[str]:
        """Return the emulators that this host allows and has."""
        return [str(path) for path in self._config.emulators if path.exists()]

    def _run_here(self, xml: str, said: "Future[str]") -> str | None:
        """Return a domain with the program that would run it here; None: none would.

        libvirt would run whatever file is named to it.

        Arguments:
            said: this host's capabilities.
        """
        named, listed = domainxml.emulator(xml), self._emulators()
        if named in ("", *listed):
            return xml
        own = capabilities.emulator(said.result(), domainxml.architecture(xml), domainxml.kind(xml))
        taken = capabilities.chosen(named, listed, own)
        return domainxml.with_emulator(xml, taken) if taken in listed else None

    def _has_rules(self) -> bool:
        try:
            return f"{self._config.run_folder}/jobs" in _APPARMOR_RULES.read_text()
        except OSError:
            return False

    def _missing(self, *xmls: str) -> list[str]:
        """Return missing boot files, in the folders for them only: another host must not learn what else is here."""
        folders = tuple(str(folder) for folder in self._config.boot_folders)
        paths = dict.fromkeys(path for xml in xmls for path in firmware.boot_files(xml))
        return [path for path in paths if hostpolicy.inside(path, folders) and not Path(path).exists()]

    def _variables(self, xml: str) -> DiskTarget | None:
        """Inspect the path for the VM's UEFI variables, in the folders for them only."""
        flash = firmware.variables(xml)
        allowed = self._config.nvram_folders
        if flash is None or not hostpolicy.inside(flash.path, tuple(str(folder) for folder in allowed)):
            return None
        place = DiskTarget(target=firmware.VARIABLES, path=flash.path)
        try:
            folder, name = safefiles.split(flash.path)
            with safefiles.folder(folder) as inside:
                if not folders.inside(inside, allowed):
                    return place.model_copy(update={"allowed": False})
                writable, _direct = folders.probe(inside)
                return place.model_copy(update={"taken": safefiles.exists(inside, name), "writable": writable})
        except OSError as error:
            wrong = "allowed" if error.errno == errno.ELOOP else "folder_exists"
            return place.model_copy(update={wrong: False})

    def _places(
        self,
        connection: Any,
        vm: Proposal,
        paths: Mapping[str, str],
        nonce: str | None,
        made: Mapping[Identity, str],
    ) -> list[DiskTarget]:
        places = [self._place(disk, paths[disk.target], vm, nonce) for disk in vm.disks]
        used = shared.used(connection, places, vm.live_xml, vm.uuid, made)
        return [place.model_copy(update={"used": used.get(place.target, "")}) for place in places]

    def _place(self, disk: Artifact, path: str, vm: Proposal, nonce: str | None = None) -> DiskTarget:
        seen = self._shared(disk, vm, nonce)
        path = disk.path if seen else path
        try:
            folder, name = safefiles.split(path)
            with safefiles.folder(folder) as inside:
                return self._look(disk, path, inside, name, seen=seen)
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link that may lead anywhere
                return DiskTarget(target=disk.target, path=path, allowed=False)
            return DiskTarget(target=disk.target, path=path, folder_exists=False)

    def _look(self, disk: Artifact, path: str, inside: int, name: str, *, seen: bool) -> DiskTarget:
        if not folders.inside(inside, self._config.disk_folders):  # of other folders nobody is told more
            return DiskTarget(target=disk.target, path=path, shared=seen, allowed=False)
        writable, direct = folders.probe(inside)
        taken = safefiles.exists(inside, name)
        differs = self._differs(disk, path) if taken and disk.readonly and not seen else None
        return DiskTarget(
            target=disk.target,
            path=path,
            shared=seen,
            taken=taken,
            present=differs == "",
            differs=differs or "",
            device=os.fstat(inside).st_dev,
            free=shutil.disk_usage(f"/proc/self/fd/{inside}").free,
            writable=writable,
            reachable=folders.passes(self._config.qemu_user, Path(safefiles.real(inside))),
            direct=direct,
        )

    def _differs(self, disk: Artifact, path: str) -> str:
        """Return why a file here is not the VM's read-only one, as far as it can be told without reading it."""
        if disk.size is None:
            return "the source does not tell its size"
        return media.trouble(path, disk.size, folders.uid(self._config.qemu_user)) or ""

    def _shared(self, disk: Artifact, vm: Proposal, nonce: str | None) -> bool:
        """Return whether this host sees the same disk: the source wrote a nonce of this host beside it."""
        asked = vm.options.storage_path or disk.target in vm.options.disk_paths
        return not asked and nonce is not None and disk.nonce == nonce and proofs.shows(disk, nonce)


def policy(config: Config) -> hostpolicy.Policy:
    """Return what this host allows incoming VMs to have."""
    return hostpolicy.Policy(
        emulators=tuple(str(path) for path in config.emulators),
        disk_folders=tuple(str(path) for path in config.disk_folders),
        boot_folders=tuple(str(path) for path in config.boot_folders),
        log_folders=tuple(str(path) for path in config.log_folders),
        nvram_folders=tuple(str(path) for path in config.nvram_folders),
        networks=tuple(config.allowed_networks),
        ports=(config.data_ports, (config.port, config.port)),
    )


def _running(connection: Any) -> Iterator[tuple[str, str]]:
    """Yield name and XML of each VM that runs here."""
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            yield domain.name(), domain.XMLDesc()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                raise  # else it is gone meanwhile


def _loses_writes(domain: Any, qemu: int) -> bool:
    try:
        return domainxml.loses_writes(domain.XMLDesc(), qemu)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False  # it is gone meanwhile
        raise


def _refused(connection: Any, xml: str, cpu: str) -> str | None:
    """Let libvirt compare a guest's CPU with what its emulator offers on this host."""
    try:
        connection.compareHypervisorCPU(
            domainxml.emulator(xml) or None,
            domainxml.architecture(xml),
            domainxml.machine(xml),
            domainxml.kind(xml),
            cpu,
            libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
        )
    except libvirt.libvirtError as error:
        # Not every architecture and machine can be compared: libvirt then judges when the VM comes.
        return sentence(error) if error.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE else None
    return None


def _compare(connection: Any, cpu: str) -> int | None:
    if not cpu:
        return None
    try:
        return int(connection.compareCPU(cpu, 0))
    except libvirt.libvirtError:
        return None  # not an XML that this libvirt understands


def _networks(connection: Any) -> dict[str, bool]:
    try:
        return {network.name(): bool(network.isActive()) for network in connection.listAllNetworks()}
    except libvirt.libvirtError:
        return {}  # a libvirt without its network part has none, and is otherwise well


def _memory() -> int:
    """Return the memory that a new VM could have, in bytes: free, or used only by caches."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux has had MemAvailable since 3.14 (proc(5))")


def _huge_pages() -> dict[int, int]:
    found = {}
    for place in _HUGE_PAGES.glob("hugepages-*kB"):
        size = int(place.name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        found[size] = int((place / "free_hugepages").read_text()) * size
    return found
