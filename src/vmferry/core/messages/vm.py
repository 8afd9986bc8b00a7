"""A VM as a host sees it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.messages.offer import Artifact
from vmferry.core.messages.use import Surroundings


class Presence(StrEnum):
    """The state of a VM on one host, as far as a move needs it."""

    RUNNING = "running"
    PAUSED = "paused"  # and no libvirt job is at work on it
    BUSY = "busy"  # libvirt is at work on it: it may run or go any moment
    CRASHED = "crashed"  # the guest ended by a fault of its own, and libvirt keeps its process for a person to look at
    OFF = "off"  # defined, not active
    ABSENT = "absent"


class Ending(StrEnum):
    """How a VM ended on one host, as far as libvirt reports it."""

    MIGRATED = "migrated"  # libvirt handed it to another host
    HERE = "here"  # by its guest or a person: it was this host's until then
    UNKNOWN = "unknown"  # its process was killed, or libvirt was started anew since


class VmSummary(BaseModel):
    """One line of `vmferry vm list`."""

    model_config = ConfigDict(frozen=True)

    name: str
    uuid: str
    state: str = Field(description="libvirt's word: running, paused, shut off, ...")
    memory: int = Field(description="bytes")
    vcpus: int
    autostart: bool
    persistent: bool = Field(description="whether the VM has a definition that stays when it is off")


class VmDetail(VmSummary):
    """What `vmferry vm show` shows."""

    disks: list[Artifact]
    machine: str = Field(description="machine type, e.g. pc-q35-7.2")
    emulator: str
    networks: list[str]


class Unmovable(BaseModel):
    """Why a disk cannot be moved."""

    model_config = ConfigDict(frozen=True)

    why: str = Field(description="part of a sentence")
    advice: str = Field(description="what helps, in a sentence without its full stop")
    missing: bool = Field(default=False, description="the file cannot be read, whatever kind of disk it is")


class Contents(BaseModel):
    """What an image contains besides the data that the guest sees."""

    model_config = ConfigDict(frozen=True)

    snapshots: list[str] = Field(default=[], description="names of its internal snapshots")
    bitmaps: list[str] = Field(default=[], description="names of its persistent bitmaps")
    idle_bitmaps: list[str] = Field(default=[], description="those of them that record nothing")


class Later(BaseModel):
    """A disk that is in a running VM's definition, but not in the running VM."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(description="what is in it, as the definition names it")
    drive: bool = Field(default=False, description="it is a medium in a removable drive")
    why: str | None = Field(default=None, description="why it cannot be moved; null: it can")


class VmSnapshot(BaseModel):
    """The state of a VM on its host, as far as a move needs it."""

    model_config = ConfigDict(frozen=True)

    name: str
    host: str = Field(description="name of the host it is on")
    uuid: str
    state: str = Field(description="libvirt's word: running, paused, shut off, ...")
    reason: str = Field(default="", description="why a paused VM is paused, where libvirt tells; else empty")
    live_xml: str = Field(description="migratable")
    persistent_xml: str
    persistent: bool = Field(default=True, description="whether it has a definition that stays when it is off")
    autostart: bool
    memory: int = Field(description="bytes")
    disks: list[Artifact] = Field(default=[], description="those that can be moved")
    variables: Artifact | None = Field(default=None, description="the file with its UEFI variables")
    definition: dict[str, str] | None = Field(default=None, description="as of Proposal")
    later: dict[str, Later] = Field(default={}, description="disks of the definition alone, by target")
    unmovable: dict[str, Unmovable] = Field(default={}, description="disks that cannot: target -> why")
    moved_by: str | None = Field(default=None, description="vmferry's job that moves it already")
    job: str | None = Field(default=None, description="the libvirt job at work on it, e.g. backup")
    block_jobs: dict[str, str] = Field(default={}, description="disks that libvirt is at work on: target -> job")
    managed_save: bool = Field(default=False, description="whether it has a managed save image")
    replaced: list[str] = Field(default=[], description="disks whose path leads to another file than QEMU has open")
    links: dict[str, str] = Field(default={}, description="disks whose path is a link: target -> the file")
    contents: dict[str, Contents] = Field(default={}, description="what images hold besides their content, by target")
    around: Surroundings = Field(default=Surroundings(), description="who else uses the disks' files")
    lock_manager: str = Field(default="", description="of libvirt on its host, which leases disks; empty: none")
    snapshots: int = 0
    checkpoints: int = 0
