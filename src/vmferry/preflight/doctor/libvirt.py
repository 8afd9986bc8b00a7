"""libvirt and QEMU: whether they answer, whether they are new enough, and which versions can lose data."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import version
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health

LIBVIRT, QEMU = 9_000_000, 7_002_000  # the oldest that vmferry is tested with (README.md)


def _libvirt(health: Health) -> Iterator[Finding]:
    name, host = health.name, health.host
    if host is None:
        yield Finding.blocks(codes.LIBVIRT_UNREACHABLE, (health.libvirt, ""), host=name, why=health.libvirt)
        return
    if 0 < host.libvirt < LIBVIRT:
        seen = version(host.libvirt)
        yield Finding.warns(codes.LIBVIRT_OLD, (seen, ""), host=name, version=seen, wanted=version(LIBVIRT))
    if 0 < host.qemu < QEMU:
        seen = version(host.qemu)
        yield Finding.warns(codes.QEMU_OLD, (seen, ""), host=name, version=seen, wanted=version(QEMU))
    for vm in health.at_risk:
        qemu = version(host.qemu)
        yield Finding.warns(codes.EMULATED_WRITES, (f"{vm}, QEMU {qemu}", ""), vm=vm, qemu=qemu, source=name)


LIBVIRT_ANSWERS = Check(
    _libvirt,
    {
        codes.LIBVIRT_UNREACHABLE: "libvirtd (or virtqemud) is not running, or its socket is elsewhere.",
        codes.LIBVIRT_OLD: "An older libvirt lacks calls and flags that moves need.",
        codes.QEMU_OLD: "Moves with an older QEMU were never tested.",
        codes.EMULATED_WRITES: "QEMU before 9.0 keeps translated code that bypasses the record of changed memory.",
    },
)
