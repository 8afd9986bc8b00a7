"""Whether a VM's displays could listen here, with real sockets."""

import socket
from collections.abc import Iterator

import pytest

from vmferry.core.libvirt.displays import Obstacle
from vmferry.hypervisor.displays import obstacles


def vm(*graphics: str) -> str:
    return f"<domain><devices>{''.join(f'<graphics {one}</graphics>' for one in graphics)}</devices></domain>"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def fixed(port: int, address: str = "127.0.0.1", kind: str = "vnc") -> str:
    return f"type='{kind}' autoport='no' port='{port}'><listen type='address' address='{address}'/>"


def test_a_port_that_a_program_has_is_taken_on_each_address_that_means_its_own(taken: int) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        assert obstacles(vm(fixed(taken, address)), []) == [Obstacle("vnc", address, taken, "another program")]
    assert obstacles(vm(f"type='spice' tlsPort='{taken}'>"), [])[0].kind == "spice"


def test_what_libvirt_chooses_or_does_not_listen_is_no_matter(taken: int) -> None:
    chosen = f"type='vnc' autoport='yes' port='{taken}'>"
    assert obstacles(vm(chosen, "type='vnc'><listen type='none'/>", f"type='vnc' port='{'9' * 9}'>"), []) == []


def test_a_port_of_another_vm_is_taken_on_any_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = int(server.getsockname()[1])
    assert obstacles(vm(fixed(free)), []) == []
    other = vm(f"type='vnc' autoport='yes' port='{free}'><listen type='address' address='192.0.2.7'/>")
    assert obstacles(vm(fixed(free)), [("db01", other)]) == [Obstacle("vnc", "127.0.0.1", free, "VM db01")]


def test_an_address_that_is_not_this_hosts(taken: int) -> None:
    assert obstacles(vm(fixed(taken, "192.0.2.1")), []) == [Obstacle("vnc", "192.0.2.1", taken, "")]
    assert obstacles(vm(fixed(taken, "a.name.example")), []) == []
