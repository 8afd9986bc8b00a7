"""AppArmor and SELinux, which may deny QEMU the sockets of a move."""

from collections.abc import Iterator

from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health
from vmferry.preflight.host import compatibility


def _confinement(health: Health) -> Iterator[Finding]:
    if health.host is not None:
        yield from compatibility.confined(health.name, health.host)


CONFINEMENT = Check(_confinement, compatibility.CONFINEMENT.causes)
