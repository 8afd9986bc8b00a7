"""What does not go along with a VM is refused by its name; what is the VM's own goes along without a word."""

import pytest
from tests.preflight.make import case, proposal, xml

from vmferry.core.messages.finding import Severity
from vmferry.preflight.case import run
from vmferry.preflight.checks import OF_MOVE

END = "</domain>"
# Where it stands, what it is, and the word by which it is told.
REFUSED = [
    ("device", "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source/></hostdev>", "mediated device"),
    ("device", "<hostdev mode='capabilities' type='storage'><source/></hostdev>", "hostdev"),
    ("device", "<shmem name='s'><model type='ivshmem-plain'/></shmem>", "shmem"),
    ("device", "<filesystem type='mount'><driver type='virtiofs'/></filesystem>", "filesystem"),
    ("device", "<lease><lockspace>a</lockspace><key>b</key></lease>", "lease"),
    ("device", "<pstore backend='acpi-erst'><path>/tmp/p</path></pstore>", "pstore"),
    ("device", "<memory model='nvdimm'><source><path>/tmp/n</path></source></memory>", "NVDIMM"),
    ("device", "<memory model='virtio-pmem'><source><path>/tmp/n</path></source></memory>", "virtio-pmem"),
    (
        "device",
        "<interface type='vhostuser'><source type='unix' path='/tmp/v' mode='client'/></interface>",
        "vhostuser",
    ),
    ("device", "<interface type='user'><backend type='passt'/></interface>", "interface/backend"),
    ("device", "<interface type='udp'><source address='192.0.2.1' port='5'/></interface>", "udp"),
    ("device", "<graphics type='egl-headless'><gl rendernode='/dev/dri/renderD128'/></graphics>", "egl-headless"),
    ("device", "<graphics type='spice'><gl enable='yes' rendernode='/dev/dri/renderD128'/></graphics>", "rendernode"),
    ("device", "<graphics type='dbus'/>", "dbus"),
    ("device", "<video><driver name='vhostuser'/><model type='virtio'/></video>", "vhostuser"),
    ("device", "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/></serial>", "tcp"),
    ("device", "<serial type='udp'><source mode='connect' host='192.0.2.1' service='4555'/></serial>", "udp"),
    ("device", "<serial type='unix'><source mode='bind' path='/tmp/s'/></serial>", "unix"),
    ("device", "<serial type='file'><source path='/srv/console.log'/></serial>", "log_folders"),
    ("device", "<serial type='pty'><log file='/srv/console.log'/></serial>", "log_folders"),
    ("device", "<rng model='virtio'><backend model='egd' type='tcp'/></rng>", "egd"),
    ("device", "<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>", "/dev/hwrng"),
    ("device", "<tpm model='tpm-crb'><backend type='external'/></tpm>", "external"),
    (
        "device",
        "<tpm model='tpm-crb'><backend type='emulator'><encryption secret='a'/></backend></tpm>",
        "encryption",
    ),
    ("device", "<input type='evdev'><source dev='/dev/input/event1'/></input>", "evdev"),
    ("device", "<audio id='1' type='pipewire'/>", "pipewire"),
    ("device", "<smartcard mode='host'/>", "smart card"),
    ("device", "<crypto model='virtio' type='qemu'><backend model='lkcf'/></crypto>", "lkcf"),
    ("os", "<nvram type='network'/>", "nvram@type"),
    ("os", "<smbios mode='host'/>", "smbios"),
    ("os", "<loader type='pflash'>/usr/share/OVMF/a.fd</loader>", "readonly='yes'"),
    ("top", "<launchSecurity type='sev'/>", "launchSecurity"),
    ("top", "<resource><partition>/system</partition></resource>", "/system"),
    ("top", "<resource><fibrechannel appid='a'/></resource>", "fibrechannel"),
    ("top", "<on_crash>coredump-restart</on_crash>", "coredump-restart"),
    ("top", "<cputune><vcpusched vcpus='0' scheduler='fifo' priority='1'/></cputune>", "fifo"),
    ("top", "<cputune><cachetune vcpus='0'/></cputune>", "cachetune"),
    ("top", "<commandline><arg value='-s'/></commandline>", "commandline"),
]
CARRIED = [
    ("device", "<watchdog model='itco' action='reset'/>"),
    ("device", "<vsock model='virtio'><cid auto='yes' address='3'/></vsock>"),
    ("device", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"),
    ("device", "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"),
    ("device", "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>"),
    ("device", "<video><model type='virtio' heads='1' primary='yes'/></video>"),
    ("device", "<serial type='pty'><target type='isa-serial' port='0'/></serial>"),
    ("device", "<memory model='dimm'><target><size unit='MiB'>0</size><node>0</node></target></memory>"),
    ("device", "<panic model='isa'/>"),
    ("top", "<sysinfo type='smbios'><system><entry name='serial'>a/b</entry></system></sysinfo>"),
    ("top", "<resource><partition>/machine/production</partition></resource>"),
    ("top", "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"),
    ("top", "<metadata><o:x xmlns:o='urn:o'>/etc/shadow</o:x></metadata>"),
    ("top", "<title>a/b</title>"),
    ("os", "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/a.fd</loader>"),
]


@pytest.mark.parametrize(("place", "part", "word"), REFUSED)
@pytest.mark.parametrize("running", [True, False])
def test_what_is_a_hosts_own_is_refused_by_its_name(place: str, part: str, word: str, running: bool) -> None:
    """In the running VM and in its definition alike."""
    with_it = xml(**{place: part})
    found = run(OF_MOVE, case(proposal(with_it) if running else proposal(persistent=with_it)))
    blocking = [finding for finding in found if finding.severity is Severity.BLOCKS]
    assert any(word in finding.detail for finding in blocking), [finding.detail for finding in found]
    assert all(finding.remedy for finding in blocking)


@pytest.mark.parametrize(("place", "part"), CARRIED)
def test_what_is_the_vms_own_goes_along(place: str, part: str) -> None:
    with_it = xml(**{place: part})
    judged = case(proposal(with_it))
    assert run(OF_MOVE, judged) == []
    for planned in (judged.plan.live_xml, judged.plan.persistent_xml):
        assert part.split()[0].strip("<>").split(">")[0] in planned
