"""The addresses of this host, against what ip(8) says of them."""

import json
import os
import shutil
import socket
import subprocess

import pytest

from vmferry.core.policy.networks import Local
from vmferry.net import interfaces


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_every_address_with_its_interface() -> None:
    said = json.loads(subprocess.run(["ip", "-json", "address"], check=True, capture_output=True, text=True).stdout)
    expected = {
        Local(entry["local"], entry["prefixlen"], link["ifname"])
        for link in said
        for entry in link["addr_info"]
        if not entry.get("tentative")
    }
    assert set(interfaces.addresses()) == expected
    assert Local("127.0.0.1", 8, "lo") in expected
    assert interfaces.of("127.0.0.1") == "lo"
    assert interfaces.of("192.0.2.77") is None


def test_a_socket_is_held_to_an_interface_of_its_own() -> None:
    link = next((local for local in interfaces.addresses() if local.interface != "lo"), None)
    if link is None or os.getuid() != 0:
        pytest.skip("needs an interface beside lo, and root on older kernels")
    with socket.socket() as sock:
        interfaces.hold(sock, link)
        held = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
        assert held.rstrip(b"\0").decode() == link.interface
    with socket.socket() as free:
        interfaces.hold(free, Local("127.0.0.1", 8, "lo"))
        interfaces.hold(free, Local("kvm1.example"))
        assert free.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b""
        with pytest.raises(OSError, match="No such device"):
            interfaces.hold(free, Local("192.0.2.77", 24, "no-such-link"))
