"""The two hosts beside each other: who they are, their clocks, their versions of vmferry."""

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.preflight.case import Case, Check

CLOCK_LIMIT = 5.0  # seconds; what the way between the hosts and the gathering take is far below


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts, by their names, and what each says of itself."""

    source: str
    there: HostSnapshot
    name: str
    here: HostSnapshot


def of_case(check: Check[Pair]) -> Check[Case]:
    """Make a check of two hosts one of a VM that is to move between them."""
    return Check(lambda case: check.find(Pair(case.vm.source, case.vm.host, case.here.name, case.here)), check.causes)


def _identity(pair: Pair) -> Iterator[Finding]:
    there, here = pair.there, pair.here
    if here.uuid == there.uuid:
        seen = (there.uuid, here.uuid)
        yield Finding.blocks(codes.SAME_HOST_UUID, seen, source=pair.source, host=pair.name, uuid=here.uuid)
    if there.hostname and there.hostname == here.hostname:
        seen = (there.hostname, here.hostname)
        yield Finding.warns(codes.SAME_HOSTNAME, seen, source=pair.source, host=pair.name, hostname=here.hostname)


def _clock(pair: Pair) -> Iterator[Finding]:
    there, here = pair.there.clock, pair.here.clock
    apart = abs(here - there)
    if there and here and apart > CLOCK_LIMIT:
        seen = (f"{there:.0f}", f"{here:.0f}")
        yield Finding.warns(codes.CLOCK_DIFFERS, seen, source=pair.source, host=pair.name, seconds=round(apart))


def _vmferry(pair: Pair) -> Iterator[Finding]:
    there, here = pair.there.vmferry, pair.here.vmferry
    if there and there != here:
        yield Finding.warns(
            codes.VMFERRY_DIFFERS, (there, here), source=pair.source, host=pair.name, here=there, there=here
        )


def confined(name: str, host: HostSnapshot, *, source: bool = True) -> Iterator[Finding]:
    """Find what may keep QEMU on a host from a move's sockets."""
    for driver, code in (("apparmor", codes.APPARMOR_RULES), ("selinux", codes.SELINUX_UNTRIED)):
        if driver in host.confinement and not (driver == "apparmor" and host.confinement_rules):
            yield Finding.warns(code, (driver, "") if source else ("", driver), host=name)


def _confinement(pair: Pair) -> Iterator[Finding]:
    yield from confined(pair.source, pair.there)
    yield from confined(pair.name, pair.here, source=False)


IDENTITY = Check(
    _identity,
    {
        codes.SAME_HOST_UUID: "One host is a copy of the other, or its firmware gives every machine the same UUID.",
        codes.SAME_HOSTNAME: "One host is a copy of the other, or was never named.",
    },
)
CLOCK = Check(_clock, {codes.CLOCK_DIFFERS: "Certificates, logs and the guest's own clock follow the host's."})
VMFERRY = Check(
    _vmferry, {codes.VMFERRY_DIFFERS: "The hosts agree on what both know, so that they can be updated one by one."}
)
CONFINEMENT = Check(
    _confinement,
    {
        codes.APPARMOR_RULES: "libvirt gives each QEMU a profile, and QEMU may open only what that names.",
        codes.SELINUX_UNTRIED: "libvirt gives each QEMU a label, and QEMU may open only what the policy lets it.",
    },
)
