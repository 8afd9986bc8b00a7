"""What libvirt knows of a VM besides its running configuration: found, fixed as the finding says, kept by a move."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.lab.conftest import RELEASES
from tests.lab.harness import LIMIT, Pair, begin, vmferry, wait, wait_phase
from tests.lab.steps import slow, told, wait_clean

from vmferry.core.libvirt import domainxml
from vmferry.lab.host import LabHost

pytestmark = pytest.mark.lab

VM = "bare 1"  # a name that a shell would take apart
FOLDER = "/var/lib/libvirt/images"
ROOT, OTHER, ISO = f"{FOLDER}/bare-root.qcow2", f"{FOLDER}/other.qcow2", f"{FOLDER}/one.iso"
# Firmware without anything to start: up at once, and enough for what is asked of libvirt here.
_XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>6b1f2f5e-6f0c-4c5e-9e43-0000000000{number:02x}</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""
# Emulated VMs are warned of, here as well; without an operating system there is nothing to lose.
ALWAYS = "emulated-guest-loses-writes"


def disk(path: str, target: str, kind: str = "qcow2") -> str:
    return (
        f"<disk type='file'><driver name='qemu' type='{kind}'/><source file='{path}'/>"
        f"<target dev='{target}' bus='virtio'/></disk>"
    )


def drive(path: str | None, target: str = "sda") -> str:
    source = f"<source file='{path}'/>" if path else ""
    return (
        f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='{target}' bus='sata'/><readonly/></disk>"
    )


def virsh(host: LabHost, *words: str, text: str | None = None) -> str:
    done = host.run("virsh", *words, text=text, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def image(host: LabHost, path: str, kind: str = "qcow2", size: str = "8M") -> None:
    host.run("qemu-img", "create", "-q", "-f", kind, path, size)


def define(host: LabHost, devices: str, name: str = VM, number: int = 1) -> None:
    virsh(host, "define", "/dev/stdin", text=_XML.format(name=name, number=number, devices=devices))


def look(pair: Pair, *options: str) -> dict[str, dict[str, Any]]:
    """Check the VM's move; returns the findings by code, but for the one that all emulated VMs have."""
    words = ["vmferry", "--output", "json", "vm", "check", VM, "kvm2", "--include-storage", *options]
    done = pair.one.run(*words, check=False)
    assert done.stdout, done.stderr
    findings = {finding["code"]: finding for finding in told(json.loads(done.stdout))}
    findings.pop(ALWAYS, None)
    return findings


def follow(pair: Pair, *codes: str) -> None:
    """Assert that a check finds these and nothing else, and carry the commands out that the findings name."""
    found = look(pair)
    assert set(found) == set(codes)
    for finding in found.values():
        for command in re.findall(r"`(virsh [^`]+)`", finding["remedy"]):
            done = pair.one.run("env", "EDITOR=true", "sh", "-c", command, check=False)  # `virsh edit` waits for one
            assert not done.returncode, (command, done.stderr)


def remedied(pair: Pair, *codes: str) -> None:
    """Follow what a check finds, and see that it finds nothing any more."""
    follow(pair, *codes)
    assert look(pair) == {}


@contextmanager
def running(pair: Pair, devices: str) -> Iterator[None]:
    define(pair.one, devices)
    virsh(pair.one, "start", VM)
    yield


