"""The two hosts together: their identities, clocks, and versions of vmferry."""

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.snapshot import HostSnapshot
from vmferry.preflight.case import Case, Check

CLOCK_LIMIT = 5.0  # seconds; what the way between the hosts and the gathering take is far below


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts: the name of each, and what it reports about itself."""

    source: str
    source_host: HostSnapshot
    destination: str
    destination_host: HostSnapshot


def of_case(check: Check[Pair]) -> Check[Case]:
    """Turn a check of two hosts into a check of a move between them."""
    return Check(
        lambda case: check.find(Pair(case.vm.source, case.vm.host, case.destination.name, case.destination)),
        check.causes,
    )


def _identity(pair: Pair) -> Iterator[Finding]:
    source, destination = pair.source_host, pair.destination_host
    if destination.uuid == source.uuid:
        seen = (source.uuid, destination.uuid)
        yield Finding.blocks(
            codes.SAME_HOST_UUID, seen, source=pair.source, host=pair.destination, uuid=destination.uuid
        )
    if source.hostname and source.hostname == destination.hostname:
        seen = (source.hostname, destination.hostname)
        yield Finding.warns(
            codes.SAME_HOSTNAME, seen, source=pair.source, host=pair.destination, hostname=destination.hostname
        )


def _clock(pair: Pair) -> Iterator[Finding]:
    source, destination = pair.source_host.clock, pair.destination_host.clock
    apart = abs(destination - source)
    if source and destination and apart > CLOCK_LIMIT:
        seen = (f"{source:.0f}", f"{destination:.0f}")
        yield Finding.warns(codes.CLOCK_DIFFERS, seen, source=pair.source, host=pair.destination, seconds=round(apart))


def _vmferry(pair: Pair) -> Iterator[Finding]:
    source, destination = pair.source_host.vmferry, pair.destination_host.vmferry
    if source and source != destination:
        yield Finding.warns(
            codes.VMFERRY_DIFFERS,
            (source, destination),
            source=pair.source,
            host=pair.destination,
            here=source,
            there=destination,
        )


def confined(name: str, host: HostSnapshot, *, source: bool = True) -> Iterator[Finding]:
    """Find what may deny QEMU on a host the sockets of a move."""
    for driver, code in (("apparmor", codes.APPARMOR_RULES), ("selinux", codes.SELINUX_UNTRIED)):
        if driver in host.confinement and not (driver == "apparmor" and host.confinement_rules):
            yield Finding.warns(code, (driver, "") if source else ("", driver), host=name)


def _confinement(pair: Pair) -> Iterator[Finding]:
    yield from confined(pair.source, pair.source_host)
    yield from confined(pair.destination, pair.destination_host, source=False)


IDENTITY = Check(
    _identity,
    {
        codes.SAME_HOST_UUID: "One host is a clone of the other, or its firmware gives every machine the same UUID.",
        codes.SAME_HOSTNAME: "One host is a clone of the other, or was never named.",
    },
)
CLOCK = Check(_clock, {codes.CLOCK_DIFFERS: "Certificates, logs and the guest's clock depend on the host's clock."})
VMFERRY = Check(
    _vmferry, {codes.VMFERRY_DIFFERS: "The hosts use what both of them know, so that they can be updated one by one."}
)
CONFINEMENT = Check(
    _confinement,
    {
        codes.APPARMOR_RULES: "libvirt gives each QEMU a profile, and QEMU may open only what the profile names.",
        codes.SELINUX_UNTRIED: "libvirt gives each QEMU a label, and QEMU may open only what the policy allows.",
    },
)
