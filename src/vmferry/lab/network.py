"""The lab's networks: a switch namespace with a bridge for management and one for migration, and the guests' wires.

The guests' network ends in the switch namespace in one interface for each host, all with the same address, hardware
address included: a guest reaches the observer wherever it runs, and the observer sees through which host it came.
"""

import contextlib
import os
import signal

from vmferry.lab import layout
from vmferry.lab.layout import Layout
from vmferry.lab.shell import inside, run

_LINKS = {"management": "mgmt", "migration": "mig"}
_OBSERVER_MAC = "02:00:0a:5d:00:01"


def namespaces() -> list[str]:
    """Give the names of all network namespaces."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]


def hosts(lab: Layout) -> list[str]:
    """Give the names of the hosts that have a namespace, domain controllers among them, running or not."""
    names = [name.removeprefix(lab.namespace("")) for name in namespaces() if name.startswith(lab.namespace(""))]
    return [name for name in names if name in layout.CONTROLLERS or name.startswith("kvm")]


def create_switch(lab: Layout) -> None:
    """Make the switch namespace and its bridges, unless they are there."""
    if lab.switch not in namespaces():
        run("ip", "netns", "add", lab.switch)
    inside(lab.switch, "ip", "link", "set", "lo", "up")
    # One address at several interfaces: a strict check of the way back would drop what comes in by all but one.
    for scope in ("all", "default"):
        inside(lab.switch, "sysctl", "-qw", f"net.ipv4.conf.{scope}.rp_filter=0")
    present = inside(lab.switch, "ip", "-o", "link", "show")
    for short in _LINKS.values():
        if f" {short}: " not in present:
            inside(lab.switch, "ip", "link", "add", short, "type", "bridge")
        inside(lab.switch, "ip", "link", "set", short, "up")


def connect_controller(lab: Layout, name: str) -> None:
    """Make a domain controller's namespace and connect it to the management bridge; anew, if it is there."""
    _make(lab, name)
    _plug(lab, name, "mgmt", layout.management(name))


def connect_host(lab: Layout, host: str) -> None:
    """Make a host's namespace and connect it to both bridges and to the observer; anew, if it is there."""
    space = _make(lab, host)
    _plug(lab, host, "mgmt", layout.management(host))
    _plug(lab, host, "mig", layout.migration(host))
    _wire(lab, space, "guests", _port("tap", host))
    inside(space, "ip", "link", "add", "br0", "type", "bridge")
    inside(space, "ip", "link", "set", "guests", "master", "br0", "up")
    inside(space, "ip", "link", "set", "br0", "up")
    observer = observer_interface(host)
    inside(lab.switch, "ip", "link", "set", observer, "address", _OBSERVER_MAC, "up")
    inside(lab.switch, "ip", "address", "add", f"{layout.OBSERVER}/24", "dev", observer)


def _make(lab: Layout, machine: str) -> str:
    space = lab.namespace(machine)
    if space in namespaces():
        run("ip", "netns", "delete", space)
    run("ip", "netns", "add", space)
    inside(space, "ip", "link", "set", "lo", "up")
    return space


def _plug(lab: Layout, machine: str, short: str, address: str) -> None:
    """Connect a machine to a bridge."""
    space = lab.namespace(machine)
    _wire(lab, space, short, _port(short, machine))
    inside(lab.switch, "ip", "link", "set", _port(short, machine), "master", short, "up")
    # One that is started anew is where the others remember it; or they would miss it for seconds.
    inside(
        space, "ip", "link", "set", short, "address", "02:00:" + ":".join(f"{int(n):02x}" for n in address.split("."))
    )
    inside(space, "ip", "address", "add", f"{address}/24", "dev", short)
    inside(space, "ip", "link", "set", short, "up")


def _wire(lab: Layout, space: str, inner: str, outer: str) -> None:
    inside(lab.switch, "ip", "link", "delete", outer, quiet=True)  # of a host that died half-way
    inside(space, "ip", "link", "add", inner, "type", "veth", "peer", "name", outer, "netns", lab.switch)


def observer_interface(host: str) -> str:
    """Name the observer's interface towards a host."""
    return _port("tap", host)


def limit(lab: Layout, host: str, link: str, bandwidth: str | None) -> None:
    """Set the bandwidth of one host's end of a link, both ways.

    Arguments:
        link: `management` or `migration`.
        bandwidth: as tc(8) has it, e.g. `1gbit`; None for no limit.
    """
    short = _LINKS[link]
    for space, device in ((lab.namespace(host), short), (lab.switch, _port(short, host))):
        inside(space, "tc", "qdisc", "delete", "dev", device, "root", quiet=True)
        if bandwidth:
            inside(space, *f"tc qdisc add dev {device} root tbf rate {bandwidth} burst 256k latency 20ms".split())


def set_link(lab: Layout, host: str, link: str, *, up: bool) -> None:
    """Pull a host's cable out, or put it in again."""
    inside(lab.switch, "ip", "link", "set", _port(_LINKS[link], host), "up" if up else "down")


def delete(lab: Layout) -> None:
    """Delete every namespace of this lab, and with them all its interfaces."""
    for name in [lab.namespace(host) for host in hosts(lab)] + [lab.switch]:
        if name in namespaces():
            run("ip", "netns", "delete", name)


def end_processes(lab: Layout, host: str) -> None:
    """Kill what still runs in a host's namespace: of a start that was cut off, nobody noted the process."""
    space = lab.namespace(host)
    if space in namespaces():
        for pid in run("ip", "netns", "pids", space).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _port(short: str, host: str) -> str:
    return f"{short}-{host}"
