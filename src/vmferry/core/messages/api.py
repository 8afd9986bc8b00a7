"""The messages of the HTTPS API, between vmferryd and its clients."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

from vmferry.core.job import Phase, Progress, Role, State, Summary
from vmferry.core.kinds import MoveKind
from vmferry.core.message import Document, Exact, Line, Message, Value, Values
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import Caller, MoveOptions
from vmferry.core.policy.networks import SUBNET
from vmferry.core.policy.settings import Difference, HostSettings

PINNED = "pinned.vmferry.invalid"  # server name (RFC 6066, 3) of clients that know a host by its certificate alone
NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$"  # of a host


# For documents alone: what is wrong with a text is told by whoever reads it, in a better sentence.
_TOKEN: dict[str, JsonValue] = {"pattern": r"^\s*(vmf1-)?[A-Za-z0-9_-]+={0,2}\s*$"}
_SUBNET: dict[str, JsonValue] = {"pattern": SUBNET}

Callers = Annotated[list[Annotated[Exact, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=1000)]


class ApiAnswer(BaseModel):
    """An answer of a daemon."""

    model_config = ConfigDict(frozen=True)


class ApiRequest(BaseModel):
    """A request of a client; unknown properties are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Problem(Value):
    """An RFC 9457 problem; `code` is stable, the sentences are for people."""

    type: Line = Field(description="urn:vmferry:error: and the code")
    title: Line
    status: int
    detail: Line = Field(description="what happened and why")
    code: Line
    remedy: Line = Field(description="the way out")
    exit_code: int = Field(description="exit code of the command line for this error")
    fields: Values = Field(description="what the sentences name")


class Version(ApiAnswer):
    """All that an unauthenticated caller is told."""

    product: str = "vmferry"
    api: list[str] = ["v1"]


class Host(ApiAnswer):
    """The host that answers."""

    name: str
    version: str
    fingerprint: str = Field(description="SHA-256 of the host's certificate, hex")
    address: str = Field(description="address at which other hosts reach it")
    port: int
    encryption: str = Field(description="as in settings")
    authentication: str = Field(description="as in settings")
    performance: list[str] = Field(description="performance options that it can carry out")
    settings: HostSettings
    disk_folders: list[str] = Field(description="folders in which incoming VMs may have their disks")


class SettingsAnswer(ApiAnswer):
    """The settings after a request to change them."""

    settings: HostSettings
    changed: bool = Field(description="false: nothing was different")
    notes: list[str] = Field(description="sentences for the caller")
    jobs: list[str] = Field(default=[], description="moves that continue although migration is now disabled")


class Applied(ApiAnswer):
    """What a file of settings changes, or would change."""

    changes: list[Difference]
    applied: bool = Field(description="false: nothing to change, or a dry run")
    notes: list[str]


class MigrationNetwork(ApiAnswer):
    """A network that moves may travel over."""

    subnet: str
    priority: int = Field(description="the lowest number is tried first")
    addresses: list[str] = Field(description="this host's addresses inside it")


class NetworkRequest(ApiRequest):
    """A network to list; host bits are cut off, and a bare address is a subnet of one."""

    subnet: str = Field(max_length=100, json_schema_extra=_SUBNET)
    priority: int | None = Field(default=None, ge=0, le=9999)


class NetworkChange(ApiRequest):
    """The changes to a listed network; null leaves a property as it is."""

    subnet: Annotated[str, Field(max_length=100, json_schema_extra=_SUBNET)] | None = None
    priority: int | None = Field(default=None, ge=0, le=9999)


class DisableRequest(ApiRequest):
    """What happens to moves that have not ended; null refuses the request while there are any."""

    moves: Literal["wait", "cancel"] | None = None


class PairedHost(ApiAnswer):
    """A host that the answering host is paired with, or has met as a host of its site."""

    name: str
    address: str
    port: int
    fingerprint: str = Field(description="SHA-256 of its certificate, hex")
    callers: list[str] = Field(description="users for whom it may move VMs here; * is any user that it accepts")
    paired_at: datetime = Field(description="for a host of the site: when it was first met")
    paired_by: str = Field(description="for a host of the site: who trusted its authority")
    known_by: Literal["pairing", "site", "domain"] = "pairing"


class InvitationRequest(ApiRequest):
    """The users that the host with the token may act for here."""

    callers: Callers = ["*"]


class Invitation(ApiAnswer):
    """A pairing token; shown once and valid once."""

    token: str
    expires_at: datetime


class PairRequest(ApiRequest):
    """Pair with the host that made the token."""

    token: str = Field(max_length=1024, json_schema_extra=_TOKEN)
    address: Exact | None = Field(
        default=None, max_length=300, description="HOST or HOST:PORT, if the address in the token is wrong"
    )
    callers: Callers = Field(default=["*"], description="users for whom the other host may move VMs here")


class PairingRequest(Message):
    """What a host sends to redeem a token (host to host)."""

    secret: Exact = Field(max_length=128, description="hex")
    name: Exact = Field(pattern=NAME)
    address: Exact | None = Field(
        default=None,
        max_length=255,
        pattern=r"^[A-Za-z0-9.:%_-]+$",
        description="null: the address that the request comes from",
    )
    port: int = Field(ge=1, le=65535)
    certificate: Document = Field(max_length=8192, description="PEM")


