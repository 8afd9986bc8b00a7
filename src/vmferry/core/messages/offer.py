"""What the source offers, what the destination answers: the values that cross between two hosts before a move."""

from enum import StrEnum

from pydantic import Field

from vmferry.core.auditlog.chain import LogHead
from vmferry.core.identifiers import Uuid, VmName
from vmferry.core.kinds import ArtifactType, CopiedBy, MoveKind
from vmferry.core.message import Document, Exact, Hex, Key, Line, Message, Value
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.options import Encryption, Performance
from vmferry.core.policy.admission import AGAIN
from vmferry.core.policy.networks import Subnet
from vmferry.core.prediction import Prediction

DISKS = 500  # of one VM
ADDRESSES = 1000  # of one host
FINDINGS = 1000  # of one check


class MoveOptions(Value):
    """What the user asked for; the names are the command line's."""

    include_storage: bool = False
    storage_path: Exact | None = None
    disk_paths: dict[Exact, Exact] = Field(default_factory=dict, description="target (vda) -> path on the destination")
    map_networks: dict[Exact, Exact] = Field(
        default_factory=dict,
        description="network or bridge on the source -> on the destination; `none` leaves it disconnected",
    )
    performance: Performance = Performance.TCP
    encryption: Encryption = Encryption.REQUIRED
    bandwidth: int | None = Field(default=None, description="bytes a second for the memory copy")
    max_downtime: float | None = Field(default=None, description="seconds the guest may pause, as asked of QEMU")
    auto_converge: bool = False
    deadline: float | None = Field(
        default=None,
        gt=0,
        description="seconds after the request after which the move is given up, unless it is decided",
    )
    keep_source_disks: bool = False
    remove_source_media: bool = Field(
        default=False, description="remove also read-only files and the media of removable drives from the source"
    )
    full_space: bool = Field(
        default=False, description="book the disks' virtual size on the destination, not their present data"
    )

    @property
    def needs_prediction(self) -> bool:
        """Whether something is asked for that cannot be promised without a prediction."""
        return self.deadline is not None or self.max_downtime is not None


class Artifact(Value):
    """One file of the VM as the source sees it: a disk's, or that of its UEFI variables. Sizes in bytes."""

    type: ArtifactType = ArtifactType.DISK
    target: Exact = Field(description="what identifies it in this move: the target of a disk (vda), or `nvram`")
    path: Exact
    format: Exact
    virtual_size: int = Field(ge=0)
    allocated: int = Field(ge=0)
    mode: int = Field(description="permission bits of the source's file, e.g. 0o600")
    owner: Exact
    group: Exact
    readonly: bool = False
    size: int | None = Field(default=None, ge=0, description="bytes of the file; null: not told")
    idle: bool = Field(
        default=False, description="only the definition has it, for the VM's next start: nobody writes it meanwhile"
    )
    needed: int | None = Field(
        default=None, ge=0, description="bytes that a copy takes at first; null: unknown, use `allocated`"
    )
    create_options: dict[Exact, Exact] = Field(
        default_factory=dict, description="options of qemu-img create for a similar image"
    )
    nonce_file: Exact | None = Field(default=None, description="file beside the disk that proves that both see it")
    nonce: Exact | None = Field(default=None, description="content of that file, drawn by the destination")
    inode: int | None = Field(
        default=None, ge=0, description="inode of the file, the same on both hosts; null: unknown"
    )

    @property
    def copied(self) -> int:
        """The bytes that a copy takes at first."""
        return self.allocated if self.needed is None else self.needed

    def space(self, *, full: bool) -> int:
        """Return the bytes to set aside for a copy: what it takes at first, or all that the disk can hold."""
        return max(self.virtual_size, self.copied) if full else self.copied


class CallerMethod(StrEnum):
    """How somebody was authenticated."""

    UNIX = "unix"
    TOKEN = "token"  # noqa: S105 -- a kind of credential, not one
    KERBEROS = "kerberos"
    CREDSSP = "credssp"
    CERTIFICATE = "certificate"


class Caller(Value):
    """For whom a host acts."""

    name: Exact
    host: Exact
    method: CallerMethod | Exact = Field(
        union_mode="left_to_right",
        description="how they were authenticated on their first host; a later release may have another word for it",
    )


