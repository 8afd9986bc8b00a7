"""The two hosts beside each other: who they are, their clocks, their versions of vmferry."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.finding import Finding
from vmferry.preflight.case import Case, Check

CLOCK_LIMIT = 5.0  # seconds; what the way between the hosts and the gathering take is far below


def _identity(case: Case) -> Iterator[Finding]:
    there, here = case.vm.host, case.here
    if here.uuid == there.uuid:
        seen = (there.uuid, here.uuid)
        yield Finding.blocks(codes.SAME_HOST_UUID, seen, source=case.vm.source, host=here.name, uuid=here.uuid)
    if there.hostname and there.hostname == here.hostname:
        seen = (there.hostname, here.hostname)
        yield Finding.warns(codes.SAME_HOSTNAME, seen, source=case.vm.source, host=here.name, hostname=here.hostname)


def _clock(case: Case) -> Iterator[Finding]:
    there, here = case.vm.host.clock, case.here.clock
    apart = abs(here - there)
    if there and here and apart > CLOCK_LIMIT:
        seen = (f"{there:.0f}", f"{here:.0f}")
        yield Finding.warns(codes.CLOCK_DIFFERS, seen, source=case.vm.source, host=case.here.name, seconds=round(apart))


def _vmferry(case: Case) -> Iterator[Finding]:
    there, here = case.vm.host.vmferry, case.here.vmferry
    if there and there != here:
        yield Finding.warns(
            codes.VMFERRY_DIFFERS, (there, here), source=case.vm.source, host=case.here.name, here=there, there=here
        )


def _confinement(case: Case) -> Iterator[Finding]:
    for name, host, is_source in ((case.vm.source, case.vm.host, True), (case.here.name, case.here, False)):
        for driver, code in (("apparmor", codes.APPARMOR_RULES), ("selinux", codes.SELINUX_UNTRIED)):
            if driver in host.confinement and not (driver == "apparmor" and host.confinement_rules):
                yield Finding.warns(code, (driver, "") if is_source else ("", driver), host=name)


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
