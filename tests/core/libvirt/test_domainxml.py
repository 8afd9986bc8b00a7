from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.transfer.rpc import captured

from vmferry.core.errors import UsageError
from vmferry.core.libvirt import capabilities, domainxml, firmware, xmldiff
from vmferry.transfer.rpc.protocol import Procedure

DISKS = """<domain type='kvm'><name>web01</name><devices>
<disk type='file' device='disk'>
  <driver name='qemu' type='qcow2'/><source file='/a/root.qcow2'/>
  <backingStore type='file'><format type='qcow2'/><source file='/a/base.qcow2'/>
    <backingStore type='file'><format type='raw'/><source file='/a/oldest.raw'/><backingStore/></backingStore>
  </backingStore>
  <target dev='vda' bus='virtio'/>
</disk>
<disk type='volume' device='disk'><driver name='qemu' type='raw'/>
  <source pool='default' volume='data.raw' mode='host'/><target dev='vdb' bus='virtio'/><shareable/></disk>
<disk type='network'><source protocol='nbd' name='x'/><target dev='vdc' bus='virtio'/></disk>
<disk type='block'><source dev='/dev/sdz'/><target dev='vdd' bus='virtio'/><readonly/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
</devices></domain>"""


def test_disks_are_read() -> None:
    root, data, network, block, drive = domainxml.disks(DISKS)
    assert (root.target, root.device, root.kind, root.format) == ("vda", "disk", "file", "qcow2")
    assert (root.path, root.readonly, root.empty) == ("/a/root.qcow2", False, False)
    assert root.backing == ("/a/base.qcow2", "/a/oldest.raw")
    assert (data.kind, data.pool, data.volume, data.path) == ("volume", "default", "data.raw", None)
    assert (data.empty, data.shareable) == (False, True)
    assert (network.kind, network.format, network.empty) == ("network", "raw", False)
    assert (block.path, block.readonly) == ("/dev/sdz", True)
    assert (drive.device, drive.empty, drive.readonly) == ("cdrom", True, True)


def test_a_real_domain_is_read() -> None:
    xml = captured.load("storage").live_xml
    assert domainxml.name(xml) == "gd-rich"
    assert domainxml.uuid(xml).count("-") == 4
    assert domainxml.emulator(xml) == "/usr/bin/qemu-system-x86_64"
    assert domainxml.machine(xml) == "pc-q35-7.2"
    assert domainxml.networks(xml) == ["gdbr0", "lan"]
    assert [disk.target for disk in domainxml.disks(xml)] == ["vda", "vdb", "sda", "sdb", "sdc"]


def test_a_name_is_taken_as_it_is_and_only_once() -> None:
    assert domainxml.name("<domain><name> web01\t</name></domain>") == " web01\t"
    assert domainxml.uuid("<domain><uuid>u </uuid></domain>") == "u "
    for twice in ("<name>a</name><name>b</name>", "", "<name>a<b/></name>"):
        with pytest.raises(UsageError, match="<name>, or more than text in it"):
            domainxml.name(f"<domain>{twice}</domain>")
        with pytest.raises(UsageError, match="<uuid>, or more than text in it"):
            domainxml.uuid(f"<domain>{twice.replace('name', 'uuid')}</domain>")


def test_what_is_read_is_not_changed_by_what_is_edited() -> None:
    xml = captured.load("storage").live_xml
    before = domainxml.disks(xml)
    domainxml.with_paths(xml, {disk.target: "/x" for disk in before})
    domainxml.cpu(xml)
    assert domainxml.disks(xml) == before
    assert xmldiff.differences(xml, domainxml.with_paths(xml, {})) == []


def test_paths_are_mapped_and_nothing_else() -> None:
    mapped = domainxml.with_paths(DISKS, {"vda": "/b/1&2.qcow2", "vdb": "/b/data.raw", "sda": "/b/no.iso"})
    root, data, *rest = domainxml.disks(mapped)
    assert (root.path, root.kind) == ("/b/1&2.qcow2", "file")
    assert (data.path, data.kind, data.pool, data.volume) == ("/b/data.raw", "file", None, None)
    assert rest == domainxml.disks(DISKS)[2:]
    assert xmldiff.differences(DISKS, mapped) == [
        "domain/devices/disk/source@file is '/b/1&2.qcow2' instead of '/a/root.qcow2'",
        "domain/devices/disk@type is 'file' instead of 'volume'",
        "domain/devices/disk/source@file was added: '/b/data.raw'",
        "domain/devices/disk/source@mode is missing",
        "domain/devices/disk/source@pool is missing",
        "domain/devices/disk/source@volume is missing",
    ]


