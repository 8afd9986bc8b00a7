"""What a VM takes for granted of its host, as its XML says it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.core.libvirt import needs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", {0}),
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("0-3,^2", {0, 1, 3}),
        ("0-3,^1-2\n", {0, 3}),
        ("", set()),
        ("all", set()),
        ("3-1", set()),
        ("1-,2", {2}),
        ("0-99999999", set()),
    ],
)
def test_a_set_of_processors_is_read_as_libvirt_writes_it(text: str, found: set[int]) -> None:
    assert needs.numbers(text) == found


@given(st.text())
def test_any_text_is_some_set(text: str) -> None:
    assert all(number >= 0 for number in needs.numbers(text))


@given(st.sets(st.integers(min_value=0, max_value=300)))
def test_what_is_written_is_read(found: set[int]) -> None:
    assert needs.numbers(",".join(map(str, found))) == found


def test_what_a_vm_needs() -> None:
    xml = """<domain type='kvm'><vcpu cpuset='0-1'>2</vcpu><cputune><vcpupin vcpu='1' cpuset='4'/>
    <emulatorpin cpuset='5'/><iothreadpin iothread='2' cpuset='6'/></cputune><devices>
    <interface type='network'><mac address='52:54:00:AA:00:01'/><source network='lan' portgroup='dmz'/>
    <target dev='vnet3'/><driver name='vhost'/><filterref filter='clean'/></interface>
    <interface type='bridge'><source bridge='br-int'/><virtualport type='openvswitch'/><target dev='lan7'/>
    <filterref filter='clean'/></interface>
    <vsock model='virtio'><cid auto='no' address='9'/></vsock></devices>
    <seclabel type='dynamic' model='apparmor'/><seclabel type='none'/></domain>"""
    pins = [("vcpu", "0-1"), ("vcpupin 1", "4"), ("emulatorpin", "5"), ("iothreadpin 2", "6")]
    assert needs.pinned(xml) == pins
    assert needs.macs(xml) == ["52:54:00:aa:00:01"]
    assert needs.filters(xml) == ["clean"]
    assert needs.portgroups(xml) == [("lan", "dmz")]
    assert needs.device_names(xml) == ["lan7"]
    assert needs.open_vswitch(xml) == {"br-int"}
    assert needs.cid(xml) == 9
    assert needs.cid(xml.replace("auto='no'", "auto='yes'")) is None
    assert needs.cid(xml.replace("auto='no'", "auto='yes'"), fixed=False) == 9
    assert needs.nodes(xml) == ["/dev/vhost-vsock", "/dev/vhost-net"]
    assert needs.nodes(xml.replace("'kvm'", "'qemu'")) == ["/dev/vhost-vsock"]
    assert needs.labels(xml) == ["apparmor"]
