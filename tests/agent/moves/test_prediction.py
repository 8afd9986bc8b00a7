"""How a prediction is made of what is measured, and what becomes of a report with it."""

import time
from typing import Any

import pytest
from tests.preflight.make import DISK, VM, end

from vmferry.core import codes
from vmferry.core.errors import PreflightError, UnreachableError
from vmferry.core.kinds import CopiedBy
from vmferry.core.messages.bandwidth import MeasuredRoute
from vmferry.core.messages.finding import Finding
from vmferry.core.messages.offer import ArtifactPlan, MoveOptions, Report
from vmferry.store.peers import Peer

pytest.importorskip("libvirt")
from vmferry.agent.moves.prediction import Forecaster
from vmferry.hypervisor.activity import Activity

MIB = 1 << 20
KVM2 = Peer("kvm2", "127.0.0.1", 6601, "PEM", "f2", ("*",), 0.0, "root")
MISSING = Finding.blocks(
    codes.NETWORK_MISSING, ("x", "y"), host="kvm2", network="br0", here="br0", vm="web01", known="br1"
)
REPORT = Report(
    vm="web01",
    source="kvm1",
    destination="kvm2",
    findings=[],
    disks=[ArtifactPlan(target="vda", path="/srv/web01.qcow2", shared=False, copied_by=CopiedBy.MIRROR)],
    addresses=["127.0.0.1"],
    live_xml="",
    persistent_xml="",
)


class Line:
    """The way between the hosts, measured already."""

    def __init__(self) -> None:
        self.way = MeasuredRoute(100.0 * MIB, 0.001)
        self.error: PreflightError | UnreachableError | None = None

    def measure(self, *_: Any) -> MeasuredRoute:
        if self.error is not None:
            raise self.error
        return self.way


def foretell(line: Line, options: MoveOptions | None = None, report: Report = REPORT, since: float = 0.0) -> Report:
    measured: Any = line
    nobody: Any = None
    forecaster = Forecaster(measured, lambda _uuid, _seconds: Activity(512 * MIB, 2.0 * MIB, 0.3))
    return forecaster.add(report, VM, end(), KVM2, nobody, options or MoveOptions(), since or time.time())


def test_what_was_measured_is_in_the_report() -> None:
    report = foretell(Line())
    assert report.findings == []
    assert report.prediction is not None
    measured = report.prediction.measured
    assert (measured.used, measured.dirty_rate, measured.busy) == (512 * MIB, 2 * MIB, 0.3)
    assert (measured.bandwidth, measured.round_trip) == (100 * MIB, 0.001)
    assert measured.disk == DISK.allocated


def test_a_disk_that_both_hosts_see_is_not_copied() -> None:
    shared = REPORT.model_copy(
        update={"disks": [REPORT.disks[0].model_copy(update={"shared": True, "copied_by": CopiedBy.NONE})]}
    )
    report = foretell(Line(), report=shared)
    assert report.prediction is not None
    assert report.prediction.measured.disk == 0


def test_the_deadline_counts_from_the_request() -> None:
    options = MoveOptions(deadline=100.0)
    assert foretell(Line(), options).findings == []
    late = foretell(Line(), options, since=time.time() - 95)
    assert [finding.code for finding in late.findings] == ["deadline-missed"]


def test_what_cannot_be_is_not_foretold() -> None:
    blocked = REPORT.model_copy(update={"findings": [MISSING]})
    assert foretell(Line(), report=blocked) == blocked


def test_why_there_is_no_prediction_is_said() -> None:
    line = Line()
    line.error = UnreachableError(codes.HOST_UNREACHABLE, host="kvm2", address="x", why="no route")
    report = foretell(line, MoveOptions(deadline=1.0))
    assert report.prediction is None
    assert [finding.code for finding in report.findings] == ["not-predicted"]
    assert "no route" in report.findings[0].detail
