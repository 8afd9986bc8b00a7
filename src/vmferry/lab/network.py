"""The lab's networks: a switch namespace with bridges for management and migration, and the guests' links.

The guests' network has one interface for each host in the switch namespace. All have the same IP and hardware address:
a guest reaches the observer from any host, and the observer sees which host a packet came through.
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
    """Return the names of all network namespaces."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]


def hosts(lab: Layout) -> list[str]:
    """Return the names of the hosts and domain controllers that have a namespace, running or not."""
    names = [name.removeprefix(lab.namespace("")) for name in namespaces() if name.startswith(lab.namespace(""))]
    return [name for name in names if name in layout.CONTROLLERS or name.startswith("kvm")]


def create_switch(lab: Layout) -> None:
    """Create the switch namespace and its bridges, unless they exist."""
    if lab.switch not in namespaces():
        run("ip", "netns", "add", lab.switch)
    inside(lab.switch, "ip", "link", "set", "lo", "up")
    # Several interfaces have one address: strict reverse path filtering would drop the packets of all but one.
    for scope in ("all", "default"):
        inside(lab.switch, "sysctl", "-qw", f"net.ipv4.conf.{scope}.rp_filter=0")
    present = inside(lab.switch, "ip", "-o", "link", "show")
    for short in _LINKS.values():
        if f" {short}: " not in present:
            inside(lab.switch, "ip", "link", "add", short, "type", "bridge")
        inside(lab.switch, "ip", "link", "set", short, "up")


def connect_controller(lab: Layout, name: str) -> None:
    """Create a domain controller's namespace, replacing an old one, and connect it to the management bridge."""
    _make(lab, name)
    _plug(lab, name, "mgmt", layout.management(name))


def connect_host(lab: Layout, host: str) -> None:
    """Create a host's namespace, replacing an old one, and connect it to both bridges and to the observer."""
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
    # The hardware address stays the same after a restart: other machines have it in their caches for seconds.
    inside(
        space, "ip", "link", "set", short, "address", "02:00:" + ":".join(f"{int(n):02x}" for n in address.split("."))
    )
    inside(space, "ip", "address", "add", f"{address}/24", "dev", short)
    inside(space, "ip", "link", "set", short, "up")


def _wire(lab: Layout, space: str, inner: str, outer: str) -> None:
    inside(lab.switch, "ip", "link", "delete", outer, quiet=True)  # left by a start that was interrupted
    inside(space, "ip", "link", "add", inner, "type", "veth", "peer", "name", outer, "netns", lab.switch)


def observer_interface(host: str) -> str:
    """Return the name of the observer's interface to a host."""
    return _port("tap", host)


def limit(lab: Layout, host: str, link: str, bandwidth: str | None) -> None:
    """Set the bandwidth of one host's link in both directions.

    Arguments:
        link: `management` or `migration`.
        bandwidth: in the units of tc(8), e.g. `1gbit`; None for no limit.
    """
    short = _LINKS[link]
    for space, device in ((lab.namespace(host), short), (lab.switch, _port(short, host))):
        inside(space, "tc", "qdisc", "delete", "dev", device, "root", quiet=True)
        if bandwidth:
            inside(space, *f"tc qdisc add dev {device} root tbf rate {bandwidth} burst 256k latency 20ms".split())


def set_link(lab: Layout, host: str, link: str, *, up: bool) -> None:
    """Connect or disconnect a host's cable."""
    inside(lab.switch, "ip", "link", "set", _port(_LINKS[link], host), "up" if up else "down")


def delete(lab: Layout) -> None:
    """Delete every namespace of this lab, and thereby all its interfaces."""
    for name in [lab.namespace(host) for host in hosts(lab)] + [lab.switch]:
        if name in namespaces():
            run("ip", "netns", "delete", name)


def end_processes(lab: Layout, host: str) -> None:
    """Kill what still runs in a host's namespace. An interrupted start leaves no pid file."""
    space = lab.namespace(host)
    if space in namespaces():
        for pid in run("ip", "netns", "pids", space).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _port(short: str, host: str) -> str:
    return f"{short}-{host}"
