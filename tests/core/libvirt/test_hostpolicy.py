import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.rpc import captured

from vmferry.config import Config
from vmferry.core.libvirt.hostpolicy import Policy, inside, strays, violations

pytest.importorskip("libvirt")
from vmferry.hypervisor.snapshot import policy

POLICY = Policy(
    emulators=("/usr/bin/qemu-system-x86_64",),
    disk_folders=("/var/lib/libvirt/images", "/tmp/try-guard/shared"),
    boot_folders=("/boot", "/tmp/try-guard"),
    log_folders=("/var/log/libvirt/gd", "/var/log/libvirt/qemu"),
    ports=((6610, 6659), (6601, 6601)),
)
WITH_USER = replace(POLICY, networks=("*", "user"))
UUID = "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"
PLAIN = """<domain type='kvm'><name>web01</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>OS</os>TOP
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>DEVICE</devices></domain>"""


def with_part(part: str, at: str = "DEVICE") -> str:
    return re.sub("OS|TOP|DEVICE", lambda found: part if found[0] == at else "", PLAIN)


@pytest.mark.parametrize("move", captured.MOVES)
def test_real_domains_are_allowed(move: str) -> None:
    capture = captured.load(move)
    for xml in (capture.live_xml, capture.dest_xml, capture.persistent_xml):
        assert violations(xml, WITH_USER) == []


ALLOWED_DEVICES = [
    "<disk type='file'><driver name='qemu' type='raw' io='native' cache='none' discard='unmap'/>"
    "<source file='/var/lib/libvirt/images/a/b.raw' index='1'/><backingStore/><target dev='vda'/></disk>",
    "<disk type='block' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>",
    "<disk type='file' device='cdrom'><source startupPolicy='optional'/><target dev='sda'/></disk>",
    "<interface type='bridge'><source bridge='br0'/><vlan><tag id='4'/></vlan><mtu size='9000'/></interface>",
    "<interface type='network'><source network='lan' portgroup='a'/><virtualport type='openvswitch'>"
    "<parameters interfaceid='1'/></virtualport><filterref filter='clean-traffic'/></interface>",
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
    "<serial type='pty'><source path='/dev/pts/3'/></serial>",
    "<serial type='file'><source path='/var/log/libvirt/gd/web01.log'/></serial>",
    "<redirdev bus='usb' type='spicevmc'><address type='usb' bus='0' port='2'/></redirdev>",
    "<rng model='virtio'><backend model='random'>/dev/urandom</backend><rate bytes='1'/></rng>",
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
    "<serial type='file'><source path='/var/log/libvirt/qemu/web01-serial0.log'/></serial>",
    "<serial type='pty'><log file='/var/log/libvirt/qemu/web01-console.log' append='on'/></serial>",
    "<graphics type='vnc' port='5905' autoport='no' listen='0.0.0.0'/>",
    "<graphics type='vnc' port='-1' autoport='yes' websocket='-1'/>",
    "<interface type='network'><source network='lan'/><teaming type='persistent'/></interface>",
    "<tpm><backend type='emulator' debug='3'><profile name='default-v1'/></backend></tpm>",
    "<graphics type='spice' autoport='yes'><listen type='socket'/><image compression='off'/></graphics>",
    "<memory model='dimm'><target><size unit='KiB'>1</size><node>0</node></target></memory>",
]


@pytest.mark.parametrize("device", ALLOWED_DEVICES)
def test_harmless_devices_are_allowed(device: str) -> None:
    assert violations(with_part(device), POLICY) == []


