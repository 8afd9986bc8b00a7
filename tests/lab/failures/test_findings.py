"""The checks that test_check.py leaves: each fault made for real, found, and not found any more when it is gone.

All use one guest that runs, and for what no guest of the lab could run with, a VM that is only defined: its checks go
on beside the one that says so.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.conftest import RELEASES
from tests.lab.faults import changed, mounted, refusals, restart_daemon, restart_libvirt, without, written
from tests.lab.harness import Pair, begin
from tests.lab.steps import check_only_on, told

import vmferry
from vmferry.core.errors import Exit
from vmferry.lab import image
from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import Guest, GuestDisk
from vmferry.transfer.transport import hello

pytestmark = pytest.mark.lab

GUEST = Guest(busy=8, rate=1, disks=(GuestDisk(size=128, filled=8),))
OFF = "web02"
FOLDER = "/var/lib/libvirt/images/other"  # of the second host

_XML = """\
<domain type='qemu'>
  <name>web02</name>
  <memory unit='MiB'>64</memory>
  {more}
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>pti=on</cmdline>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""

# These change files of the system, which both hosts share as long as neither has a root of its own.
ALIKE = pytest.mark.skipif(bool(RELEASES), reason="the hosts are of two releases")


@pytest.fixture(scope="module")
def pair(paired: Pair) -> Iterator[Pair]:
    """The two hosts, with one guest for all tests."""
    paired.clean()
    with paired.observing():
        paired.start(GUEST)
        yield paired
        check_only_on(paired, GUEST, paired.one)
    paired.clean()


@pytest.fixture(autouse=True)
def _gone(pair: Pair) -> Iterator[None]:
    """Assert that a check is silent when the test has taken its fault away."""
    yield
    assert found(pair) == {}


def found(pair: Pair, *options: str, vm: str = GUEST.name) -> dict[str, str]:
    """Return the codes that a check finds, each with its severity, and see that the exit code is theirs."""
    words = ["vmferry", "--output", "json", "vm", "check", vm, "kvm2", "--include-storage", *options]
    done = pair.one.run(*words, check=False)
    assert done.stdout, done.stderr
    findings = told(json.loads(done.stdout))
    blocks = any(finding["severity"] == "blocks" for finding in findings)
    assert done.returncode == (Exit.PREFLIGHT if blocks else Exit.DONE)
    assert all("{" not in finding["detail"] + finding["remedy"] for finding in findings)
    return {finding["code"]: finding["severity"] for finding in findings}


def xml(pair: Pair, devices: str = "", more: str = "") -> str:
    kernel, initramfs = image.prepare(pair.lab.layout)
    return _XML.format(kernel=kernel, initramfs=initramfs, devices=devices, more=more)


def off(pair: Pair, devices: str = "", more: str = "") -> dict[str, str]:
    """Return what a check finds of a VM that is only defined, with these elements in its XML."""
    pair.one.run("virsh", "define", "/dev/stdin", text=xml(pair, devices, more))
    try:
        codes = found(pair, vm=OFF)
        assert codes.pop("vm-not-running") == "blocks"
        return codes
    finally:
        pair.one.run("virsh", "undefine", OFF)


@contextmanager
def folder(pair: Pair) -> Iterator[None]:
    pair.two.run("mkdir", FOLDER)
    try:
        yield
    finally:
        pair.two.run("rmdir", FOLDER)


@contextmanager
def left_over(pair: Pair, vm: str) -> Iterator[None]:
    """Have a VM on the first host that libvirt would not define there, now: what was defined before, it keeps."""
    (pair.one.home / "libvirt-etc" / "qemu" / f"{OFF}.xml").write_text(vm)
    restart_libvirt(pair.one)
    try:
        yield
    finally:
        pair.one.run("virsh", "undefine", OFF)


