"""A daemon that is not there, behind the client's own interface."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from vmferry.client import Client, Event
from vmferry.core import codes
from vmferry.core.auditlog.chain import Break, LogFault, LogHead, Verification
from vmferry.core.auditlog.record import AuditRecord
from vmferry.core.errors import AccessError, UsageError, VmferryError
from vmferry.core.job import Phase, Progress, Role, State, Summary
from vmferry.core.messages.api import (
    ApiToken,
    Host,
    Invitation,
    Job,
    JobLog,
    LocalAddress,
    MigrationNetwork,
    NewToken,
    PairedHost,
    PairTest,
    PhaseEvent,
    Problem,
    SettingsAnswer,
    TokenRequest,
)
from vmferry.core.messages.diagnosis import HostReport, Matrix, PairReport
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Artifact, Caller, MoveOptions, Report
from vmferry.core.messages.siteapi import Authority, CertificateRequest, HostCertificate, TrustAnswer, TrustRequest
from vmferry.core.messages.vm import VmDetail, VmSummary
from vmferry.core.policy.networks import Network
from vmferry.core.policy.settings import HostSettings
from vmferry.core.prediction import Prediction

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
JOB = Job(
    id="7f3a9c",
    role=Role.SOURCE,
    vm="web01",
    source="kvm1",
    destination="kvm2",
    caller=Caller(name="ann", host="kvm1", method="unix"),
    options=MoveOptions(include_storage=True),
    state=State.RUNNING,
    phase=Phase.OFFERED,
    reason=None,
    error=None,
    summary=None,
    progress=None,
    created_at=WHEN,
    updated_at=WHEN,
    ended_at=None,
)
SUMMARY = Summary(
    total_time=12.34,
    downtime=0.247,
    wire_bytes=3 << 30,
    memory_bytes=1 << 30,
    disk_bytes=2 << 30,
    connections=["10.77.1.1 -> 10.77.1.2:6610 (TLS)", "10.77.1.2 -> 10.77.1.1:6611 (TLS)"],
)
DONE = JOB.model_copy(update={"state": State.DONE, "phase": Phase.SETTLING, "summary": SUMMARY, "ended_at": WHEN})
RECORD = AuditRecord(
    at=WHEN,
    host="kvm1",
    action="offer_vm",
    request="POST /api/v1/peer/offers",
    caller="kvm2",
    method="certificate",
    on_behalf_of="ann",
    address="10.77.0.2",
    job="7f3a9c",
    about={"vm": "web01", "source": "kvm2"},
    result="name-taken",
    status=409,
)
CHAIN = Verification(
    records=812,
    unchained=0,
    first=101,
    since=WHEN,
    until=WHEN,
    head=LogHead(number=912, digest="ab" * 32),
    broken=None,
)
BROKEN = Break(kind=LogFault.CHANGED, file="audit.log.2.gz", line=17, number=117)
TOKEN = ApiToken(
    id="1f3a9c2e",
    name="ci",
    role="operator",
    state="valid",
    created_at=WHEN,
    created_by="root",
    expires_at=WHEN,
    revoked_at=None,
    revoked_by=None,
)


def failed(error: VmferryError, state: State = State.FAILED) -> Job:
    """Return a job that this error has ended."""
    problem = Problem.model_validate(error.problem())
    return JOB.model_copy(
        update={
            "state": state,
            "phase": Phase.COPYING,
            "error": problem,
            "reason": error.reason,
            "ended_at": WHEN,
        }
    )


def _many(count: int) -> list[Job]:
    """Add jobs for tables on a terminal."""
    progress = copying(42, 3.0)
    rows = [
        {"id": f"{number:x}e3b7a9c4f2d", "phase": Phase.COPYING_FILES, "progress": progress} for number in range(count)
    ]
    return [JOB.model_copy(update=row) for row in rows]


def copying(percent: float, elapsed: float) -> Progress:
    """Return progress of a copy of 3 GiB."""
    done = round((3 << 30) * percent / 100)
    return Progress(
        phase=Phase.COPYING,
        percent=percent,
        disk_total=2 << 30,
        disk_done=done * 2 // 3,
        memory_total=1 << 30,
        memory_done=done // 3,
        remaining=(3 << 30) - done,
        rate=300 << 20,
        dirty_rate=12 << 20,
        elapsed=elapsed,
        estimated=10.0,
    )


def well(name: str) -> HostReport:
    """Return the report of a host where nothing is wrong."""
    known = {"vmferry": "0.1.0", "libvirt": "9.0.0", "qemu": "7.2.22"}
    return HostReport(name=name, **known, migration=True, findings=[], untold=[])


class FakeClient(Client):
    """Answers from memory, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.chain = CHAIN
        self.trouble: list[VmferryError] = []  # raised by the next calls that change something
        self.story: list[Event | type[BaseException]] = [
            PhaseEvent(seq=1, at=WHEN, phase=Phase.CONNECTING),
            PhaseEvent(seq=2, at=WHEN, phase=Phase.COPYING),
            copying(50, 5.0),
            PhaseEvent(seq=3, at=WHEN, phase=Phase.COMMITTING),
            DONE,
        ]
        self.known = [JOB, *_many(int(os.environ.get("VMFERRY_TEST_JOBS", "1")) - 1)]
        self.now = HostSettings(migration=True, networks=[Network(subnet="10.20.0.0/24", priority=10)])
        self.after: HostSettings | None = None  # what a change makes of it
        self.notes: list[str] = []
        self.going: list[str] = []
        self.findings: list[Finding] = []
        self.reports = {name: well(name) for name in ("kvm1", "kvm2")}
        self.pairs: list[PairReport] = []
        self.away: VmferryError | None = None
        self.wrong: Problem | None = None
        self.trusting = True
        self.prediction: Prediction | None = None
        self.password: str | None = None
        self.peers = [
            PairedHost(
                name="kvm2",
                address="10.77.0.2",
                port=6601,
                fingerprint="ab" * 32,
                callers=["*"],
                paired_at=WHEN,
                paired_by="root",
            )
        ]

    def close(self) -> None:
        self.calls.append(("close",))

    def host(self) -> Host:
        return Host(
            name="kvm1",
            version="0.1.0",
            fingerprint="cd" * 32,
            address="10.77.0.1",
            port=6601,
            encryption="required",
            authentication="certificate",
            performance=["tcp"],
            settings=self.now,
            disk_folders=["/var/lib/libvirt/images", "/srv"],
        )

    def settings(self) -> HostSettings:
        return self.now

    def networks(self) -> list[MigrationNetwork]:
        return [MigrationNetwork(**one.model_dump(), addresses=["10.20.0.1"]) for one in self.now.networks]

    def _changed(self, method: str, path: str, body: BaseModel | None = None) -> SettingsAnswer:
        self._change(method, path, body and body.model_dump(exclude_none=True))
        return SettingsAnswer(
            settings=self.after or self.now, changed=not self.notes, notes=self.notes, jobs=self.going
        )

    def addresses(self) -> list[LocalAddress]:
        return [LocalAddress(address="10.20.0.1", subnet="10.20.0.0/24", interface="eth1")]

    def try_host(self, name: str) -> PairTest:
        self._change("try_host", name)
        return PairTest(host=name, ok=self.wrong is None, version="0.1.0", there=None, back=self.wrong)

    def hosts(self) -> list[PairedHost]:
        return self.peers

    def examine(self) -> HostReport:
        self._answer_or_not()
        return self.reports["kvm1"]

    def diagnose(self, hosts: Sequence[str] = ()) -> Matrix:
        self._change("diagnose", hosts)
        self._answer_or_not()
        return Matrix(hosts=[self.reports[name] for name in ("kvm1", *hosts)], pairs=self.pairs)

    def _answer_or_not(self) -> None:
        if self.away is not None:
            raise self.away

    def invite(self, callers: Sequence[str] = ("*",)) -> Invitation:
        self._change("invite", *callers)
        return Invitation(token=os.environ.get("VMFERRY_TEST_SECRET", "VMF1-secret"), expires_at=WHEN)

    def pair(self, token: str, address: str | None = None, callers: Sequence[str] = ("*",)) -> PairedHost:
        self._change("pair", token, address, *callers)
        return self.peers[0]

    def unpair(self, name: str, *, force: bool = False) -> None:
        self._change("unpair", name, *(["force"] if force else []))

    def vms(self) -> list[VmSummary]:
        return [
            VmSummary(
                name="web01",
                uuid="u-1",
                state="running",
                memory=1 << 30,
                vcpus=2,
                autostart=True,
                persistent=True,
            ),
            VmSummary(
                name="db[1]",
                uuid="u-2",
                state="shut off",
                memory=1 << 31,
                vcpus=4,
                autostart=False,
                persistent=True,
            ),
        ]

    def vm(self, name: str) -> VmDetail:
        if name != "web01":
            raise UsageError(codes.VM_UNKNOWN, vm=name, host="kvm1")
        disk = Artifact(
            target="vda",
            path="/srv/web01.qcow2",
            format="qcow2",
            virtual_size=2 << 30,
            allocated=500 << 20,
            mode=0o600,
            owner="libvirt-qemu",
            group="kvm",
        )
        return VmDetail(
            **self.vms()[0].model_dump(),
            disks=[disk],
            machine="pc-q35-7.2",
            emulator="/usr/bin/qemu-system-x86_64",
            networks=["default"],
        )

    def check(
        self,
        vm: str,
        destination: str,
        options: MoveOptions | None = None,
        *,
        predict: bool = False,
        password: str | None = None,
    ) -> Report:
        self._want(password)
        self._change("check", vm, destination, options, *(["predict"] if predict else []))
        return Report(
            vm=vm,
            source="kvm1",
            destination=destination,
            findings=self.findings,
            disks=[],
            addresses=["10.20.0.2"],
            prediction=self.prediction if predict else None,
            live_xml="<domain type='kvm'/>",
            persistent_xml="<domain/>",
        )

    def _want(self, password: str | None) -> None:
        """Have hosts use CredSSP, where a test says so."""
        if self.password is None:
            return
        if password is None:
            raise AccessError(codes.PASSWORD_NEEDED, user="ann@LAB.TEST", host="kvm2")
        if password != self.password:
            raise AccessError(codes.PASSWORD_WRONG, user="ann@LAB.TEST")

    def move(
        self,
        vm: str,
        destination: str,
        options: MoveOptions | None = None,
        *,
        wait: bool = True,
        password: str | None = None,
    ) -> Job:
        self._want(password)
        self._change("move", vm, destination, options, *([] if wait else ["no wait"]))
        return JOB.model_copy(update={"warnings": self.findings})

    def jobs(self) -> list[Job]:
        return self.known

    def job_log(self, id: str) -> JobLog:  # noqa: A002
        lines = ["INFO vmferry.transfer: web01: copying"] if id == JOB.id else []
        return JobLog(job=id, host="kvm1", lines=lines)

    def job(self, id: str) -> Job:  # noqa: A002
        found = next((job for job in self.known if job.id == id), None)
        if found is None:
            raise UsageError(codes.JOB_UNKNOWN, job=id, host="kvm1")
        return found

    def cancel(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        self._change("cancel", id, *(["force"] if force else []))

    def trust(self) -> TrustAnswer:
        if not self.trusting:
            return TrustAnswer(authorities=[], callers=[], names=[], set_by=None, notes=[])
        return TrustAnswer(
            authorities=[Authority(subject="CN=Site CA", fingerprint="ef" * 32, not_after=WHEN)],
            callers=["*"],
            names=["*"],
            set_by="root",
            notes=["A note."],
        )

    def set_trust(self, request: TrustRequest) -> TrustAnswer:
        self._change("set_trust", request.certificates, request.callers, request.names)
        return self.trust()

    def remove_trust(self) -> None:
        self._change("remove_trust")

    def certificate(self) -> HostCertificate:
        return HostCertificate(
            name="kvm1.example.org",
            names=["kvm1.example.org", "10.77.0.1"],
            fingerprint="ef" * 32,
            issuer="CN=Site CA",
            not_before=WHEN,
            not_after=WHEN,
        )

    def request_certificate(self, names: Sequence[str] = ()) -> CertificateRequest:
        return CertificateRequest(request="CSR\n", names=list(names) or ["kvm1"])

    def install_certificate(self, chain: str) -> HostCertificate:
        self._change("install_certificate", chain)
        return self.certificate()

    def tokens(self) -> list[ApiToken]:
        return [TOKEN, TOKEN.model_copy(update={"id": "00000000", "state": "revoked"})]

    def create_token(self, request: TokenRequest) -> NewToken:
        self._change("create_token", request.role, request.expires_in, request.name)
        secret = os.environ.get("VMFERRY_TEST_SECRET", "vmft1-1f3a9c2e-secret")
        return NewToken(
            **TOKEN.model_dump(), token=secret, address="10.77.0.1", port=6601, fingerprint=self.host().fingerprint
        )

    def revoke_token(self, token: str) -> None:
        self._change("revoke_token", token)

    def audit(self, since: float | None = None, job: str | None = None) -> list[AuditRecord]:
        self.calls.append(("audit", since, job))
        return [RECORD]

    def verify_audit(self, *, peers: bool = False) -> Verification:
        self.calls.append(("verify_audit", peers))
        return self.chain

    def events(self, id: str, after: int = 0) -> Iterator[Event]:  # noqa: A002
        for event in self.story:
            if isinstance(event, type):
                raise event
            yield event

    def _change(self, *call: Any) -> None:
        self.calls.append(call)
        if self.trouble:
            raise self.trouble.pop(0)