def test_what_keeps_a_vm_is_remedied_by_the_commands_that_the_findings_name(pair: Pair) -> None:
    one = pair.one
    image(one, ROOT)
    image(one, ISO, "raw", "1M")
    with running(pair, disk(ROOT, "vda") + drive(ISO)):
        assert look(pair) == {}

        virsh(one, "suspend", VM)
        assert look(pair) == {}  # it is moved as it is
        virsh(one, "resume", VM)

        virsh(one, "managedsave", VM)
        virsh(one, "create", "/dev/stdin", text=virsh(one, "dumpxml", "--inactive", VM))
        remedied(pair, "vm-has-saved-state")

        virsh(one, "blockcopy", VM, "vda", f"{FOLDER}/copy.qcow2", "--transient-job")
        remedied(pair, "disk-has-block-job")

        virsh(one, "checkpoint-create-as", VM, "first")
        found = look(pair)
        assert set(found) == {"vm-has-snapshots"}
        virsh(one, "checkpoint-delete", VM, "first")
        assert look(pair) == {}

        virsh(one, "destroy", VM)
        remedied(pair, "vm-not-running")
        virsh(one, "destroy", VM)

        virsh(one, "start", VM)
        one.run("rm", ISO)
        follow(pair, "disk-file-missing", "device-forbidden")
        remedied(pair, "definition-drive-differs")

        image(one, OTHER)
        virsh(one, "attach-disk", VM, OTHER, "vdb", "--subdriver", "qcow2", "--config")
        remedied(pair, "definition-disk-differs")
        virsh(one, "attach-disk", VM, f"{FOLDER}/gone.qcow2", "vdb", "--subdriver", "qcow2", "--config")
        remedied(pair, "definition-disk-unsupported", "device-forbidden")
        virsh(one, "attach-interface", VM, "bridge", "br9", "--config")
        assert set(look(pair)) == {"definition-network-missing"}
        assert look(pair, "--map-network", "br9=br0") == {}
        virsh(one, "detach-interface", VM, "bridge", "--config")
        image(one, "/run/small/bare-root.qcow2")
        virsh(one, "attach-disk", VM, "/run/small/bare-root.qcow2", "vdb", "--subdriver", "qcow2", "--config")
        elsewhere = ["--storage-path", FOLDER]
        assert set(look(pair, *elsewhere)) == {"definition-disk-differs", "disks-same-path"}
        assert set(look(pair, *elsewhere, "--disk", f"next-vdb={OTHER}")) == {"definition-disk-differs"}
        virsh(one, "destroy", VM)

    define(one, disk(ROOT, "vda").replace("<target", "<transient/><target"))
    assert {"vm-not-running", "vm-not-migratable"} <= set(look(pair))


@pytest.mark.parametrize("pool", ["pool 1"])
def test_a_disk_of_a_storage_pool_that_was_stopped(pair: Pair, pool: str) -> None:
    one = pair.one
    image(one, ROOT)
    virsh(one, "pool-define-as", pool, "dir", "--target", FOLDER)
    virsh(one, "pool-start", pool)
    try:
        volume = disk(ROOT, "vda").replace("type='file'", "type='volume'", 1)
        volume = volume.replace(f"file='{ROOT}'", f"pool='{pool}' volume='{ROOT.rpartition('/')[2]}'")
        with running(pair, volume):
            assert set(look(pair)) == {"disk-volume-becomes-file"}
            virsh(one, "pool-destroy", pool)
            # The destination sees a disk that is not moved, too.
            follow(pair, "disk-file-missing", "device-forbidden")
            assert set(look(pair)) == {"disk-volume-becomes-file"}
    finally:
        for words in (("destroy", VM), ("pool-destroy", pool), ("pool-undefine", pool)):
            one.run("virsh", *words, check=False)


def test_a_display_needs_its_port_and_its_address(pair: Pair) -> None:
    vnc = "<graphics type='vnc' port='5950' autoport='no' listen='{}'/>"
    define(pair.two, vnc.format("127.0.0.2"), "other", 2)
    virsh(pair.two, "start", "other")
    with running(pair, vnc.format("127.0.0.1")):
        assert set(look(pair)) == {"display-port-taken"}
        virsh(pair.two, "destroy", "other")
        assert look(pair) == {}
        virsh(pair.one, "destroy", VM)
    define(pair.one, vnc.format("192.0.2.1"))
    assert set(look(pair)) == {"vm-not-running", "display-address-missing"}


NEEDS = """<interface type='bridge'><mac address='52:54:00:93:00:42'/><source bridge='br0'/>
<target dev='mig'/><filterref filter='lab'/></interface>
<interface type='network'><source network='lan9' portgroup='dmz'/></interface>
<vsock model='virtio'><cid auto='no' address='7'/></vsock>"""