@contextmanager
def configured_libvirt(host: LabHost, line: str) -> Iterator[None]:
    """Add a line to the qemu.conf of a host's libvirt."""
    settings = host.home / "libvirt-etc" / "qemu.conf"
    try:
        with written(settings, f"{settings.read_text()}{line}\n"):
            restart_libvirt(host)
            yield
    finally:
        restart_libvirt(host)


def test_a_vm_that_is_only_defined_has_nothing_else(pair: Pair) -> None:
    assert off(pair) == {}


def test_a_uuid_that_is_taken(pair: Pair) -> None:
    uuid = pair.one.run("virsh", "domuuid", GUEST.name).stdout.strip()
    domain = f"<domain type='qemu'><name>copy</name><uuid>{uuid}</uuid><memory>65536</memory><os><type>hvm</type></os>"
    pair.two.run("virsh", "define", "/dev/stdin", text=f"{domain}</domain>")
    try:
        assert found(pair) == {"uuid-taken": "blocks"}
    finally:
        pair.two.run("virsh", "undefine", "copy")


def test_a_console_that_is_written_to_a_file_of_the_host(pair: Pair) -> None:
    assert off(pair, "<serial type='file'><source path='/var/log/console'/></serial>") == {"device-forbidden": "blocks"}


@pytest.mark.parametrize(
    "device",
    [
        "<hostdev mode='subsystem' type='pci'><source><address bus='1' slot='0'/></source></hostdev>",
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1d6b'/><product id='2'/></source></hostdev>",
        "<serial type='dev'><source path='/dev/ttyS0'/></serial>",
    ],
    ids=["pci", "usb", "console"],
)
def test_a_device_of_the_host(pair: Pair, device: str) -> None:
    assert off(pair, device) == {"device-host-bound": "blocks", "device-forbidden": "blocks"}


@ALIKE
def test_what_libvirt_there_is_not_set_up_for(pair: Pair) -> None:
    device = "<graphics type='spice' tlsPort='5999'/><video><model type='vga'/></video>"
    with configured_libvirt(pair.one, "spice_tls = 1"):
        assert off(pair, device) == {"libvirt-refused": "blocks"}
        with configured_libvirt(pair.two, "spice_tls = 1"):
            assert off(pair, device) == {}


