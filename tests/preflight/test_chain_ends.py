"""No image's header decides what QEMU opens: the planned XML says where each chain ends."""

from typing import Any

from tests.preflight.make import DISK, HERE, PATH, PLACE, proposal, xml

from vmferry.core.libvirt import domainxml
from vmferry.core.messages.offer import Artifact, MoveOptions
from vmferry.preflight import plan


def make(disks: list[Artifact], domain: str | None = None, **place: Any) -> plan.Plan:
    there = [PLACE.model_copy(update={"target": disk.target, "path": disk.path, **place}) for disk in disks]
    vm = proposal(domain or xml(), disks=disks, options=MoveOptions(include_storage=True))
    return plan.make(vm, HERE.model_copy(update={"places": there}))


def test_no_header_says_what_is_opened() -> None:
    """Where the XML does not say that a chain ends, libvirt follows what the image says."""
    found = domainxml.parse_domain(make([DISK]).live_xml).find("devices/disk")
    assert found is not None
    tags = [element.tag for element in found]
    assert tags[tags.index("source") + 1] == "backingStore"
    assert len(found.findall("backingStore")) == 1


def test_a_definition_that_is_changed_for_it_is_named() -> None:
    """The other host can write the header of a disk that both see, also when the VM has long arrived."""
    shared = make([DISK], shared=True)
    assert domainxml.parse_domain(shared.persistent_xml).find("devices/disk/backingStore") is not None
    assert shared.closed == ("vda",)
    closed = domainxml.with_ends(xml(), ["vda"])
    for plan_ in (make([DISK]), make([DISK], closed, shared=True)):
        assert plan_.closed == ()
    raw = xml().replace("type='qcow2'", "type='raw'")
    plan_ = make([DISK.model_copy(update={"format": "raw"})], raw, shared=True)
    assert (plan_.closed, plan_.persistent_xml) == ((), domainxml.with_paths(raw, {}))


def test_what_the_xml_says_itself_stays_for_the_policy_to_judge() -> None:
    chain = "<backingStore type='file'><source file='/etc/shadow'/></backingStore>"
    domain = xml().replace(f"<source file='{PATH}'/>", f"<source file='{PATH}'/>{chain}")
    assert "/etc/shadow" in make([DISK], domain).live_xml