FORBIDDEN_DEVICES = [
    ("<emulator>/bin/sh</emulator>", "/bin/sh is not one of this host's emulators"),
    ("<emulator> /usr/bin/qemu-system-x86_64</emulator>", "emulators"),
    (
        "<disk type='file'><source file='/etc/shadow'/></disk>",
        "/etc/shadow is not in this host's disk_folders",
    ),
    ("<disk type='file'><source file='/var/lib/libvirt/images/../x'/></disk>", "disk_folders"),
    ("<disk type='file'><source file='/var/lib/libvirt/images'/></disk>", "disk_folders"),
    ("<disk type='file'><source file='/var/lib/libvirt/images2/x'/></disk>", "disk_folders"),
    ("<disk type='file'><source file='images/x'/></disk>", "disk_folders"),
    ("<disk type='file'><source file=''/></disk>", "disk_folders"),
    ("<disk type='file'><source/></disk>", "names no file"),
    ("<disk type='block'><source dev='/dev/sda'/></disk>", "type block is not allowed"),
    ("<disk type='network'><source protocol='nbd' name='/x'/></disk>", "type network is not allowed"),
    ("<disk type='volume'><source pool='p' volume='v'/></disk>", "type volume is not allowed"),
    ("<disk type='dir'><source dir='/etc'/></disk>", "type dir is not allowed"),
    (
        "<disk type='vhostuser'><source type='unix' path='/run/x'/></disk>",
        "attribute path",
    ),
    ("<disk type='nvme'><source type='pci'/></disk>", "type nvme"),
    ("<disk type='file' device='lun'><source file='/var/lib/libvirt/images/x'/></disk>", "device lun"),
    ("<disk type='file'><driver name='qemu' type='vmdk'/></disk>", "driver@type vmdk"),
    (
        "<disk type='file'><backingStore type='file'><source file='/etc/shadow'/></backingStore></disk>",
        "backingStore",
    ),
    ("<disk type='file'><mirror type='file' file='/etc/x'/></disk>", "disk/mirror"),
    ("<disk type='file'><source><dataStore/></source></disk>", "dataStore"),
    ("<disk type='file'><source><reservations managed='yes'/></source></disk>", "reservations"),
    ("<disk type='file'><encryption format='luks'/></disk>", "encryption"),
    ("<hostdev mode='subsystem' type='pci'/>", "<devices/hostdev> is not allowed"),
    ("<filesystem type='mount'><source dir='/'/></filesystem>", "devices/filesystem"),
    ("<filesystem type='mount'><driver type='virtiofs'/></filesystem>", "devices/filesystem"),
    ("<redirdev bus='usb' type='tcp'/>", "redirdev@type tcp"),
    ("<smartcard mode='host'/>", "smartcard@mode host"),
    ("<smartcard mode='passthrough' type='tcp'/>", "smartcard@type tcp"),
    ("<shmem name='x'/>", "devices/shmem"),
    ("<lease/>", "devices/lease"),
    ("<pstore backend='acpi-erst'><path>/x</path></pstore>", "devices/pstore"),
    ("<interface type='ethernet'><target dev='eth0'/></interface>", "device eth0"),
    ("<interface type='vhostuser'/>", "interface@type vhostuser"),
    ("<interface type='direct'><source dev='eth0'/></interface>", "interface@type direct"),
    ("<interface type='hostdev'/>", "interface@type hostdev"),
    ("<interface type='user'/>", "of type user reaches this host's own services"),
    ("<graphics type='vnc' port='22'/>", "graphics@port 22 is no port from 5900 on"),
    ("<graphics type='vnc' port='6601'/>", "graphics@port 6601 is a port of vmferry's"),
    ("<graphics type='spice' port='5900' tlsPort='6650'/>", "graphics@tlsPort 6650 is a port of vmferry's"),
    ("<graphics type='vnc' port='x'/>", "is no port from 5900 on"),
    ("<graphics type='vnc' port='99999999999'/>", "is no port from 5900 on"),
    ("<graphics type='vnc' port='\u0665900'/>", "is no port from 5900 on"),
    ("<serial type='file'><source path='/var/log/libvirt/qemu/db01.log'/></serial>", "not named after the VM and its"),
    ("<serial type='file'><source path='/var/log/libvirt/qemu/web01.log'/></serial>", "not named after the VM and its"),
    ("<serial type='pty'><log file='/var/log/libvirt/qemu/web01-serial/../x'/></serial>", "log_folders"),
    ("<interface type='bridge'><script path='/tmp/x'/></interface>", "interface/script"),
    ("<interface type='bridge'><backend tap='/tmp/x'/></interface>", "interface/backend"),
    ("<interface type='bridge'><target dev='tap0' managed='no'/></interface>", "attribute managed"),
    ("<interface type='bridge'><rom file='/etc/shadow'/></interface>", "boot_folders"),
    ("<serial type='dev'><source path='/dev/ttyS0'/></serial>", "serial@type dev"),
    ("<serial type='file'><source path='/etc/cron.d/x'/></serial>", "log_folders"),
    ("<serial type='pipe'><source path='/x'/></serial>", "serial@type pipe"),
    ("<serial type='tcp'><source mode='bind' host='0.0.0.0' service='1'/></serial>", "serial@type tcp"),
    ("<serial type='unix'><source mode='connect' path='/run/libvirt/libvirt-sock'/></serial>", "unix"),
    ("<serial type='pty'><source path='/etc/shadow'/></serial>", "not chosen by libvirt"),
    ("<serial type='pty'><log file='/etc/cron.d/x'/></serial>", "log_folders"),
    (
        "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/x'/></channel>",
        "not chosen by libvirt",
    ),
    ("<channel type='unix'><source mode='connect'/></channel>", "source@mode connect"),
    ("<channel type='dbus'/>", "channel@type dbus"),
    ("<rng><backend model='random'>/etc/shadow</backend></rng>", "/etc/shadow is not /dev/urandom"),
    ("<rng><backend model='egd' type='udp'/></rng>", "backend@model egd"),
    ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "passthrough"),
    ("<graphics type='sdl'/>", "graphics@type sdl"),
    ("<graphics type='vnc' socket='/x'/>", "attribute socket"),
    ("<graphics type='vnc'><listen type='socket' socket='/x'/></graphics>", "attribute socket"),
    ("<graphics type='spice'><gl enable='yes' rendernode='/dev/dri/x'/></graphics>", "attribute rendernode"),
    ("<graphics type='egl-headless'/>", "graphics@type egl-headless"),
    ("<video><driver name='vhostuser'/></video>", "driver@name vhostuser"),
    ("<input type='evdev'><source dev='/dev/input/event1'/></input>", "input@type evdev"),
    ("<input type='passthrough' bus='virtio'/>", "input@type passthrough"),
    ("<audio id='1' type='alsa'/>", "audio@type alsa"),
    ("<memory model='nvdimm'><source><path>/x</path></source></memory>", "memory@model nvdimm"),
    ("<memory model='virtio-pmem'/>", "virtio-pmem"),
    ("<qemu:thing xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'/>", "qemu:thing"),
    ("<disk type='file'><alias name='/etc/x'/></disk>", "a path where none is expected"),
    ("<new-device/>", "<devices/new-device> is not allowed"),
]