def test_what_a_vm_takes_for_granted_is_looked_for(pair: Pair) -> None:
    one, two = pair.hosts
    image(one, ROOT)
    for name in ("b" * 250, "full"):
        one.run("qemu-img", "bitmap", "--add", ROOT, name)
    one.run("qemu-img", "bitmap", "--disable", ROOT, "full")
    text = _XML.format(name=VM, number=1, devices=disk(ROOT, "vda") + NEEDS)
    text = text.replace("<os>", "<vcpu cpuset='4000-4001'>1</vcpu><os>")
    text = text.replace("</domain>", "<seclabel type='dynamic' model='selinux' relabel='yes'/></domain>")
    virsh(one, "define", "/dev/stdin", text=text)
    define(two, NEEDS.replace("mig", "mig2"), "other", 2)
    virsh(two, "net-define", "/dev/stdin", text="<network><name>lan9</name><bridge name='virbr9'/></network>")
    virsh(one, "nwfilter-define", "/dev/stdin", text="<filter name='lab'/>")
    try:
        found = look(pair)
        assert set(found) == {
            "vm-not-running",
            "cpus-missing",
            "network-filter-missing",
            "network-portgroup-missing",
            "network-inactive",
            "interface-name-taken",
            "mac-taken",
            "vsock-cid-taken",
            "device-node-missing",
            "confinement-missing",
            "disk-bitmaps-stay",
            "disk-bitmap-name",
        }
        show, take = re.findall(r"`(virsh [^`]+)`", found["network-filter-missing"]["remedy"])
        shown = one.run("sh", "-c", show).stdout
        two.run("sh", "-c", take.replace("FILE", "/dev/stdin"), text=shown)
        one.run("sh", "-c", f"cd {FOLDER}; qemu-img bitmap --remove {ROOT} {'b' * 250}")
        # Without what it needs of a host, and as libvirt names it by itself, nothing is found.
        define(one, disk(ROOT, "vda") + "<interface type='bridge'><source bridge='br0'/></interface>")
        assert set(look(pair)) == {"vm-not-running", "disk-bitmaps-stay"}
        virsh(two, "undefine", "other")
        virsh(one, "define", "/dev/stdin", text=text)
        gone = {"network-filter-missing", "mac-taken", "vsock-cid-taken", "disk-bitmap-name"}
        assert set(look(pair)) == set(found) - gone
    finally:
        for host in pair.hosts:
            host.run("virsh", "nwfilter-undefine", "lab", check=False)
        two.run("virsh", "net-undefine", "lan9", check=False)


def defined(host: LabHost, name: str = VM) -> list[tuple[str, str | None]]:
    """Return the disks of a VM's definition: target and path."""
    found = domainxml.disks(virsh(host, "dumpxml", "--inactive", name))
    return [(one.target, one.path) for one in found]


def live(host: LabHost, name: str = VM) -> list[tuple[str, str | None]]:
    found = domainxml.disks(virsh(host, "dumpxml", name))
    return [(one.target, one.path) for one in found]