class PairingAnswer(Message):
    """The host that made the token."""

    name: Exact = Field(pattern=NAME)


class PairTest(ApiAnswer):
    """Whether two hosts can reach each other and accept each other."""

    host: str
    ok: bool = Field(description="both directions work")
    version: str | None = Field(description="of vmferry on the other host")
    there: Problem | None = Field(description="problem in the direction to the other host")
    back: Problem | None = Field(description="problem in the direction back, if the other direction works")


class ReverseTest(Message):
    """The result of a test in the reverse direction (host to host)."""

    problem: Problem | None


class LocalAddress(ApiAnswer):
    """An address of a host on which moves can travel."""

    address: str
    subnet: str
    interface: str


class SetUp(ApiAnswer):
    """The result of `vmferry host setup`."""

    settings: HostSettings
    changes: list[Difference] = Field(description="empty: nothing was different")
    hosts: list[PairTest] = Field(description="the hosts that were tested")


class TokenRequest(ApiRequest):
    """A token to create."""

    role: Literal["viewer", "operator", "administrator"]
    expires_in: int = Field(ge=60, le=366 * 86400, description="seconds; a year and a day at most")
    name: Exact | None = Field(default=None, pattern=NAME, description="null: the identifier of the token")


class ApiToken(ApiAnswer):
    """A token, without its secret."""

    id: str
    name: str = Field(description="records name its user as `token NAME`")
    role: str = Field(description="viewer, operator or administrator")
    state: Literal["valid", "expired", "revoked"]
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None


class NewToken(ApiToken):
    """A token that was just created; its secret is shown once."""

    token: str = Field(description="the secret")
    address: str = Field(description="address of the host's API")
    port: int
    fingerprint: str = Field(description="SHA-256 of the certificate by which a client recognises the host, hex")


class MoveRequest(MoveOptions):
    """Where a VM goes, and how."""

    model_config = ConfigDict(extra="forbid")

    destination: Exact = Field(max_length=255, description="name of a paired host")
    wait: bool = Field(default=True, description="wait for a free slot on both hosts; false: fail if there is none")
    password: SecretStr | None = Field(
        default=None, max_length=1024, description="the caller's, if the hosts use CredSSP; used once and not stored"
    )

    def options(self) -> MoveOptions:
        """Return the options that both hosts need to know."""
        return MoveOptions.model_validate(self.model_dump(include=set(MoveOptions.model_fields)))


class CheckRequest(MoveRequest):
    """A move to check."""

    predict: bool = Field(default=False, description="measure VM and network, and predict the move")


class Job(ApiAnswer):
    """A move, as one of its two hosts sees it."""

    id: str
    role: Role
    kind: MoveKind = Field(default=MoveKind.LIVE, description="what moves, and how")
    vm: str
    source: str
    destination: str
    caller: Caller
    options: MoveOptions
    state: State
    position: int | None = Field(
        default=None, description="of a job that waits to leave this host: its place among those for that destination"
    )
    phase: Phase = Field(description="the newest phase; for a job that has ended, the phase in which it ended")
    reason: str | None = Field(description="why it is in that state")
    error: Problem | None
    summary: Summary | None
    progress: Progress | None = Field(description="the newest from the transfer process, while it runs")
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    warnings: list[Finding] = Field(
        default=[], description="warnings of the checks; only in the answer to the request that started the move"
    )


class JobLog(ApiAnswer):
    """The log of a job's transfer process on one host."""

    job: str
    host: str = Field(description="the host that answers; the other host has its own log")
    lines: list[str] = Field(description="the newest lines, oldest first; empty: there is no log, or not any more")


class PhaseEvent(ApiAnswer):
    """A step of the journal; `seq` is the id of the event."""

    seq: int
    at: datetime
    phase: Phase


class StateEvent(ApiAnswer):
    """A new state of the job that is not its end: in doubt, or running again."""

    state: State
    reason: str | None


class KnownVerdict(StrEnum):
    """What a host can tell of a verdict."""

    GO = "go"
    ABORT = "abort"
    UNDECIDED = "undecided"

    @classmethod
    def _missing_(cls, value: object) -> "KnownVerdict | None":
        """Take what a later release has besides for no verdict yet: whoever does not know it waits."""
        return cls.UNDECIDED if isinstance(value, str) else None


class VerdictAnswer(Message):
    """What happens to a VM whose move broke: go, abort or undecided (host to host)."""

    verdict: KnownVerdict
    suspended: bool = Field(
        default=False, description="whether a person had suspended the VM, which then stays suspended"
    )


class GoRequest(Message):
    """That a VM is the destination's (host to host)."""

    suspended: bool = Field(
        default=False, description="whether a person had suspended the VM, which then stays suspended"
    )


class Outcome(Message):
    """What happened to a VM that the source handed over: nothing yet, it runs, or why it does not (host to host)."""

    ended: bool
    problem: Values | None = None
    reason: Line | None = Field(default=None, description="what it waits for; null: nothing is known")


class AbortRequest(Message):
    """Why the source gave a move up (host to host)."""

    reason: Line
    cancelled_by: Line = Field(default="", description="who cancelled it; empty: it was not cancelled")


class PeerHello(Message):
    """Who a paired host is (host to host)."""

    name: Exact
    version: Line
