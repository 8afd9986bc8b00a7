"""A VM as another distribution or program makes it, moved to a host that has things at other places."""

import pytest
from tests.lab.harness import Pair, vmferry

from vmferry.lab.vms import vm as machine

pytestmark = pytest.mark.lab

PROGRAM = "/var/lib/libvirt/images/kvm-spice"
SOCKET = "/var/lib/libvirt/qemu/web05.agent"
LOG = "/var/log/libvirt/qemu/web05-serial0.log"
_XML = f"""\
<domain type='qemu'>
  <name>web05</name>
  <memory unit='MiB'>64</memory>
  <sysinfo type='fwcfg'><entry name='opt/com.example/config'>a/b</entry></sysinfo>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <emulator>{PROGRAM}</emulator>
    <interface type='direct'><mac address='52:54:00:93:00:05'/><source dev='vlan5' mode='bridge'/>
      <model type='virtio'/></interface>
    <serial type='file'><source path='{LOG}'/></serial>
    <channel type='unix'><source mode='bind' path='{SOCKET}'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def test_a_vm_of_another_distribution(paired: Pair) -> None:
    one, two = paired.hosts
    paired.clean()
    one.run("ln", "-sf", "/usr/bin/qemu-system-x86_64", PROGRAM)
    try:
        for host in paired.hosts:
            host.run("mkdir", "-p", "/var/log/libvirt/qemu")  # as the distribution's package does
        one.run("ip", "link", "add", "vlan5", "up", "type", "veth", "peer", "name", "vlan5p")
        one.run("virsh", "define", "/dev/stdin", text=_XML)
        started = one.run("virsh", "start", "web05", check=False)
        assert started.returncode == 0, started.stderr
        job = vmferry(one, "vm", "move", "web05", "kvm2", "--map-network", "vlan5=none")
        assert job["state"] == "done"
        assert machine.state(two, "web05") == "running"
        for inactive in ((), ("--inactive",)):
            xml = two.run("virsh", "dumpxml", *inactive, "web05").stdout
            assert "<emulator>/usr/bin/qemu-system-x86_64</emulator>" in xml
            assert SOCKET not in xml
            assert LOG in xml
            assert "opt/com.example/config" in xml
            assert "<interface type='ethernet'>" in xml
        assert "web05" not in one.run("virsh", "list", "--all", "--name").stdout
    finally:
        paired.clean()
        one.run("rm", "-f", PROGRAM)
        one.run("ip", "link", "delete", "vlan5", check=False)
