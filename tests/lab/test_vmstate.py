"""What libvirt knows of a VM besides its running configuration: found, mended as the finding says, kept by a move."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.harness import Pair
from vmferry.lab.host import Host

pytestmark = pytest.mark.lab

VM = "bare 1"  # a name that a shell would take apart
FOLDER = "/var/lib/libvirt/images"
ROOT, ISO = f"{FOLDER}/bare-root.qcow2", f"{FOLDER}/one.iso"
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


def virsh(host: Host, *words: str, text: str | None = None) -> str:
    done = host.run("virsh", *words, text=text, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def image(host: Host, path: str, kind: str = "qcow2", size: str = "8M") -> None:
    host.run("qemu-img", "create", "-q", "-f", kind, path, size)


def define(host: Host, devices: str, name: str = VM, number: int = 1) -> None:
    virsh(host, "define", "/dev/stdin", text=_XML.format(name=name, number=number, devices=devices))


def look(pair: Pair, *options: str) -> dict[str, dict[str, Any]]:
    """Check the VM's move; returns the findings by code, but for the one that all emulated VMs have."""
    words = ["vmferry", "--output", "json", "vm", "check", VM, "kvm2", "--include-storage", *options]
    done = pair.one.run(*words, check=False)
    assert done.stdout, done.stderr
    findings = {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}
    findings.pop(ALWAYS, None)
    return findings


def mended(pair: Pair, *codes: str, **words: str) -> None:
    """See that a check finds these and nothing else, and nothing any more when their commands were carried out.

    Arguments:
        words: what stands for each word in capitals, as NAME, of the commands.
    """
    found = look(pair)
    assert set(found) == set(codes)
    for finding in found.values():
        commands = re.findall(r"`(virsh [^`]+)`", finding["mend"])
        for command in commands:
            for word, meant in words.items():
                command = command.replace(word, meant)
            pair.one.run("sh", "-c", command)
    assert look(pair) == {}


@contextmanager
def running(pair: Pair, devices: str) -> Iterator[None]:
    define(pair.one, devices)
    virsh(pair.one, "start", VM)
    yield


def test_what_keeps_a_vm_is_mended_by_the_commands_that_the_findings_name(pair: Pair) -> None:
    one = pair.one
    image(one, ROOT)
    image(one, ISO, "raw", "1M")
    with running(pair, disk(ROOT, "vda") + drive(ISO)):
        assert look(pair) == {}

        virsh(one, "suspend", VM)
        mended(pair, "vm-not-running")

        virsh(one, "managedsave", VM)
        virsh(one, "create", "/dev/stdin", text=virsh(one, "dumpxml", "--inactive", VM))
        mended(pair, "vm-has-saved-state")

        virsh(one, "blockcopy", VM, "vda", f"{FOLDER}/copy.qcow2", "--transient-job")
        mended(pair, "disk-has-block-job")

        virsh(one, "checkpoint-create-as", VM, "first")
        found = look(pair)
        assert set(found) == {"vm-has-snapshots"}
        virsh(one, "checkpoint-delete", VM, "first")
        assert look(pair) == {}

        virsh(one, "destroy", VM)
        mended(pair, "vm-not-running")
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
            virsh(one, "pool-destroy", pool)
            # The destination sees a disk that is not moved, too.
            mended(pair, "disk-file-missing", "device-forbidden")
    finally:
        for words in (("destroy", VM), ("pool-destroy", pool), ("pool-undefine", pool)):
            one.run("virsh", *words, check=False)