@pytest.mark.parametrize(("device", "reason"), FORBIDDEN_DEVICES)
def test_what_reaches_into_the_host_is_refused(device: str, reason: str) -> None:
    assert reason in "; ".join(violations(with_part(device), POLICY))


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<devices/>", "it has 2 <devices>"),
        ("<qemu:commandline xmlns:qemu='x'><qemu:arg value='-S'/></qemu:commandline>", "qemu:commandline"),
        ("<launchSecurity type='sev'/>", "<launchSecurity> is not allowed"),
        ("<seclabel type='none'/>", "seclabel@type none"),
        ("<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>", "seclabel@type static"),
        ("<seclabel type='dynamic'><baselabel>x</baselabel></seclabel>", "baselabel"),
        ("<resource><partition>/system.slice</partition></resource>", "not below /machine"),
        ("<resource><partition>/machine/../x</partition></resource>", "not below /machine"),
        ("<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>", "attribute file"),
        ("<blkiotune><device><path>/dev/sda</path></device></blkiotune>", "blkiotune/device"),
        ("<clock offset='timezone' timezone='../../etc/passwd'/>", "not a time zone"),
        ("<bootloader>/x</bootloader>", "<bootloader> is not allowed"),
        ("<cputune><vcpusched vcpus='0' scheduler='fifo' priority='99'/></cputune>", "vcpusched"),
        ("<cputune><emulatorsched scheduler='rr'/></cputune>", "emulatorsched"),
        ("<on_crash>coredump-restart</on_crash>", "on_crash coredump-restart is not allowed"),
        ("<sysinfo type='fwcfg'><entry name='opt/ovmf/X'>x</entry></sysinfo>", "no name for an entry of fw_cfg"),
        ("<sysinfo type='fwcfg'><entry name='/etc/shadow'>x</entry></sysinfo>", "no name for an entry of fw_cfg"),
        ("<uuid>x</uuid><uuid>y</uuid>", "it has 2 <uuid>"),
        ("<name>other</name>", "it has 2 <name>"),
        ("<features><acpi path='/etc/x'/></features>", "a path where none is expected"),
        ("text", "text between its elements"),
    ],
)
def test_what_reaches_past_the_devices_is_refused(part: str, reason: str) -> None:
    assert reason in "; ".join(violations(with_part(part, "TOP"), POLICY))


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<kernel>/boot/vmlinuz</kernel><cmdline>root=/dev/vda</cmdline>", None),
        ("<kernel>/etc/shadow</kernel>", "not in this host's boot_folders"),
        ("<initrd>/boot/../etc/shadow</initrd>", "not in this host's boot_folders"),
        ("<dtb>/etc/shadow</dtb>", "boot_folders"),
        ("<loader type='pflash'>/etc/shadow</loader>", "boot_folders"),
        ("<loader type='pflash'>/boot/fw.fd</loader>", "flash that the VM can write to"),
        ("<loader readonly='no' type='pflash'>/boot/fw.fd</loader>", "flash that the VM can write to"),
        ("<loader readonly='yes' secure='yes' type='pflash'>/boot/fw.fd</loader>", None),
        ("<loader>/boot/fw.bin</loader>", None),
        ("<nvram template='/etc/shadow'/>", "boot_folders"),
        ("<nvram>/var/lib/libvirt/qemu/nvram/web01_VARS.fd</nvram>", None),
        ("<nvram>/var/lib/libvirt/qemu/nvram/web02_VARS.fd</nvram>", "not named after the VM (web01_VARS.fd)"),
        ("<nvram type='file'><source file='/etc/shadow'/></nvram>", "not in this host's nvram_folders"),
        ("<nvram>/var/lib/libvirt/qemu/nvram/UUID.fd</nvram>", None),
        ("<nvram>/var/lib/libvirt/qemu/nvram/web01.nvram.fd</nvram>", None),
        ("<nvram>/var/lib/libvirt/qemu/nvram/web012_VARS.fd</nvram>", "not named after the VM"),
        ("<nvram>/var/lib/libvirt/qemu/nvram/.fd</nvram>", "not named after the VM"),
        ("<smbios mode='host'/>", "os/smbios@mode host is not allowed"),
        ("<smbios mode='sysinfo'/>", None),
        ("<nvram type='block'/>", "os/nvram@type block"),
        ("<acpi><table type='slic'>/etc/shadow</table></acpi>", "boot_folders"),
        ("<init>/sbin/init</init>", "<os/init> is not allowed"),
        ("<type>exe</type>", "exe is not allowed, only hvm"),
    ],
)
def test_boot_files_are_bounded(part: str, reason: str | None) -> None:
    xml = with_part(part.replace("UUID", UUID), "OS").replace("<memory", f"<uuid>{UUID}</uuid><memory")
    found = "; ".join(violations(xml, POLICY))
    assert reason in found if reason else not found