def test_a_definition_that_differs_is_carried_as_what_it_is(pair: Pair) -> None:
    """The drives and disks of the running VM, and those of the next start, are each what they were."""
    one, two = pair.hosts
    prepared, attached, second = f"{FOLDER}/prepared.qcow2", f"{FOLDER}/attached.qcow2", f"{FOLDER}/two.iso"
    image(one, ROOT)
    image(one, prepared, size="9M")
    one.run("qemu-io", "-c", "write -q -P 7 0 1M", prepared)
    image(one, attached, size="10M")
    image(one, ISO, "raw", "1M")
    image(one, second, "raw", "1M")
    drives = drive(ISO) + drive(ISO, "sdb")
    define(one, disk(ROOT, "vda") + drives)
    virsh(one, "start", VM)
    virsh(one, "change-media", VM, "sda", "--eject", "--live")
    virsh(one, "change-media", VM, "sdb", second, "--update", "--live")
    define(one, disk(prepared, "vda") + disk(attached, "vdb") + drives)

    done = one.run("vmferry", "vm", "move", VM, "kvm2", "--include-storage", check=False)
    told = done.stderr
    assert not done.returncode, told
    for path in (prepared, attached, ISO):
        assert path in told, told
    assert live(two) == [("vda", ROOT), ("sda", None), ("sdb", second)]
    assert defined(two) == [("vda", prepared), ("vdb", attached), ("sda", None), ("sdb", None)]
    two.run("qemu-io", "-r", "-c", "read -q -P 7 0 1M", prepared)
    assert one.run("ls", ISO).stdout.strip() == ISO
    # It is a definition to start from, and the next start has what was prepared for it.
    virsh(two, "destroy", VM)
    virsh(two, "start", VM)
    assert live(two)[:2] == [("vda", prepared), ("vdb", attached)]


FIRMWARE, TEMPLATE = "/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin"
NVRAM = "/var/lib/libvirt/qemu/nvram"
VARIABLES = f"{NVRAM}/{VM}_VARS.fd"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>"


def with_firmware(xml: str, path: str = VARIABLES) -> str:
    """Return a domain that starts from flash: what is in it does not matter, that it is two files does."""
    loader = f"<loader readonly='yes' type='pflash'>{FIRMWARE}</loader><nvram template='{TEMPLATE}'>{path}</nvram>"
    bare = re.sub("<loader.*</nvram>|<features>.*</features>", "", xml)
    return bare.replace("</os>", f"{loader}</os><features><acpi/></features>")


def content(host: LabHost, path: str) -> str:
    return host.run("sha256sum", path).stdout.split()[0]


def test_variables_of_the_firmware_and_a_tpm_come_along_and_do_not_stay(pair: Pair) -> None:
    one, two = pair.hosts
    image(one, ROOT, size="32M")
    one.run("qemu-io", "-c", "write -q -P 5 0 24M", ROOT)
    one.run("cp", FIRMWARE, "/run/variables")  # of the template's size, and another content
    one.run("sh", "-c", f"mkdir -p {NVRAM}; head -c 131072 /run/variables >'{VARIABLES}'")
    before = content(one, VARIABLES)
    tpm = TPM if not RELEASES else ""  # a newer host cannot set one up: its root is read-only
    xml = with_firmware(_XML.format(name=VM, number=1, devices=disk(ROOT, "vda") + tpm))
    virsh(one, "define", "/dev/stdin", text=xml)
    virsh(one, "start", VM)
    virsh(one, "define", "/dev/stdin", text=with_firmware(xml, f"{NVRAM}/{VM}.fd"))
    # What is there is somebody's until a person has looked.
    two.run("sh", "-c", f"mkdir -p {NVRAM}; echo mine >'{VARIABLES}'")
    found = look(pair)
    stays = {"tpm-state-stays"} if tpm else set()
    assert set(found) == {"definition-variables-differ", "firmware-variables-exist"} | stays
    two.run("sh", "-c", command(found["firmware-variables-exist"]))
    virsh(one, "define", "/dev/stdin", text=xml)
    two.run("mv", NVRAM, f"{NVRAM}.away")
    found = look(pair)
    assert set(found) == {"firmware-variables-unplaced"} | stays
    two.run("sh", "-c", command(found["firmware-variables-unplaced"]))

    # Given up in mid-copy, when QEMU there has the file open already.
    slow(pair, "16mbit")
    job = begin(one, VM, "kvm2", "--include-storage")
    wait(lambda: two.run("virsh", "domstate", VM, check=False).returncode == 0, LIMIT, "the copy to be there")
    two.run("ls", VARIABLES)
    vmferry(one, "job", "cancel", job)
    assert [pair.wait_end(host, job)["state"] for host in pair.hosts] == ["cancelled"] * 2
    slow(pair, None)
    assert content(one, VARIABLES) == before
    assert two.run("ls", NVRAM).stdout == ""

    job = begin(one, VM, "kvm2", "--include-storage")
    ended = pair.wait_end(one, job)
    assert (ended["state"], ended["summary"]["left"]) == ("done", []), ended["error"]
    assert content(two, VARIABLES) == before
    wait_clean(one)
    if tpm:
        states = [host.run("sh", "-c", "sha256sum /var/lib/libvirt/swtpm/*/*/*.permall").stdout for host in pair.hosts]
        assert states[0] == states[1]
        one.run("sh", "-c", command(found["tpm-state-stays"]))
        assert one.run("find", "/var/lib/libvirt/swtpm", "-type", "f").stdout == ""
    two.run("rm", "-r", f"{NVRAM}.away")


