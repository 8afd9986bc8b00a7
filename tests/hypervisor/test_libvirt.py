"""What libvirt says for the checks: a real one with a real QEMU, inside this process and in a folder of its own."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.preflight.make import DISK, proposal

from vmferry.config import Config
from vmferry.core.libvirt import capabilities
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.hypervisor.connection import connected
from vmferry.hypervisor.snapshot import Snapshots

pytestmark = pytest.mark.lab
SETTINGS = """
security_driver = "none"
cgroup_controllers = []
namespaces = []
user = "root"
group = "root"
stdio_handler = "file"
remember_owner = 0
"""
XML = """<domain type='qemu'><name>web01</name><uuid>7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab</uuid>
<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='MACHINE'>hvm</type></os>
<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>CPU</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>DEVICE</devices></domain>"""
TPM = "<tpm model='tpm-crb'><backend type='emulator'/></tpm>"


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshots]:
    if os.geteuid():
        pytest.skip("libvirt runs QEMU as root here")
    root = tmp_path_factory.mktemp("libvirt")
    (root / "etc").mkdir()
    (root / "etc" / "qemu.conf").write_text(SETTINGS)
    config = Config(name="kvm2", libvirt_uri=f"qemu:///embed?root={root}", disk_folders=[Path("/var/tmp")])
    with connected(config.libvirt_uri, config.name):  # while one is open, others share the driver and what it knows
        yield Snapshots(config)


def domain(machine: str = "pc-q35-7.2", cpu: str = "qemu64", device: str = "") -> str:
    return XML.replace("MACHINE", machine).replace("CPU", cpu).replace("DEVICE", device)


def test_the_source_tells_of_itself(snapshots: Snapshots) -> None:
    found = snapshots.source()
    assert found.uuid
    assert found.libvirt >= 9_000_000
    assert found.qemu >= 7_000_000
    assert found.cpu.startswith("<cpu>")
    assert abs(found.clock - time.time()) < 60


def test_the_destination_looks_at_itself_in_a_moment(snapshots: Snapshots) -> None:
    vm = proposal(domain(), host=snapshots.source(), disks=[DISK])
    snapshots.destination(vm, {"vda": "/var/tmp/web01.qcow2"})
    began = time.monotonic()
    snapshots.source()
    asked = time.monotonic()
    found = snapshots.destination(vm, {"vda": "/var/tmp/web01.qcow2"})
    assert time.monotonic() - asked < 10 * (asked - began)  # what the source takes to look at itself
    assert found.machines is not None
    assert {"q35", "pc-q35-7.2"} <= set(found.machines)
    assert (found.cpu_refusal, found.cpu_same, found.missing_files) == (None, True, [])
    assert [(place.target, place.writable) for place in found.places] == [("vda", True)]


def test_a_cpu_that_is_not_to_be_had_here(snapshots: Snapshots) -> None:
    vm = proposal(domain(cpu="EPYC-Milan"), host=HostSnapshot(uuid="11111111-1111-4111-8111-111111111111"), disks=[])
    found = snapshots.destination(vm, {})
    assert found.cpu_refusal is not None
    assert "nrip-save" in found.cpu_refusal
    assert found.cpu_same is None


def test_libvirt_builds_the_command_line_and_defines_nothing(snapshots: Snapshots) -> None:
    assert snapshots.refusal(domain(), domain()) is None
    refusal = snapshots.refusal(domain(), domain("pc-q35-99.0"))
    assert refusal is not None
    assert "pc-q35-99.0" in refusal
    assert "nosuch" in str(snapshots.refusal(domain(device="<video><model type='nosuch'/></video>")))
    assert snapshots.destination(proposal(domain(), disks=[]), {}).names == {}


def test_a_guest_of_another_architecture_has_no_machine_type_here(snapshots: Snapshots) -> None:
    vm = proposal(domain().replace("x86_64' machine", "s390x' machine"), disks=[])
    assert snapshots.destination(vm, {}).machines is None


def test_an_emulator_that_is_not_allowed_is_never_run(snapshots: Snapshots, tmp_path: Path) -> None:
    program, proof = tmp_path / "qemu", tmp_path / "it-ran"
    program.write_text(f"#!/bin/sh\ntouch {proof}\n")
    program.chmod(0o755)
    xml = domain(device=TPM).replace("/usr/bin/qemu-system-x86_64", str(program))
    assert snapshots.destination(proposal(xml, disks=[]), {}).cpu_refusal is None
    assert not proof.exists()


def test_another_emulator_is_asked_for_the_cpu_and_the_tpm(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this host takes its own emulator for the one that the VM names, that one is asked."""
    xml = domain(cpu="EPYC-Milan", device=TPM).replace("/usr/bin/qemu-system-x86_64", "/usr/bin/kvm-spice")
    monkeypatch.setattr(capabilities, "tpm", lambda _said: False)
    found = snapshots.destination(proposal(xml, disks=[]), {})
    assert "nrip-save" in str(found.cpu_refusal)
    assert not found.tpm
