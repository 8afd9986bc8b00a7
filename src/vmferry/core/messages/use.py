"""Who else uses a file of a VM: found by hypervisor/storage/users.py, judged by preflight/vm/sharing.py."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class By(StrEnum):
    """What uses a file."""

    VM = "VM"
    IMAGE = "image"  # a file that is based on it, of no VM that libvirt knows


class Use(BaseModel):
    """One use of a file by someone other than the VM that is to move."""

    model_config = ConfigDict(frozen=True)

    by: By
    name: str = Field(description="the VM's name, or the image's path")
    role: str = Field(description="what the file is to it, e.g. `its disk vda`")

    def __str__(self) -> str:
        return f"{self.role} of VM {self.name}" if self.by is By.VM else f"{self.role} of {self.name}"


class Surroundings(BaseModel):
    """What else is known about the files of a VM's disks.

    If not all users of a file are known, it counts as used: `unknown` gives the reason.
    """

    model_config = ConfigDict(frozen=True)

    uses: dict[str, list[Use]] = Field(default={}, description="path -> who else uses that file")
    unknown: list[str] = Field(default=[], description="what could not be looked at, each with the reason")