class Proposal(Message):
    """Source -> destination: one VM, and everything the destination needs to say yes or no."""

    vm: VmName
    uuid: Uuid
    caller: Caller
    source: Exact
    host: HostSnapshot = Field(description="the source")
    live_xml: Document = Field(description="migratable XML of the running VM, source paths")
    persistent_xml: Document = Field(description="inactive XML, source paths")
    persistent: bool = Field(default=True, description="whether the VM has a definition; one without gets none there")
    definition: dict[Exact, Exact] | None = Field(
        default=None,
        max_length=DISKS,
        description="which of its disks the definition's are: target there -> target in `artifacts`; one that is not "
        "named is another file than any of them. null: those of the running VM with the same target and path",
    )
    autostart: bool
    memory: int = Field(description="bytes; just what the running VM's XML says")
    artifacts: list[Artifact] = Field(max_length=DISKS, description="its disks, and the file of its UEFI variables")
    options: MoveOptions
    kind: MoveKind = Field(
        default=MoveKind.LIVE, description="what moves, and how; a host refuses a kind that it does not know"
    )
    networks: list[Subnet] = Field(default=[], max_length=1000, description="subnets that the source uses; empty: any")

    @property
    def disks(self) -> list[Artifact]:
        """The VM's disks."""
        return [one for one in self.artifacts if one.type is ArtifactType.DISK]

    @property
    def variables(self) -> Artifact | None:
        """The file of the VM's UEFI variables; None: it has none."""
        return next((one for one in self.artifacts if one.type is ArtifactType.FIRMWARE_VARIABLES), None)


class ChallengeRequest(Message):
    """Source -> destination: a VM is to be proposed, whose storage both hosts may see."""

    uuid: Exact


class Challenge(Message):
    """Destination -> source: what to write beside the VM's disks, for this one time."""

    nonce: Hex


class Offer(Proposal):
    """Source -> destination: a proposal that is meant."""

    job: Exact
    memory_channels: int = Field(
        default=2, ge=0, le=16, description="parallel memory streams (multifd); 0: one plain stream"
    )
    certificate: Document = Field(description="PEM of the source worker's certificate for this job")
    place: bool = Field(default=True, description="whether it asks for a slot at once; the source may have none")
    audit_head: LogHead | None = Field(
        default=None, description="of the source's audit log, for the destination to keep"
    )


class ArtifactPlan(Value):
    """What becomes of one file of the VM: copied to `path` on the destination, or seen by both already."""

    type: ArtifactType = ArtifactType.DISK

    target: Exact
    path: Exact
    shared: bool
    copied_by: CopiedBy = Field(
        description="'mirror' (QEMU, while it runs), 'file' (read-only, by the worker), 'present' "
        "(the destination has the file: it is compared), 'memory' (with the VM's memory) or 'none'"
    )

    @property
    def made(self) -> bool:
        """Whether the destination makes a file for it."""
        return self.copied_by.made


class Report(Message):
    """What the checks of a move found, and how the VM would be on the destination."""

    vm: Exact
    source: Exact
    destination: Exact
    findings: list[Finding] = Field(max_length=FINDINGS, description="those that block come first")
    disks: list[ArtifactPlan] = Field(max_length=DISKS, description="the plan of each disk")
    addresses: list[Exact] = Field(
        max_length=ADDRESSES, description="where the destination would listen, the best first"
    )
    live_xml: Document = Field(description="XML that would start the VM on the destination")
    persistent_xml: Document = Field(description="XML that the destination would define")
    prediction: Prediction | None = Field(
        default=None, description="prediction of the move; null: not requested, or findings give the reason"
    )


class Grant(Message):
    """Destination -> source: the offer is authorised; nothing is made yet."""

    job_key: Key = Field(description="hex; everything later shows a proof of it")
    live_xml: Document = Field(description="the XML that the destination will accept, destination paths")
    persistent_xml: Document
    artifacts: list[ArtifactPlan] = Field(max_length=DISKS, description="what becomes of each, in the offer's order")
    certificate: Document = Field(description="PEM of the destination worker's certificate for this job")
    addresses: list[Exact] = Field(
        max_length=ADDRESSES, description="where the destination's worker will listen, the best first"
    )
    refusal: Line | None = Field(default=None, description="why the move has to wait; null: it has a slot")
    findings: list[Finding] = Field(
        default_factory=list, max_length=FINDINGS, description="warnings of the destination"
    )
    audit_head: LogHead | None = Field(
        default=None, description="of the destination's audit log, for the source to keep"
    )
    socket_folder: Exact = Field(description="folder of this job's unix sockets, for both workers and QEMUs")

    @property
    def disks(self) -> list[ArtifactPlan]:
        """What becomes of the VM's disks."""
        return [one for one in self.artifacts if one.type is ArtifactType.DISK]


class Hold(Message):
    """Destination -> source: whether a move that waits has a place here, for some seconds."""

    refusal: Line | None = Field(default=None, description="why there is no slot; null: there is one")
    admitted: bool = Field(default=False, description="it has been admitted, and the answer to that was lost")
    again: float = Field(default=AGAIN, description="seconds after which to ask again")


class Address(Value):
    """One place where the destination's worker listens."""

    host: Exact
    port: int = Field(ge=1, le=65535)


class Admission(Message):
    """Destination -> source: disks exist, the worker listens."""

    addresses: list[Address] = Field(max_length=ADDRESSES)
