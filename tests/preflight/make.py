"""A VM that can move between two hosts, and how to make one thing wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vmferry.core.libvirt.hostpolicy import Policy
from vmferry.core.messages.offer import Artifact, Caller, MoveOptions, Proposal
from vmferry.core.messages.snapshot import DestinationSnapshot, DiskTarget, HostSnapshot
from vmferry.core.messages.vm import VmSnapshot
from vmferry.core.options import Encryption
from vmferry.core.policy.networks import Local
from vmferry.core.policy.settings import HostSettings
from vmferry.preflight import plan
from vmferry.preflight.case import Case, End

ON = HostSettings(migration=True)
UUIDS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")  # of the two hosts
UUID = "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"
PATH = "/var/lib/libvirt/images/web01.qcow2"
PLAIN = f"""<domain type='kvm'><name>web01</name><uuid>{UUID}</uuid><memory unit='MiB'>1024</memory><!--top-->
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><!--os--></os>
<cpu mode='custom' match='exact'><model fallback='forbid'>Haswell</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{PATH}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='network'><mac address='52:54:00:93:00:01'/><source network='default'/>
<target dev='vnet0'/><model type='virtio'/></interface>
<interface type='bridge'><source bridge='br0'/></interface><!--device--></devices></domain>"""
DISK = Artifact(
    target="vda",
    path=PATH,
    format="qcow2",
    virtual_size=10 << 30,
    allocated=2 << 30,
    mode=0o600,
    owner="root",
    group="root",
)
PLACE = DiskTarget(target="vda", path=PATH, device=1, free=10 << 30)
HERE = DestinationSnapshot(
    uuid=UUIDS[1],
    hostname="kvm2",
    vmferry="1.0.0",
    libvirt=9_000_000,
    qemu=7_002_022,
    clock=1000.0,
    confinement=["apparmor", "dac"],
    name="kvm2",
    names={"u-9": "db01"},
    networks={"default": True},
    bridges=["br0"],
    machines=["pc-q35-7.1", "pc-q35-7.2", "pc-i440fx-7.2"],
    cpu_same=True,
    memory=4 << 30,
    huge_pages={2 << 20: 0},
    places=[PLACE],
    policy=Policy(
        emulators=("/usr/bin/qemu-system-x86_64",),
        disk_folders=("/var/lib/libvirt/images",),
        boot_folders=("/usr/share/OVMF",),
    ),
)
THERE = HostSnapshot(
    uuid=UUIDS[0],
    hostname="kvm1",
    vmferry="1.0.0",
    libvirt=9_000_000,
    qemu=7_002_022,
    clock=1000.5,
    confinement=["dac"],
)


def xml(**parts: str) -> str:
    """Give the VM's XML with something more in it: at `top`, `os` or `device`; or a word of it replaced by another."""
    found = PLAIN
    for place, part in parts.items():
        found = found.replace(f"<!--{place}-->", part)
    for place in ("top", "os", "device"):
        found = found.replace(f"<!--{place}-->", "")
    return found


READ_ONLY = xml().replace("<target dev='vda'", "<readonly/><target dev='vda'")
MEDIUM = DISK.model_copy(update={"readonly": True, "size": 9})
VM = VmSnapshot(
    name="web01",
    host="kvm1",
    uuid=UUID,
    state="running",
    live_xml=xml(),
    persistent_xml=xml(),
    autostart=True,
    memory=1 << 30,
    disks=[DISK],
)


def proposal(domain: str | None = None, persistent: str | None = None, **changes: Any) -> Proposal:
    """Give the VM as it is offered."""
    domain = domain or xml()
    if "memory" in changes:
        domain = domain.replace("<memory unit='MiB'>1024", f"<memory unit='MiB'>{changes['memory'] >> 20}")
    values: dict[str, Any] = {
        "vm": "web01",
        "uuid": UUID,
        "caller": Caller(name="root", host="kvm1", method="unix"),
        "source": "kvm1",
        "host": THERE,
        "live_xml": domain,
        "persistent_xml": persistent or domain,
        "autostart": True,
        "memory": 1 << 30,
        "disks": [DISK],
        "options": MoveOptions(include_storage=True),
    }
    values |= changes
    variables = values.pop("variables", None)
    return Proposal(**values, artifacts=[*values.pop("disks"), *([variables] if variables else [])])


def end(settings: HostSettings = ON, *, source: bool = True, encryption: Encryption = Encryption.REQUIRED) -> End:
    """Give one of the hosts."""
    name, address = ("kvm1", "10.20.0.1") if source else ("kvm2", "10.20.0.2")
    return End(name, settings, [Local(address, 24, "mig")], encryption, source)


def case(
    vm: Proposal | None = None, refusal: str | None = None, there: dict[str, Any] | None = None, **here: Any
) -> Case:
    """Give the case, with the source (`there`) and the destination changed in places."""
    vm = vm or proposal()
    if there:
        vm = vm.model_copy(update={"host": THERE.model_copy(update=there)})
    seen = HERE.model_copy(update=here)
    return Case(vm, seen, plan.make(vm, seen), refusal)


def expired(name: str) -> tuple[str, str]:
    """Make a certificate that was valid until yesterday, and its key; as PEM."""
    return dated(name, -9, -1)


def dated(name: str, begins: int, ends: int) -> tuple[str, str]:
    """Make a certificate and its key; as PEM.

    Arguments:
        begins: days from now on which it is valid.
        ends: days from now until which it is.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
