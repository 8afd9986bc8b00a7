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
