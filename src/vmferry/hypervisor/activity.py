"""Memory activity of a running VM, as libvirt measures it, for a prediction of its move."""

import time
from dataclasses import dataclass
from typing import Any

import libvirt

from vmferry.core import codes
from vmferry.core.errors import PreflightError
from vmferry.core.libvirt import domainxml
from vmferry.hypervisor.connection import connected, translating

LIMIT = 4.0  # seconds until the result has to be there, beyond those for which the VM is watched
LOOK = 0.05
ROUNDED = 0.5 * (1 << 20)  # bytes a second that QEMU's result, in whole MiB a second, is too small by in the mean
# Of what a QEMU process has in memory, what is not the guest's: its program, its heap and, where it emulates, the
# code that it has translated.
OWN = {"kvm": 40 << 20, "qemu": 85 << 20}


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity of a VM while it was watched.

    Arguments:
        used: bytes of its memory that were ever written, as far as the host can tell.
        dirty_rate: bytes of memory per second that changed; each page counts once.
        busy: share of the time, up to 1, in which the busiest of its processors worked.
    """

    used: int
    dirty_rate: float
    busy: float


class Activities:
    """Measures VMs through this host's libvirt.

    Arguments:
        uri: libvirt's URI.
        host: this host's name, for errors.
    """

    def __init__(self, uri: str, host: str) -> None:
        self._uri = uri
        self._host = host

    def measure(self, uuid: str, seconds: int) -> Activity:
        """Watch a running VM by sampling its memory (QEMU's page-sampling); the guest keeps running.

        Arguments:
            seconds: for how long, 1 to 60 (virDomainStartDirtyRateCalc).

        Raises:
            UnreachableError: libvirt-unreachable.
            PreflightError: libvirt-refused; dirty-rate-unmeasured: QEMU gave no result in time.
        """
        with connected(self._uri, self._host) as connection, translating(connection, self._host, uuid):
            return self._measure(connection, connection.lookupByUUIDString(uuid), seconds)

    def used(self, uuid: str) -> int:
        """Return how many bytes of its memory a running VM has ever written, as far as the host can tell.

        Raises:
            UnreachableError: libvirt-unreachable.
            PreflightError: libvirt-refused.
        """
        with connected(self._uri, self._host) as connection, translating(connection, self._host, uuid):
            domain = connection.lookupByUUIDString(uuid)
            found = connection.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_BALLOON)[0][1]
            return _used(domain, found)

    def _measure(self, connection: Any, domain: Any, seconds: int) -> Activity:
        wanted = libvirt.VIR_DOMAIN_STATS_VCPU | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_DIRTYRATE

        def ask() -> dict[str, Any]:
            return dict(connection.domainListGetStats([domain], wanted)[0][1])

        before, began = ask(), time.monotonic()
        domain.startDirtyRateCalc(seconds, libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING)
        time.sleep(seconds)
        while (found := ask()).get("dirtyrate.calc_status") != libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
            if time.monotonic() - began > seconds + LIMIT:
                raise PreflightError(codes.DIRTY_RATE_UNMEASURED, vm=domain.name(), host=self._host)
            time.sleep(LOOK)  # QEMU compares its samples, and tells nobody when it is done
        took = time.monotonic() - began
        spent = [_spent(found, before, number) / took for number in range(found.get("vcpu.maximum", 0))]
        rate = float(found.get("dirtyrate.megabytes_per_second", 0)) * (1 << 20)
        return Activity(
            used=_used(domain, found),
            dirty_rate=rate + ROUNDED if rate else 0.0,
            busy=min(1.0, max(spent, default=1.0)),
        )


def _used(domain: Any, found: dict[str, Any]) -> int:
    """Return the bytes of a VM's memory that were ever written.

    Arguments:
        found: libvirt's statistics of the VM, with those of the balloon.
    """
    memory = int(domain.maxMemory()) * 1024
    own = OWN["kvm" if domainxml.kind(domain.XMLDesc()) == "kvm" else "qemu"]
    resident = int(found.get("balloon.rss", 0)) * 1024
    return min(memory, max(0, resident - own)) if resident else memory


def _spent(after: dict[str, Any], before: dict[str, Any], number: int) -> float:
    """Return the seconds that one processor of the guest has worked meanwhile."""
    name = f"vcpu.{number}.time"
    return float(after.get(name, 0) - before.get(name, 0)) / 1e9