def command(finding: dict[str, Any]) -> str:
    """Return the command that a finding names."""
    return str(finding["remedy"]).split("`")[1]


CHANGES = ("described", "undefined", "later", "transient")


def test_what_is_defined_while_a_vm_is_copied_arrives_and_transient_vms_stay_that(pair: Pair) -> None:
    """Four VMs move at once; of each another thing changes in mid-copy, and the last one has no definition at all."""
    one, two = pair.hosts
    paths = {name: f"{FOLDER}/{name}.qcow2" for name in CHANGES}
    for number, (name, path) in enumerate(paths.items(), 1):
        image(one, path, size="32M")
        one.run("qemu-io", "-c", "write -q -P 5 0 24M", path)
        xml = _XML.format(name=name, number=number, devices=disk(path, "vda"))
        if name == "transient":
            virsh(one, "create", "/dev/stdin", text=xml)
        else:
            virsh(one, "define", "/dev/stdin", text=xml)
            virsh(one, "start", name)
    one.run("vmferry", "host", "set", "--max-migrations", "4", "--max-storage-migrations", "4")
    two.run("vmferry", "host", "set", "--max-migrations", "4", "--max-storage-migrations", "4")
    slow(pair, "16mbit")
    jobs = {name: begin(one, name, "kvm2", "--include-storage") for name in CHANGES}
    for job in jobs.values():
        wait_phase(one, job, "copying")
    # libvirt lets `define` through while it moves a VM; undefine waits for the end of what it does.
    waiting = [
        subprocess.Popen(one.command("virsh", *words), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        for words in (("undefine", "undefined"),)
    ]
    text = virsh(one, "dumpxml", "--inactive", "described").replace("</uuid>", "</uuid><title>changed</title>")
    virsh(one, "define", "/dev/stdin", text=text)
    image(one, f"{FOLDER}/new.qcow2")
    text = virsh(one, "dumpxml", "--inactive", "later")
    text = text.replace("<devices>", "<devices>" + disk(f"{FOLDER}/new.qcow2", "vdb"))
    virsh(one, "define", "/dev/stdin", text=text)
    slow(pair, None)
    assert [process.wait(90.0) for process in waiting] == [0]
    ended = {name: pair.wait_end(one, job, 90.0) for name, job in jobs.items()}
    assert {name: end["state"] for name, end in ended.items()} == dict.fromkeys(CHANGES, "done")

    about = {name: virsh(two, "dominfo", name) for name in CHANGES}
    assert all("State:          running" in said for said in about.values())
    persistent = {name for name, said in about.items() if "Persistent:     yes" in said}
    assert persistent == {"described", "later"}
    assert virsh(two, "desc", "described", "--config", "--title").strip() == "changed"
    # A disk that came too late to be copied is in the definition that is kept, and the job says where that is.
    assert defined(two, "later") == [("vda", paths["later"])]
    (left,) = ended["later"]["summary"]["left"]
    kept = re.search(r"kept in (/\S+\.xml)", left)
    assert kept, left
    assert f"{FOLDER}/new.qcow2" in one.run("cat", kept[1]).stdout
    assert one.run("stat", "-c", "%a", kept[1]).stdout.strip() == "600"
    assert virsh(one, "list", "--all", "--name").strip() == ""