def test_an_edit_keeps_what_it_does_not_touch() -> None:
    for move in captured.MOVES:
        xml = captured.load(move).persistent_xml
        assert xmldiff.differences(xml, domainxml.with_paths(xml, {})) == []
    metadata = "<domain><metadata><v:x xmlns:v='urn:v' v:a='1'>t<!-- c --></v:x></metadata></domain>"
    assert '<v:x xmlns:v="urn:v" v:a="1">t</v:x>' in domainxml.with_paths(metadata, {})


@pytest.mark.parametrize("move", captured.MOVES)
def test_libvirt_passes_the_xml_on_as_it_was_granted(move: str) -> None:
    capture = captured.load(move)
    sent = captured.unpack(capture.call(Procedure.PREPARE)).value("destination_xml")
    assert xmldiff.differences(capture.dest_xml, str(sent)) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("<a x='1' y='2'><b/>\n <c>t</c></a>", None),
        ("<a y='2' x='1'><b></b><c>t</c>\n</a>", None),
        ("<a x='1' y='3'><b/><c>t</c></a>", "a@y is '3' instead of '2'"),
        ("<a x='1'><b/><c>t</c></a>", "a@y is missing"),
        ("<a x='1' y='2' z=''><b/><c>t</c></a>", "a@z was added: ''"),
        ("<a x='1' y='2'><b/><c> t</c></a>", "a/c is ' t' instead of 't'"),
        ("<a x='1' y='2'><b/><c>t</c><d/></a>", "a/'d' was added"),
        ("<a x='1' y='2'><b/></a>", "a/c is missing"),
        ("<a x='1' y='2'><c>t</c><b/></a>", "a/b is now <'c'>"),
        ("<a x='1' y='2'><b/>!<c>t</c></a>", "a is '!' instead of ''"),
        ("<z x='1' y='2'><b/><c>t</c></z>", "a is now <'z'>"),
    ],
)
def test_differences_are_named(found: str, reason: str | None) -> None:
    reasons = xmldiff.differences("<a x='1' y='2'><b/><c>t</c></a>", found)
    assert reason in reasons if reason else reasons == []


def test_only_a_domain_is_a_domain() -> None:
    with pytest.raises(UsageError, match="not a <domain>"):
        domainxml.disks("<network/>")


def test_the_host_is_known_by_its_capabilities() -> None:
    assert capabilities.host_uuid("<capabilities><host><uuid>u-1</uuid></host></capabilities>") == "u-1"


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(UsageError):
        domainxml.disks(text)


def test_what_the_checks_read() -> None:
    xml = (
        "<domain type='kvm'><memoryBacking><hugepages><page size='2' unit='M'/><page size='1048576'/></hugepages>"
        "</memoryBacking><os><type arch='x86_64'>hvm</type><loader>/usr/share/OVMF/OVMF_CODE.fd</loader>"
        "<nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/var/lib/libvirt/qemu/nvram/a_VARS.fd</nvram></os>"
        "<cpu mode='host-model' check='partial'/>"
        "<devices><disk><driver cache='none'/><target dev='vda'/></disk><disk><target dev='vdb'/></disk></devices>"
        "</domain>"
    )
    assert domainxml.huge_pages(xml) == [2 << 20, 1 << 30]
    assert domainxml.huge_pages("<domain/>") == []
    assert domainxml.huge_pages(xml.replace("size='2'", "size='two'")) == [0, 1 << 30]
    assert firmware.boot_files(xml) == ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"]
    assert firmware.boot_files("<domain/>") == []
    assert domainxml.cpu(xml) == ("host-model", '<cpu mode="host-model" check="partial" />')
    assert domainxml.cpu("<domain/>") == ("", "")
    assert domainxml.caches(xml) == {"vda": "none"}
    assert (domainxml.kind(xml), domainxml.architecture(xml), domainxml.machine(xml)) == ("kvm", "x86_64", "")