def test_a_program_and_a_socket_at_places_of_the_sources_own(pair: Pair) -> None:
    program = "/var/lib/libvirt/images/kvm-spice"
    channel = (
        "<channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/web02.agent'/>"
        "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    )
    pair.one.run("ln", "-s", "/usr/bin/qemu-system-x86_64", program)
    vm = xml(pair, channel).replace("/usr/bin/qemu-system-x86_64", program)
    pair.one.run("virsh", "define", "/dev/stdin", text=vm)
    try:
        seen = found(pair, vm=OFF)
        assert seen == {"vm-not-running": "blocks", "emulator-other": "warns", "socket-moved": "warns"}
    finally:
        pair.one.run("virsh", "undefine", OFF)
        pair.one.run("rm", program)


def test_files_to_start_from_that_are_missing(pair: Pair) -> None:
    with mounted(pair.two, str(pair.lab.layout.cache)):
        assert found(pair) == {"boot-file-missing": "blocks"}


@ALIKE
def test_an_emulated_tpm(pair: Pair) -> None:
    vm = xml(pair, "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>")
    with left_over(pair, vm), without(pair.two, "swtpm"):
        assert found(pair, vm=OFF) == {"vm-not-running": "blocks", "tpm-missing": "blocks"}


@ALIKE
def test_a_cpu_that_is_its_hosts(pair: Pair) -> None:
    vm = xml(pair, more="<cpu mode='host-model'/>").replace("'qemu'", "'kvm'", 1)
    # All hosts here have one processor: to the source's libvirt its own looks like one without a feature.
    feature = "<feature name='ht'>\n    <cpuid eax_in='0x01' edx='{}'/>"
    ht, reserved = feature.format("0x10000000"), feature.format("0x00000400")
    try:
        with changed(pair.one, "/usr/share/libvirt/cpu_map/x86_features.xml", ht, reserved), left_over(pair, vm):
            assert found(pair, vm=OFF)["cpu-no-way-back"] == "warns"
    finally:
        restart_libvirt(pair.one)
    with left_over(pair, vm):
        assert "cpu-no-way-back" not in found(pair, vm=OFF)


def test_a_network_that_is_not_active(pair: Pair) -> None:
    network = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>"
    device = "<interface type='network'><source network='lan'/></interface>"
    for host in pair.hosts:
        host.run("virsh", "net-define", "/dev/stdin", text=network)
    try:
        assert off(pair, device) == {"network-inactive": "blocks"}
        pair.two.run("virsh", "net-start", "lan")
        assert off(pair, device) == {}
        pair.two.run("virsh", "net-destroy", "lan")
    finally:
        for host in pair.hosts:
            host.run("virsh", "net-undefine", "lan")


def test_a_folder_that_is_closed_to_qemu(pair: Pair) -> None:
    with folder(pair):
        pair.two.run("chmod", "0700", FOLDER)
        assert found(pair, "--storage-path", FOLDER) == {"storage-path-unreachable": "warns"}
        pair.two.run("chmod", "0711", FOLDER)
        assert found(pair, "--storage-path", FOLDER) == {}


def test_a_file_system_without_direct_io(pair: Pair) -> None:
    path = GUEST.disks[0].path(OFF)
    pair.one.run("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    disk = (
        f"<disk type='file'><driver name='qemu' type='qcow2' cache='none'/><source file='{path}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )
    try:
        with mounted(pair.two, "/var/lib/libvirt/images", kind="ramfs"):
            # ramfs does not tell how much is free, either.
            assert off(pair, disk) == {"storage-no-direct-io": "blocks", "storage-full": "blocks"}
        assert off(pair, disk) == {}
    finally:
        pair.one.run("rm", path)


def test_huge_pages(pair: Pair) -> None:
    assert off(pair, more="<memoryBacking><hugepages/></memoryBacking>") == {"huge-pages-short": "blocks"}
    assert off(pair, more="<iothreads>200</iothreads>") == {"amount-excessive": "blocks"}


def test_two_hosts_of_one_name(pair: Pair) -> None:
    pair.two.run("hostname", "kvm1")
    try:
        assert found(pair) == {"same-hostname": "warns"}
    finally:
        pair.two.run("hostname", "kvm2")


@ALIKE
def test_another_release_of_vmferry(pair: Pair) -> None:
    assert vmferry.__file__ is not None
    try:
        with changed(pair.two, vmferry.__file__, vmferry.__version__, "0.0.1"):
            restart_daemon(pair.two)
            assert found(pair) == {"vmferry-differs": "warns"}
    finally:
        restart_daemon(pair.two)


@ALIKE
def test_a_release_of_vmferry_that_speaks_another_version(pair: Pair) -> None:
    assert hello.__file__ is not None
    with changed(pair.two, hello.__file__, "VERSIONS = (1,)", "VERSIONS = (2,)"):
        job = begin(pair.one, GUEST.name, "kvm2", "--include-storage")
        ended = pair.wait_end(pair.one, job)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "version-differs")
        pair.wait_end(pair.two, job)
    check_only_on(pair, GUEST, pair.one)


@pytest.mark.quiet
def test_a_pause_that_is_longer_than_asked_for(pair: Pair) -> None:
    assert found(pair, "--max-downtime", "30ms") == {"downtime-exceeded": "warns"}
    assert found(pair, "--max-downtime", "30s") == {}


@pytest.mark.quiet
def test_one_measurement_at_a_time(pair: Pair) -> None:
    request = "BandwidthRequest(certificate=certificate, encryption='required', networks=[])"
    assert refusals(pair.one, "kvm2", f"client.measure({request})", 2) == ["bandwidth-unmeasured"]
