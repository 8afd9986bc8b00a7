from vmferry.core.kinds import CopiedBy
from vmferry.core.libvirt.flags import Flag
from vmferry.core.messages.offer import ArtifactPlan, Caller, Grant, MoveOptions, Offer
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.core.request import build


def make(plans: list[ArtifactPlan], options: MoveOptions, channels: int = 2) -> tuple[Offer, Grant]:
    offer = Offer(
        job="0123456789ab",
        vm="web01",
        uuid="5f0d4a2e-0000-4000-8000-000000000001",
        caller=Caller(name="root", host="kvm1", method="unix"),
        source="kvm1",
        host=HostSnapshot(uuid="5f0d4a2e-0000-4000-8000-000000000002"),
        live_xml="<domain/>",
        persistent_xml="<domain/>",
        autostart=False,
        memory=1 << 30,
        artifacts=[],
        options=options,
        memory_channels=channels,
        certificate="pem",
    )
    grant = Grant(
        addresses=["10.92.0.2"],
        job_key="ab" * 32,
        live_xml="<a/>",
        persistent_xml="<b/>",
        artifacts=plans,
        certificate="pem",
        socket_folder="/run/x",
    )
    return offer, grant


MIRRORED = ArtifactPlan(target="vda", path="/d/a", shared=False, copied_by=CopiedBy.MIRROR)
COPIED = ArtifactPlan(target="sda", path="/d/b", shared=False, copied_by=CopiedBy.FILE)
SHARED = ArtifactPlan(target="vdb", path="/d/c", shared=True, copied_by=CopiedBy.NONE)


def test_the_vm_always_arrives_paused_and_is_never_defined_or_undefined_by_libvirt() -> None:
    for plans in ([], [MIRRORED], [SHARED], [MIRRORED, COPIED, SHARED]):
        flags = build(*make(plans, MoveOptions()), "/run/x").flags
        assert Flag.PAUSED in flags
        assert not int(flags) & (8 | 16)  # PERSIST_DEST, UNDEFINE_SOURCE
        assert (Flag.NON_SHARED_DISK in flags) == (MIRRORED in plans)
        assert (Flag.UNSAFE in flags) == (SHARED in plans)


def test_only_disks_that_qemu_mirrors_are_named() -> None:
    assert build(*make([MIRRORED, COPIED, SHARED], MoveOptions()), "/run/x").mirrored == ("vda",)


def test_units_are_libvirts() -> None:
    request = build(
        *make([], MoveOptions(bandwidth=100 << 20, max_downtime=0.3, auto_converge=True), channels=0), "/run/x"
    )
    assert (request.bandwidth, request.downtime) == (100, 300)
    assert Flag.AUTO_CONVERGE in request.flags
    assert Flag.PARALLEL not in request.flags


def test_a_small_bandwidth_does_not_become_no_limit() -> None:
    assert build(*make([], MoveOptions(bandwidth=1000)), "/run/x").bandwidth == 1


def test_what_root_trusts_is_out_of_qemus_reach() -> None:
    sockets = build(*make([], MoveOptions()), "/run/x").sockets
    assert sockets.memory.startswith(sockets.qemu + "/")
    assert sockets.disk.startswith(sockets.qemu + "/")
    assert not sockets.rpc.startswith(sockets.qemu)