HARMLESS = [
    "<sysinfo type='fwcfg'><entry name='opt/com.coreos/config'>{\"ignition\": \"/\"}</entry></sysinfo>",
    "<memoryBacking><source type='file'/></memoryBacking>",
    "<cputune><vcpusched vcpus='0' scheduler='batch'/></cputune>",
    "<idmap><uid start='0' target='1000' count='1'/></idmap>",
    "<features><hyperv><vendor_id state='on' value='a/b'/></hyperv></features>",
    "<on_crash>destroy</on_crash>",
]


@pytest.mark.parametrize("part", HARMLESS)
def test_what_names_nothing_of_the_host_is_allowed(part: str) -> None:
    assert violations(with_part(part, "TOP"), POLICY) == []


@pytest.mark.parametrize(
    ("part", "at", "setting", "allowed"),
    [
        ("<loader>/opt/fw/a.fd</loader>", "OS", "boot_folders", {"boot_folders": ("/opt/fw",)}),
        ("<nvram>/opt/vars/web01_VARS.fd</nvram>", "OS", "nvram_folders", {"nvram_folders": ("/opt/vars",)}),
        ("<emulator>/opt/qemu</emulator>", "DEVICE", "emulators", {"emulators": ("/opt/qemu", *POLICY.emulators)}),
        (
            "<serial type='file'><source path='/opt/log/x'/></serial>",
            "DEVICE",
            "log_folders",
            {"log_folders": ("/opt/log",)},
        ),
        (
            "<serial type='pty'><log file='/opt/log/x'/></serial>",
            "DEVICE",
            "log_folders",
            {"log_folders": ("/opt/log",)},
        ),
        ("<disk type='file'><source file='/opt/d/x'/></disk>", "DEVICE", "disk_folders", {"disk_folders": ("/opt/d",)}),
        ("<interface type='user'/>", "DEVICE", "allowed_networks", {"networks": ("*", "user")}),
    ],
)
def test_what_a_setting_is_named_for_it_allows(
    part: str, at: str, setting: str, allowed: dict[str, tuple[str, ...]]
) -> None:
    xml = with_part(part, at)
    if setting == "emulators":
        xml = xml.replace(f"<emulator>{POLICY.emulators[0]}</emulator>", "")
    (found,) = violations(xml, POLICY)
    assert found.setting == setting
    assert violations(xml, replace(POLICY, **allowed)) == []  # type: ignore[arg-type]


def test_networks_can_be_listed() -> None:
    listed = replace(POLICY, networks=("lan", "br0"))
    for source in ("network='lan'", "bridge='br0'"):
        kind = source.partition("=")[0]
        assert violations(with_part(f"<interface type='{kind}'><source {source}/></interface>"), listed) == []
    (found,) = violations(with_part("<interface type='bridge'><source bridge='br1'/></interface>"), listed)
    assert (found.setting, str(found)) == (
        "allowed_networks",
        "devices/interface/source@bridge br1 is not in this host's allowed_networks (lan, br0)",
    )


