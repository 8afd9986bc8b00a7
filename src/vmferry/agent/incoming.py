"""A move into this host, as far as vmferryd takes it: authorise, plan, grant, start the worker, pass words on."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from vmferry.agent.services import Launcher
from vmferry.config import Config
from vmferry.core import codes, domainxml, hostpolicy, jobkey
from vmferry.core.api import Outcome
from vmferry.core.errors import InternalError, PreflightError, UsageError, VmferryError
from vmferry.core.job import Role, State
from vmferry.core.offer import Address, Admission, Disk, DiskPlan, Grant, Offer
from vmferry.core.settings import listening, require_enabled, require_encryption
from vmferry.hypervisor.inventory import Inventory
from vmferry.identity import certificates
from vmferry.store.jobs import Jobs
from vmferry.store.peers import Peer
from vmferry.store.settings import Settings
from vmferry.transfer import control, interfaces, spec
from vmferry.transfer.spec import Spec

_JOB = re.compile(r"[0-9a-f]{12}")
_WORKER_LIMIT = 12.0  # less than the source's patience with this call


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Takes VMs in from paired hosts (agent/services.py: Incoming)."""

    config: Config
    jobs: Jobs
    settings: Settings
    inventory: Inventory
    launcher: Launcher
    fingerprint: str

    def offer(self, offer: Offer, peer: Peer) -> Grant:
        """Authorise an offer, or say why not; nothing is made yet but the job's record.

        Raises:
            VmferryError: why the VM cannot come here.
        """
        if offer.source != peer.name or not _JOB.fullmatch(offer.job) or self.jobs.find(offer.job):
            raise UsageError(codes.BAD_REQUEST, detail="the offer is not from the host that sends it, or not new")
        settings = self.settings.host()
        require_enabled(settings, self.config.name)
        require_encryption(settings, offer.options.encryption, self.config.name)
        places = listening(settings, interfaces.addresses(), offer.networks, self.config.address, self.config.name)
        self._check_host(offer)
        plans = self._plan(offer)
        paths = {plan.target: plan.path for plan in plans}
        mirrored = [plan.target for plan in plans if plan.copied_by == "mirror"]
        persistent_xml = domainxml.with_paths(offer.persistent_xml, paths)
        live_xml = domainxml.for_copy(domainxml.with_paths(offer.live_xml, paths), mirrored)
        self._check_policy(offer, plans, live_xml, persistent_xml)
        certificate, private_key = certificates.create(f"{self.config.name} job {offer.job}")
        grant = Grant(
            job_key=jobkey.new(),
            live_xml=live_xml,
            persistent_xml=persistent_xml,
            disks=plans,
            certificate=certificate,
            addresses=[local.address for local in places],
            socket_folder=str(self.config.run_folder / "jobs" / offer.job),
        )
        options = offer.options.model_dump(mode="json", exclude_defaults=True)
        with self.settings.held() as settings:  # whoever disables migration now sees the job, or the job sees it
            require_enabled(settings, self.config.name)
            self.jobs.create(offer.job, Role.DESTINATION, offer.vm, peer.name, offer.caller, options)
        spec.save(
            self.config.state_folder,
            Spec(
                role=Role.DESTINATION,
                offer=offer,
                grant=grant,
                private_key=private_key,
                peer=peer.name,
                source_fingerprint=peer.fingerprint,
                destination_fingerprint=self.fingerprint,
                requested_at=time.time(),
            ),
        )
        return grant

    def key(self, job: str) -> str:
        """Give the job's key, to check a proof with.

        Raises:
            AccessError: job-key-wrong; there is no such job, or it has ended.
        """
        return spec.key(self.config.state_folder, job)

    def admit(self, job: str) -> Admission:
        """Start the worker, which makes the disks and listens; returns where.

        Raises:
            VmferryError: what the worker could not do.
        """
        self.launcher.start(job)
        limit = time.monotonic() + _WORKER_LIMIT
        while True:
            try:
                answer = control.call(self.config.run_folder, job, "addresses", timeout=_WORKER_LIMIT)
            except OSError as error:
                row = self.jobs.get(job)
                if row.error is not None:
                    raise VmferryError.from_problem(row.error) from error
                if time.monotonic() > limit:
                    raise InternalError(codes.INTERNAL, why=f"the worker of job {job} did not start") from error
                time.sleep(0.01)  # until its socket is there
            else:
                return Admission(addresses=[Address(**address) for address in answer["addresses"]])

    def abort(self, job: str, reason: str) -> None:
        """Pass on that the source gave the move up."""
        row = self.jobs.get(job)
        if not row.state.ended and not self._tell(job, "abort", why=reason):
            error = VmferryError(
                codes.MOVE_FAILED, vm=row.vm, phase=row.phase.value, why=reason, host=row.peer, advice=""
            )
            if row.phase.value == "offered":  # never admitted: there is no worker, and nothing was made
                self.jobs.end(job, State.FAILED, error.problem(), None)
                spec.forget(self.config.state_folder, job, key=True)

    def go(self, job: str) -> Outcome:
        """Pass on that the VM is this host's; says whether it runs here and is defined, or why not."""
        row = self.jobs.get(job)
        if not row.state.ended:
            self._tell(job, "go")
            row = self.jobs.get(job)
        return Outcome(ended=row.state.ended, problem=row.error)

    # --- parts ------------------------------------------------------------------------------------------------

    def _tell(self, job: str, do: str, **fields: str) -> bool:
        try:
            control.call(self.config.run_folder, job, do, timeout=14.0, **fields)
        except OSError:
            if self.jobs.get(job).phase.value != "offered":
                self.launcher.start(job)  # it died; started again, it asks the source itself
            return False
        return True

    def _check_host(self, offer: Offer) -> None:
        host = self.config.name
        mine = self.inventory.host_uuid()
        if mine == offer.source_host_uuid:
            raise PreflightError(codes.SAME_HOST_UUID, source=offer.source, host=host, uuid=mine)
        taken = self.inventory.names()
        if offer.vm in taken.values():
            raise PreflightError(codes.NAME_TAKEN, host=host, vm=offer.vm)
        if offer.uuid in taken:
            raise PreflightError(codes.UUID_TAKEN, host=host, uuid=offer.uuid, vm=taken[offer.uuid])
        free = self.inventory.free_memory()
        if free < offer.memory:
            raise PreflightError(codes.MEMORY_SHORT, host=host, free=free, vm=offer.vm, needed=offer.memory)

    def _plan(self, offer: Offer) -> list[DiskPlan]:
        plans = [self._plan_disk(offer, disk) for disk in offer.disks]
        paths = [plan.path for plan in plans]
        needed: dict[int, int] = {}
        for disk, plan in zip(offer.disks, plans, strict=True):
            if plan.shared:
                continue
            folder = Path(plan.path).parent
            device = folder.stat().st_dev
            needed[device] = needed.get(device, 0) + disk.allocated
            free = shutil.disk_usage(folder).free
            if free < needed[device]:
                raise PreflightError(
                    codes.STORAGE_FULL,
                    path=str(folder),
                    host=self.config.name,
                    disk=disk.target,
                    free=free,
                    needed=needed[device],
                )
            if os.path.lexists(plan.path) or paths.count(plan.path) > 1:
                raise PreflightError(
                    codes.DISK_EXISTS, path=plan.path, host=self.config.name, disk=disk.target, vm=offer.vm
                )
        return plans

    def _plan_disk(self, offer: Offer, disk: Disk) -> DiskPlan:
        options = offer.options
        if not options.storage_path and disk.target not in options.disk_paths and self._seen_here(disk):
            return DiskPlan(target=disk.target, path=disk.path, shared=True, copied_by="none")
        if not options.include_storage:
            raise PreflightError(
                codes.DISK_NOT_SHARED, host=self.config.name, disk=disk.target, vm=offer.vm, path=disk.path
            )
        path = options.disk_paths.get(disk.target)
        if path is None:
            folder = options.storage_path or str(Path(disk.path).parent)
            path = f"{folder.rstrip('/')}/{Path(disk.path).name}"
        folder = str(Path(path).parent)
        if not path.startswith("/") or not Path(folder).is_dir():
            raise PreflightError(codes.STORAGE_PATH_MISSING, path=folder, disk=disk.target, host=self.config.name)
        self._check_folder(folder)
        copied_by = "file" if disk.readonly else "mirror"
        return DiskPlan(target=disk.target, path=path, shared=False, copied_by=copied_by)

    def _check_folder(self, folder: str) -> None:
        """Hold a folder to the host's policy by where it really is, links followed."""
        real = Path(folder).resolve()
        allowed = [Path(place).resolve() for place in self.config.disk_folders]
        if not any(real == place or place in real.parents for place in allowed):
            raise PreflightError(
                codes.STORAGE_PATH_FORBIDDEN,
                host=self.config.name,
                path=folder,
                allowed=", ".join(str(place) for place in self.config.disk_folders),
            )

    def _seen_here(self, disk: Disk) -> bool:
        """Tell whether this host sees the very disk: by the nonce that the source wrote beside it."""
        if not disk.nonce_file or not disk.nonce or Path(disk.nonce_file).parent != Path(disk.path).parent:
            return False
        if not Path(disk.nonce_file).name.startswith(".vmferry-"):
            return False
        try:
            seen = Path(disk.nonce_file).read_text()
        except (OSError, UnicodeDecodeError):
            return False
        if seen != disk.nonce or not Path(disk.path).exists():
            return False
        self._check_folder(str(Path(disk.path).parent))
        return True

    def _check_policy(self, offer: Offer, plans: list[DiskPlan], live_xml: str, persistent_xml: str) -> None:
        formats = {disk.target: disk.format for disk in offer.disks}
        planned = {plan.target: (plan.path, formats[plan.target]) for plan in plans}
        policy = hostpolicy.Policy(
            emulators=tuple(str(path) for path in self.config.emulators),
            disk_folders=tuple(str(path) for path in self.config.disk_folders),
            boot_folders=tuple(str(path) for path in self.config.boot_folders),
            log_folders=tuple(str(path) for path in self.config.log_folders),
        )
        for xml in (live_xml, persistent_xml):
            if domainxml.name(xml) != offer.vm or domainxml.uuid(xml) != offer.uuid:
                raise UsageError(codes.BAD_REQUEST, detail="the XML is of another VM than the offer names")
            reasons = hostpolicy.violations(xml, policy) + hostpolicy.strays(xml, planned)
            if reasons:
                raise PreflightError(codes.DEVICE_FORBIDDEN, host=self.config.name, vm=offer.vm, why="; ".join(reasons))
