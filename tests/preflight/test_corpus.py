"""Every x86 domain of libvirt's own tests through parser, plan and policy: nothing crashes, no element is lost.

The counts are published in docs/reliability.md; `pytest -s` prints them.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
from tests import corpus
from tests.preflight.make import DISK, HERE, PLACE, case, proposal

from vmferry.config import Config
from vmferry.core.errors import UsageError
from vmferry.core.libvirt import amounts, domainxml, hostpolicy, xmltree
from vmferry.core.libvirt.xmldiff import differences
from vmferry.core.messages.offer import Artifact, MoveOptions, Proposal
from vmferry.preflight.case import Case, run
from vmferry.preflight.checks import OF_MOVE
from vmferry.preflight.plan import Plan, make

pytest.importorskip("libvirt")

pytest.importorskip("libvirt")
from vmferry.hypervisor.snapshot import policy

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

_FOLDERS = {
    "9.0": ("qemuxml2argvdata", "qemuxml2xmloutdata"),
    "11.3": ("qemuxmlconfdata",),
}
# What a plan may change: where disks are, what runs the VM, where sockets are, what the copy needs.
_CHANGED = re.compile(r"domain/devices/(disk|emulator|channel/source|channel)\b")
_PLACES = {"emulators": ["/usr/bin/qemu-system-x86_64"], "emulator": "/usr/bin/qemu-system-x86_64"}


def domains(version: str) -> list[Path]:
    """Return the files with domains for x86 that QEMU runs."""
    found = []
    for name in _FOLDERS[version]:
        for file in sorted((corpus.folder(version) / name).glob("*.xml")):
            text = file.read_text(errors="replace")
            if re.search(r"<domain [^>]*type=['\"](kvm|qemu)['\"]", text) and re.search(
                "arch=['\"](x86_64|i686)", text
            ):
                found.append(file)
    return found


def offered(xml: str) -> Proposal:
    """Offer a domain as a source would."""
    disks: list[Artifact] = []
    for number, entry in enumerate(domainxml.disks(xml)):
        if not entry.empty and entry.kind in ("file", "volume") and entry.format in ("raw", "qcow2"):
            path = entry.path or f"/var/lib/libvirt/images/volume{number}"
            changes = {"target": entry.target, "path": path, "format": entry.format, "readonly": entry.readonly}
            disks.append(DISK.model_copy(update=changes))
    name, uuid, memory = domainxml.name(xml), domainxml.uuid(xml), amounts.memory(xml)
    options = MoveOptions(include_storage=True, storage_path="/var/lib/libvirt/images")
    changes = {"vm": name, "uuid": uuid, "live_xml": xml, "persistent_xml": xml, "memory": memory, "disks": disks}
    return proposal().model_copy(update=changes | {"options": options})


def planned(vm: Proposal) -> tuple[Case, Plan]:
    places = [
        PLACE.model_copy(update={"target": disk.target, "path": f"/var/lib/libvirt/images/{number}"})
        for number, disk in enumerate(vm.disks)
    ]
    here = HERE.model_copy(update={"places": places, **_PLACES})
    plan = make(vm, here)
    return Case(vm, here, plan), plan


@pytest.mark.parametrize("version", _FOLDERS)
def test_libvirts_own_domains(version: str) -> None:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for file in domains(version):
        xml = file.read_text(errors="replace")
        try:
            xmltree.parse(xml)
            vm = offered(xml)
            seen, plan = planned(vm)
        except UsageError as error:
            counts["refused before it is judged"] += 1
            counts[error.reason.rpartition(": ")[2]] += 1
            continue
        counts["judged"] += 1
        assert differences(xml, domainxml.with_paths(xml, {})) == [], file.name
        for rewritten in (plan.live_xml, plan.persistent_xml):
            lost = [change for change in differences(xml, rewritten) if not _CHANGED.match(change)]
            assert lost == [], file.name
        run(OF_MOVE, seen)
        refused = hostpolicy.violations(plan.live_xml, policy(Config(name="kvm2")))
        counts["refused by the policy" if refused else "accepted by the policy"] += 1
        reasons.update({re.sub(r"[0-9]+", "N", " ".join(reason.split()[:2])) for reason in refused})
        counts["within the amounts"] += not amounts.excesses(xml)
    print(f"\nlibvirt {version}: {dict(counts)}; the policy's reasons: {dict(reasons.most_common(25))}")
    assert counts["judged"] > 300
    assert case().plan.disks  # the case that all others are made of is one
