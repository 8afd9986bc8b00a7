"""What a destination may make of an offer: nothing of the source's files but what was asked."""

from typing import Any

import pytest
from tests.preflight.make import DISK, proposal

from vmferry.core.errors import InternalError, PreflightError
from vmferry.core.kinds import ArtifactType, CopiedBy
from vmferry.core.messages.offer import Artifact, ArtifactPlan, Grant, MoveOptions, Offer
from vmferry.preflight.granted import require_asked

OURS = "/run/vmferry/jobs/0123456789ab"
ISO = DISK.model_copy(update={"target": "sda", "path": "/srv/cd.iso", "format": "raw", "readonly": True})
PROVED = DISK.model_copy(update={"nonce_file": "/var/lib/libvirt/images/.vmferry-1-vda", "nonce": "5a"})
COPY = ArtifactPlan(target="vda", path="/srv/there/web01.qcow2", shared=False, copied_by=CopiedBy.MIRROR)
CD = ArtifactPlan(target="sda", path="/srv/there/cd.iso", shared=False, copied_by=CopiedBy.FILE)
SEEN = ArtifactPlan(target="vda", path=DISK.path, shared=True, copied_by=CopiedBy.NONE)
FLASH = Artifact(
    **DISK.model_dump()
    | {"type": ArtifactType.FIRMWARE_VARIABLES, "target": "nvram", "path": "/var/lib/libvirt/qemu/nvram/web01_VARS.fd"}
)
FILLED = ArtifactPlan(type=FLASH.type, target=FLASH.target, path=FLASH.path, shared=False, copied_by=CopiedBy.MEMORY)


def judge(disks: list[Artifact], plans: list[ArtifactPlan], folder: str = OURS, **options: Any) -> None:
    asked = MoveOptions(include_storage=True, **options)
    offer = Offer(**dict(proposal(disks=disks, options=asked)), job="0123456789ab", certificate="PEM")
    given = {"job_key": "5a" * 32, "live_xml": "", "persistent_xml": "", "certificate": "PEM", "addresses": []}
    grant = Grant(**given, artifacts=plans, socket_folder=folder)
    require_asked(offer, grant, folder=OURS, local="kvm1", host="kvm2")


def test_what_was_asked_for_is_taken() -> None:
    judge([DISK, ISO], [COPY, CD], storage_path="/srv/there/")
    judge([PROVED], [SEEN])
    judge([DISK, FLASH], [COPY, FILLED], storage_path="/srv/there/")
    judge([DISK], [COPY.model_copy(update={"path": "/srv/a"})], disk_paths={"vda": "/srv/a"})


@pytest.mark.parametrize(
    "folder",
    [
        "/run/vmferry/jobs/0123456789ab/../../../../var/lib/libvirt",
        "/var/lib/libvirt",
        OURS + "/",
        "/run//vmferry/jobs/0123456789ab",
        "/run/other/jobs/0123456789ab",
        "/run/vmferry/jobs/0123456789ac",
        "",
    ],
)
def test_the_sockets_are_where_this_host_has_them(folder: str) -> None:
    with pytest.raises(PreflightError) as caught:
        judge([PROVED], [SEEN], folder)
    assert caught.value.code.name == "run-folder-differs"


@pytest.mark.parametrize(
    ("disks", "plans"),
    [
        ([DISK], []),
        ([DISK], [COPY, COPY]),
        ([DISK], [CD]),
        ([DISK, ISO], [CD, COPY]),
        ([DISK], [COPY.model_copy(update={"copied_by": CopiedBy.NONE})]),
        ([DISK], [COPY.model_copy(update={"copied_by": CopiedBy.FILE})]),
        ([DISK], [COPY.model_copy(update={"copied_by": ""})]),
        ([ISO], [CD.model_copy(update={"copied_by": CopiedBy.MIRROR})]),
        ([DISK], [COPY.model_copy(update={"path": "/srv/there/other.qcow2"})]),
        ([DISK], [COPY.model_copy(update={"path": DISK.path})]),
        ([DISK], [SEEN]),
        ([PROVED], [SEEN.model_copy(update={"copied_by": CopiedBy.MIRROR})]),
        ([PROVED], [SEEN.model_copy(update={"path": "/srv/there/web01.qcow2"})]),
        ([DISK, FLASH], [COPY]),
        ([DISK, FLASH], [FILLED, COPY]),
        ([FLASH], [FILLED.model_copy(update={"copied_by": CopiedBy.MIRROR})]),
        ([FLASH], [FILLED.model_copy(update={"copied_by": CopiedBy.NONE})]),
        ([FLASH], [FILLED.model_copy(update={"type": ArtifactType.DISK})]),
        ([FLASH], [FILLED.model_copy(update={"path": "/var/lib/libvirt/qemu/nvram/web02_VARS.fd"})]),
        ([DISK], [COPY.model_copy(update={"copied_by": CopiedBy.MEMORY})]),
    ],
)
def test_no_disk_becomes_another_or_is_left_out_of_the_copy(disks: list[Artifact], plans: list[ArtifactPlan]) -> None:
    with pytest.raises(InternalError) as caught:
        judge(disks, plans, storage_path="/srv/there")
    assert caught.value.code.name == "grant-differs"
