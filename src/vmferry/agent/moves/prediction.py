"""Foretells a move: has the way to the other host and then the VM measured, and gives what comes of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vmferry.agent.measure.bandwidth import Bandwidths
from vmferry.core.errors import VmferryError
from vmferry.core.messages.finding import blocker, ordered
from vmferry.core.messages.offer import MoveOptions, Report
from vmferry.core.messages.vm import VmSnapshot
from vmferry.core.prediction import Measured, Prediction, Wish, predict, watch
from vmferry.hypervisor.activity import Activity
from vmferry.identity.peer import PeerClient
from vmferry.preflight import case, checks
from vmferry.preflight.case import End
from vmferry.preflight.forecast import Forecast
from vmferry.store.peers import Peer

log = logging.getLogger("vmferry.agent")

Watch = Callable[[str, int], Activity]
"""Watches a VM, by its UUID, for some seconds (hypervisor/activity.py)."""


class Forecasts(Protocol):
    """Foretells moves that leave this host."""

    def add(
        self,
        report: Report,
        vm: VmSnapshot,
        end: End,
        peer: Peer,
        client: PeerClient,
        options: MoveOptions,
        since: float,
    ) -> Report:
        """Add a prediction to a report, and what follows from it."""
        ...


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Foretells moves by measurements."""

    bandwidths: Bandwidths
    watch: Watch

    def add(
        self,
        report: Report,
        vm: VmSnapshot,
        end: End,
        peer: Peer,
        client: PeerClient,
        options: MoveOptions,
        since: float,
    ) -> Report:
        """Add a prediction to a report, and what follows from it; a move that cannot be anyway is not foretold.

        Arguments:
            report: of both hosts' checks.
            end: this host.
            client: speaks to the other one, `peer`.
            since: Unix time of the request, from which a deadline counts.
        """
        if blocker(report.findings) is not None:
            return report
        try:
            prediction, why = self._predict(report, vm, end, peer, client, options), None
        except VmferryError as error:
            log.info("%s: its move to %s is not predicted: %s", vm.name, peer.name, error)
            prediction, why = None, error.reason
        left = None if options.deadline is None else since + options.deadline - time.time()
        seen = Forecast(vm.name, end.name, peer.name, options, left, prediction, why)
        findings = report.findings + case.run(checks.OF_FORECAST, seen)
        return report.model_copy(update={"findings": ordered(findings), "prediction": prediction})

    def _predict(
        self, report: Report, vm: VmSnapshot, end: End, peer: Peer, client: PeerClient, options: MoveOptions
    ) -> Prediction:
        wish = Wish(options.bandwidth, options.max_downtime, options.auto_converge)
        way = self.bandwidths.measure(end, peer, client)
        activity = self.watch(vm.uuid, watch(way.bandwidth, wish, options.deadline))
        copied = {plan.target for plan in report.disks if plan.made}
        measured = Measured(
            memory=vm.memory,
            used=min(activity.used, vm.memory),
            dirty_rate=activity.dirty_rate,
            busy=activity.busy,
            disk=sum(disk.copied for disk in vm.disks if disk.target in copied),
            bandwidth=way.bandwidth,
            round_trip=way.round_trip,
        )
        return predict(measured, wish)
