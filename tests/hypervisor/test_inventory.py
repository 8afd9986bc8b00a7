"""Disks of VMs that cannot be moved, and what is advised."""

import errno
import os
from typing import Any

import pytest

pytest.importorskip("libvirt")
from vmferry import safefiles
from vmferry.core.libvirt.domainxml import disks
from vmferry.hypervisor import inventory

XML = """
<domain><name>web01</name><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/srv/web01.qcow2'/><target dev='vda'/></disk></devices></domain>
"""


@pytest.mark.parametrize(
    ("number", "why", "advice"),
    [
        (errno.EACCES, "/srv/web01.qcow2 cannot be read", "no_root_squash"),
        (errno.ENOENT, "/srv/web01.qcow2 cannot be read", "QEMU still has the file open"),
    ],
)
def test_what_root_may_not_read_on_a_share_is_said(
    monkeypatch: pytest.MonkeyPatch, number: int, why: str, advice: str
) -> None:
    def refuse(path: str, flags: int = 0) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(safefiles, "open_regular", refuse)
    nobody: Any = None
    (entry,) = disks(XML)
    with pytest.raises(inventory._UnsupportedError) as caught:
        inventory._inspect(nobody, entry, "web01")
    said = caught.value.unmovable
    assert why in said.why
    assert advice in said.advice
    assert "`virsh blockcopy web01 vda PATH --wait --pivot --transient-job`" in said.advice
