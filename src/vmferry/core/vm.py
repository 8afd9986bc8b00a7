"""A VM as a host shows it."""

from pydantic import BaseModel, ConfigDict, Field

from vmferry.core.offer import Disk


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

    disks: list[Disk]
    machine: str = Field(description="machine type, e.g. pc-q35-7.2")
    emulator: str
    networks: list[str]


class VmSnapshot(BaseModel):
    """A VM as it stands on its host, as far as a move is concerned."""

    model_config = ConfigDict(frozen=True)

    name: str
    host: str = Field(description="name of the host it is on")
    uuid: str
    state: str = Field(description="libvirt's word: running, paused, shut off, ...")
    live_xml: str = Field(description="migratable")
    persistent_xml: str
    autostart: bool
    memory: int = Field(description="bytes")
    disks: list[Disk] = Field(default=[], description="those that can be moved")
    unmovable: dict[str, str] = Field(default={}, description="disks that cannot: target -> why")
    moved_by: str | None = Field(default=None, description="vmferry's job that moves it already")
    job: str | None = Field(default=None, description="the libvirt job at work on it, e.g. backup")
    snapshots: int = 0
    checkpoints: int = 0
