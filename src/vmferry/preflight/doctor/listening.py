"""Whether vmferryd listens where vmferry.toml says."""

from collections.abc import Iterator
from ipaddress import ip_address

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health


def _listening(health: Health) -> Iterator[Finding]:
    mine = {local.address for local in health.addresses}
    v6 = any(":" in address for address in mine)
    for entry in health.listen:
        try:
            address = ip_address(entry)
        except ValueError:
            continue  # a name, which may stand for any address
        if address.is_unspecified:
            if address.version == 6 and not v6:
                continue  # a host without IPv6
        elif str(address) not in mine:
            yield _missing(health, str(address), "no interface has it")
            continue
        if (str(address), health.port) not in health.listeners:
            yield _missing(health, str(address), "nothing listens there")


def _missing(health: Health, address: str, why: str) -> Finding:
    seen = (f"{address} port {health.port}: {why}", "")
    return Finding.blocks(codes.LISTENER_MISSING, seen, host=health.name, address=address, port=health.port, why=why)


LISTENING = Check(
    _listening,
    {
        codes.LISTENER_MISSING: "The address moved to another host or interface after vmferryd started, or "
        "vmferry.toml was changed since."
    },
)
