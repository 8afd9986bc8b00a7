"""What others use stays, and what is there already is used: files that several VMs of a host share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.lab.harness import LIMIT, Pair, begin, vmferry, wait
from tests.lab.steps import move

from vmferry.lab.host import LabHost
from vmferry.lab.vms.vm import IMAGES, Guest, GuestDisk, state

pytestmark = pytest.mark.lab

GUEST = Guest(
    busy=8,
    rate=1,
    disks=(GuestDisk(size=128, filled=8), GuestDisk(target="sda", format="raw", device="cdrom", size=65)),
)
ISO = GUEST.disks[1].path(GUEST.name)
# A VM without an operating system: enough to have files.
OTHER = """<domain type='qemu'><name>web02</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}<memballoon model='none'/></devices></domain>"""
DISK = """<disk type='file' device='{device}'><driver name='qemu' type='{format}'/><source file='{file}'/>
<target dev='{target}' bus='{bus}'/>{more}</disk>"""


def disk(name: str, target: str, more: str = "", *, device: str = "disk", format_: str = "qcow2") -> str:
    bus = "sata" if target.startswith("sd") else "virtio"
    return DISK.format(device=device, format=format_, file=f"{IMAGES}/{name}", target=target, bus=bus, more=more)


def start(host: LabHost, *disks: str) -> None:
    host.run("virsh", "define", "/dev/stdin", text=OTHER.format(disks="".join(disks)))
    host.run("virsh", "start", "web02")


def image(host: LabHost, name: str, *options: str, format_: str = "qcow2") -> None:
    host.run("qemu-img", "create", "-q", "-f", format_, *options, f"{IMAGES}/{name}", "4M")


def findings(host: LabHost, vm: str, *options: str) -> dict[str, Any]:
    words = ["vmferry", "--output", "json", "vm", "check", vm, "kvm2", "--include-storage", *options]
    done = host.run(*words, check=False)
    return {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}


@contextmanager
def pools(pair: Pair) -> Iterator[None]:
    """Have a storage pool on both hosts in which the disks are."""
    for host in pair.hosts:
        host.run("virsh", "pool-create-as", "images", "dir", "--target", IMAGES)
    try:
        yield
    finally:
        for host in pair.hosts:
            host.run("virsh", "pool-destroy", "images", check=False)


def volumes(host: LabHost) -> set[str]:
    lines = host.run("virsh", "-q", "vol-list", "images").stdout.splitlines()
    return {line.split()[0] for line in lines}


def test_files_of_others_and_files_that_are_gone_are_found(pair: Pair) -> None:
    one = pair.one
    for name in ("plain.qcow2", "base.qcow2", "inside.qcow2", "old.qcow2", "far.qcow2"):
        image(one, name)
    one.run("qemu-img", "snapshot", "-c", "clean", f"{IMAGES}/inside.qcow2")
    image(one, "both.raw", format_="raw")
    image(one, "deb.iso", format_="raw")
    image(one, "new.iso", format_="raw")
    one.run("ln", "-s", f"{IMAGES}/far.qcow2", f"{IMAGES}/link.qcow2")
    start(
        one,
        disk("plain.qcow2", "vda"),
        disk("base.qcow2", "vdb"),
        disk("inside.qcow2", "vdc"),
        disk("old.qcow2", "vdd"),
        disk("link.qcow2", "vde"),
        disk("both.raw", "vdf", "<shareable/>", format_="raw"),
        disk("deb.iso", "sda", device="cdrom", format_="raw"),
    )
    image(one, "clone.qcow2", "-b", f"{IMAGES}/base.qcow2", "-F", "qcow2")
    clone = OTHER.replace("web02", "web03").format(disks=disk("clone.qcow2", "vda"))
    one.run("virsh", "define", "/dev/stdin", text=clone)
    image(one, "template.qcow2", "-b", f"{IMAGES}/plain.qcow2", "-F", "qcow2")
    one.run("sh", "-c", f"cp {IMAGES}/old.qcow2 {IMAGES}/x && mv {IMAGES}/x {IMAGES}/old.qcow2; rm {IMAGES}/deb.iso")
    found = findings(one, "web02")
    assert found["disk-used-elsewhere"]["severity"] == "blocks"
    assert "VM web03" in found["disk-used-elsewhere"]["detail"]
    assert "template.qcow2" in found["disk-stays"]["detail"]
    assert "clean" in found["disk-has-snapshots"]["detail"]
    assert found["disk-shareable"]["fields"]["disk"] == "vdf"
    assert "far.qcow2" in found["disk-is-link"]["detail"]
    assert found["disk-replaced"]["fields"]["disk"] == "vdd"
    assert "disks-same-path" not in found
    same = findings(one, "web02", "--disk", f"vda={IMAGES}/one", "--disk", f"vdb={IMAGES}/one")
    assert same["disks-same-path"]["fields"]["disks"] == "vda and vdb"
    # The ways out can be followed as they are written.
    assert found["disk-file-missing"]["fields"]["disk"] == "sda"
    one.run("sh", "-c", _command(found["disk-file-missing"]))
    for code in ("disk-has-snapshots", "disk-replaced"):
        one.run("sh", "-c", _command(found[code]).replace("PATH", f"{IMAGES}/{code}.qcow2"))
    found = findings(one, "web02")
    assert found.keys().isdisjoint({"disk-file-missing", "disk-has-snapshots", "disk-replaced"})


def _command(finding: dict[str, Any]) -> str:
    return str(finding["remedy"]).split("`")[1]


def test_a_medium_that_others_use_stays_and_one_that_is_there_is_used(pair: Pair) -> None:
    one, two = pair.hosts
    pair.start(GUEST)
    iso = ISO.rpartition("/")[2]
    start(one, disk(iso, "sda", "<readonly/>", device="cdrom", format_="raw"))
    # Another file of the same length: found before anything is copied, and left alone.
    two.run("sh", "-c", f"head -c {65 << 20} /dev/zero | tr '\\0' x >{ISO}")
    job = begin(one, GUEST.name, two.name, "--include-storage")
    ended = pair.wait_end(one, job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "medium-differs")
    assert pair.wait_end(two, job)["state"] == "failed"
    assert two.run("head", "-c", "1", ISO).stdout == "x"
    # The same file: neither sent nor written.
    (two.images / iso).write_bytes((one.images / iso).read_bytes())
    before = [(host.images / iso).stat().st_ino for host in pair.hosts]
    with pools(pair):
        summary = vmferry(one, "job", "show", move(pair, GUEST, one))["summary"]
        wait(lambda: volumes(two) == {iso, "web01-vda.qcow2"}, LIMIT, "the pool to show the VM's disk")
        wait(lambda: volumes(one) == {iso}, LIMIT, "the pool to show it no more")
    assert summary["left"] == [f"{ISO}: it is a medium (--remove-source-media)"]
    assert summary["disk_bytes"] < 40 << 20
    pair.check(GUEST, two)
    assert [(host.images / iso).stat().st_ino for host in pair.hosts] == before
    assert sorted(file.name for file in one.images.iterdir()) == [iso]
    assert state(one, "web02") == "running"
