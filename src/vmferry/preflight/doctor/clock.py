"""Whether the host's clock is synchronised."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health


def _clock(health: Health) -> Iterator[Finding]:
    if health.synchronised is False:
        yield Finding.warns(codes.CLOCK_FREE, ("not synchronised", ""), host=health.name)


CLOCK = Check(_clock, {codes.CLOCK_FREE: "No time service has told the kernel that its clock is right."})
