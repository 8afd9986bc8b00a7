"""Who else uses a file: libvirt's own test driver knows the VMs, and the files are real."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmferry.core.messages.use import By, Use
from vmferry.hypervisor.connection import connected
from vmferry.hypervisor.storage import chains, users
from vmferry.hypervisor.storage.chains import Chain

OWN = "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"
OTHER = "5f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"
XML = f"""<domain type='test'><name>{{name}}</name><uuid>{OTHER}</uuid>
<memory unit='MiB'>64</memory><os><type>hvm</type></os>
<devices>{{devices}}</devices></domain>"""
DISK = (
    "<disk type='file' device='{device}'><driver name='qemu' type='{format}'/>{source}<target dev='{target}'/></disk>"
)


def disk(path: Path | str, format_: str = "qcow2", device: str = "disk", target: str = "vda") -> str:
    return DISK.format(device=device, format=format_, target=target, source=f"<source file='{path}'/>")


@pytest.fixture
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    node = tmp_path_factory.mktemp("node") / "node.xml"  # by its file, each connection has a world of its own
    node.write_text("<node/>")
    with connected(f"test://{node}", "kvm1") as connection:
        yield connection


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make(tmp_path / "web01.qcow2")


def make(path: Path, *options: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], check=True)
    return path


def define(connection: Any, devices: str, name: str = "db01") -> Any:
    return connection.defineXML(XML.format(name=name, devices=devices))


def uses(connection: Any, *paths: Path, uuid: str = OWN) -> list[str]:
    found = users.find(connection, [str(path) for path in paths], uuid)
    assert found.unknown == []
    return sorted(str(use) for one in found.uses.values() for use in one)


def test_a_file_that_nobody_else_names_has_no_users(libvirtd: Any, image: Path) -> None:
    assert uses(libvirtd, image) == []


def test_a_vm_that_is_defined_and_off_uses_its_disk(libvirtd: Any, image: Path) -> None:
    define(libvirtd, disk(image))
    assert uses(libvirtd, image) == ["disk vda of VM db01"]


def test_the_vm_itself_is_no_other_user(libvirtd: Any, image: Path) -> None:
    domain = define(libvirtd, disk(image))
    assert uses(libvirtd, image, uuid=domain.UUIDString()) == []


def test_running_and_next_start_both_count(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other.qcow2")
    domain = define(libvirtd, disk(image))
    domain.create()
    define(libvirtd, disk(other))  # for the next start
    assert uses(libvirtd, image) == ["disk vda of VM db01"]
    assert uses(libvirtd, other) == ["disk vda of VM db01"]


def test_a_transient_vm_counts(libvirtd: Any, image: Path) -> None:
    libvirtd.createXML(XML.format(name="db01", devices=disk(image)))
    assert uses(libvirtd, image) == ["disk vda of VM db01"]


@pytest.mark.parametrize("how", ["symlink", "hard link", "symlinked folder", "dots"])
def test_another_name_of_the_file_is_the_same_file(libvirtd: Any, image: Path, tmp_path: Path, how: str) -> None:
    other = tmp_path / "other.qcow2"
    if how == "symlink":
        other.symlink_to(image)
    elif how == "hard link":
        os.link(image, other)
    elif how == "symlinked folder":
        (tmp_path / "folder").symlink_to(tmp_path)
        other = tmp_path / "folder" / image.name
    else:
        other = tmp_path / "x" / ".." / image.name
        (tmp_path / "x").mkdir()
    define(libvirtd, disk(other))
    assert uses(libvirtd, image) == ["disk vda of VM db01"]
    if how != "hard link":
        assert uses(libvirtd, other, uuid=OWN) == ["disk vda of VM db01"]


@pytest.mark.root
def test_a_bind_mount_is_the_same_file(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path), str(place)], check=True)
    try:
        define(libvirtd, disk(place / image.name))
        assert uses(libvirtd, image) == ["disk vda of VM db01"]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_base_of_another_vms_disk_is_in_use(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    middle = make(tmp_path / "else" / "middle.qcow2", "-b", str(image), "-F", "qcow2")
    top = make(tmp_path / "else" / "top.qcow2", "-b", middle.name, "-F", "qcow2")
    define(libvirtd, disk(top))
    assert "a backing file of disk vda of VM db01" in uses(libvirtd, image)


def test_an_image_that_no_vm_names_counts_beside_the_file(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    clone = make(tmp_path / "clone.qcow2", "-b", str(image), "-F", "qcow2")
    found = users.find(libvirtd, [str(image)], OWN)
    assert found.uses == {str(image): [Use(by=By.IMAGE, name=str(clone), role="the backing file")]}


def test_an_image_in_a_pool_counts(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    clone = make(tmp_path / "pool" / "clone.qcow2", "-b", str(image), "-F", "qcow2")
    xml = f"<pool type='dir'><name>p</name><target><path>{clone.parent}</path></target></pool>"
    libvirtd.storagePoolCreateXML(xml, 0)
    assert uses(libvirtd, image) == [f"the backing file of {clone}"]


def test_a_guests_own_header_in_a_raw_disk_keeps_nothing_in_use(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    raw = make(tmp_path / "evil.raw", "-b", str(image), "-F", "qcow2")
    define(libvirtd, disk(raw, "raw"))
    assert uses(libvirtd, image) == []


@pytest.mark.parametrize(
    "devices",
    [
        "<disk type='block' device='lun'><source dev='{path}'/><target dev='sda' bus='scsi'/></disk>",
        "<disk type='file' device='floppy'><source file='{path}'/><target dev='fda'/></disk>",
        "<serial type='file'><source path='{path}'/></serial>",
        "<filesystem type='file'><source file='{path}'/><target dir='/x'/></filesystem>",
        "<disk type='file' device='disk'><source file='/nowhere'/><backingStore type='file'><format type='qcow2'/>"
        "<source file='{path}'/></backingStore><target dev='vda'/></disk>",
    ],
)
def test_a_file_may_be_anything_to_another_vm(libvirtd: Any, image: Path, devices: str) -> None:
    define(libvirtd, devices.format(path=image))
    assert len(uses(libvirtd, image)) == 1


def test_a_kernel_counts(libvirtd: Any, image: Path) -> None:
    libvirtd.defineXML(XML.format(name="db01", devices="").replace("</os>", f"<kernel>{image}</kernel></os>"))
    assert uses(libvirtd, image) == ["<kernel> of VM db01"]


def test_a_snapshots_file_counts(libvirtd: Any, image: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other.qcow2")
    define(libvirtd, disk(image)).snapshotCreateXML("<domainsnapshot/>", 0)
    define(libvirtd, disk(other))
    assert uses(libvirtd, image) == ["disk vda of VM db01"]


def test_a_volume_of_a_pool_that_is_not_there_is_not_known(libvirtd: Any, image: Path) -> None:
    source = "<disk type='volume' device='disk'><source pool='gone' volume='x'/><target dev='vda'/></disk>"
    define(libvirtd, source)
    found = users.find(libvirtd, [str(image)], OWN)
    assert len(found.unknown) == 1
    assert "volume x of pool gone" in found.unknown[0]


def test_a_volume_of_a_pool_that_is_off_is_looked_for_in_its_folder(libvirtd: Any, image: Path) -> None:
    xml = f"<pool type='dir'><name>off</name><target><path>{image.parent}</path></target></pool>"
    libvirtd.storagePoolDefineXML(xml, 0)
    source = f"<disk type='volume' device='disk'><source pool='off' volume='{image.name}'/><target dev='vda'/></disk>"
    define(libvirtd, source)
    assert uses(libvirtd, image) == ["disk vda of VM db01"]


def test_a_file_system_that_does_not_answer_holds_nobody_up(
    libvirtd: Any, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_LIMIT", 0.05)
    reading, writing = os.pipe()

    def below(*_: object) -> Chain:
        os.read(reading, 1)
        return Chain()

    monkeypatch.setattr(chains, "below", below)
    define(libvirtd, disk(image))
    found = users.find(libvirtd, [str(image)], OWN)
    os.close(writing)
    assert "could be looked at within" in found.unknown[0]
