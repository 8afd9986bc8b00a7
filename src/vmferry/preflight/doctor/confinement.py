"""AppArmor and SELinux, which may keep QEMU from a move's sockets."""

from collections.abc import Iterator

from vmferry.core.finding import Finding
from vmferry.preflight import hosts
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health


def _confinement(health: Health) -> Iterator[Finding]:
    if health.host is not None:
        yield from hosts.confined(health.name, health.host)


CONFINEMENT = Check(_confinement, hosts.CONFINEMENT.causes)