def test_the_settings_have_the_usual_places_of_distributions() -> None:
    config = Config(name="kvm2")
    for xml in (
        "<loader>/usr/share/ovmf/OVMF.fd</loader>",
        "<loader>/usr/share/edk2-ovmf/x64/OVMF_CODE.fd</loader>",
        "<loader>/run/libvirt/nix-ovmf/OVMF_CODE.fd</loader>",
        "<nvram>/var/lib/libvirt/qemu/nvram/web01_VARS.fd</nvram>",
    ):
        assert violations(with_part(xml, "OS"), policy(config)) == []
    assert violations(with_part("<initrd>/boot/initrd.img-6.1.0</initrd>", "OS"), policy(config)) != []
    for emulator in ("/usr/bin/kvm-spice", "/usr/bin/qemu-system-i386", "/run/libvirt/nix-emulators/qemu-kvm"):
        plain = PLAIN.replace("/usr/bin/qemu-system-x86_64", emulator)
        assert violations(re.sub("OS|TOP|DEVICE", "", plain), policy(config)) == []


def test_metadata_is_free_and_other_namespaces_are_not() -> None:
    assert violations(with_part("<metadata><v:x xmlns:v='u' v:p='/etc'>/x</v:x></metadata>", "TOP"), POLICY) == []
    foreign = PLAIN.replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ")
    assert "attribute xmlns:qemu" in "; ".join(violations(foreign, POLICY))
    default = PLAIN.replace("<domain ", "<domain xmlns='http://example.org' ")
    assert "attribute xmlns" in "; ".join(violations(default, POLICY))


@given(st.sampled_from(["hostdev", "disk", "serial", "interface", "features"]), st.text(max_size=60))
def test_a_path_is_inside_only_by_its_plain_text(folder: str, tail: str) -> None:
    path = f"/{folder}/{tail}"
    if inside(path, (f"/{folder}",)):
        parts = path.split("/")[1:]
        assert parts[0] == folder
        assert not {"", ".", ".."} & set(parts)
        assert "\n" not in path


@given(st.sampled_from(ALLOWED_DEVICES), st.sampled_from(FORBIDDEN_DEVICES))
def test_a_harmless_device_hides_no_other(good: str, bad: tuple[str, str]) -> None:
    assert violations(with_part(good + bad[0]), POLICY)
    assert violations(with_part(bad[0] + good), POLICY)


GRANTED = {"vda": ("/var/lib/libvirt/images/web01.qcow2", "qcow2")}
WEB01 = (
    "<disk type='file'><driver type='qcow2'/><source file='/var/lib/libvirt/images/web01.qcow2'/>"
    "<target dev='vda'/></disk><disk type='file' device='cdrom'><target dev='sda'/></disk>"
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("vda", "vda", None),
        ("web01", "db01", "its disk vda (/var/lib/libvirt/images/db01.qcow2, qcow2) is not moved with it"),
        ("vda", "vdb", "its disk vdb"),
        ("type='qcow2'", "type='raw'", "its disk vda (/var/lib/libvirt/images/web01.qcow2, raw)"),
        ("sda", "vda", "two disks vda"),
        ("file='", "pool='p' volume='", "its disk vda (/var/lib/libvirt/images/web01.qcow2, qcow2)"),
        ("<target dev='sda'/>", "<source file='/x.iso'/><target dev='sda'/>", "its disk sda (/x.iso, raw)"),
    ],
)
def test_a_disk_that_is_not_moved_is_a_stray(old: str, new: str, reason: str | None) -> None:
    found = "; ".join(strays(with_part(WEB01.replace(old, new)), GRANTED))
    assert reason in found if reason else not found


def test_a_hostile_domain_gets_a_short_answer() -> None:
    assert len(violations(with_part("".join(f"<hostdev{n}/>" for n in range(9_000))), POLICY)) == 50


def test_an_interface_without_a_network_is_allowed_with_a_device_that_libvirt_makes() -> None:
    for device in ("", "<target dev='vnet3'/>"):
        assert (
            violations(with_part(f"<interface type='ethernet'>{device}<link state='down'/></interface>"), POLICY) == []
        )
    script = "<interface type='ethernet'><script path='/bin/true'/></interface>"
    assert violations(with_part(script), POLICY) != []
    managed = "<interface type='ethernet'><target dev='vnet3' managed='no'/></interface>"
    assert violations(with_part(managed), POLICY) != []
