"""What leases disks, as libvirt's settings say it."""

from pathlib import Path

import pytest

from vmferry.hypervisor import leases


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('#lock_manager = "sanlock"\n', ""),
        ('lock_manager = "sanlock"\n', "sanlock"),
        ('lock_manager="lockd"\nlock_manager = "sanlock" # this\n', "sanlock"),
        (None, ""),
    ],
)
def test_the_lock_manager_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, found: str
) -> None:
    monkeypatch.setattr(leases, "_SETTINGS", tmp_path / "qemu.conf")
    if text is not None:
        (tmp_path / "qemu.conf").write_text(text)
    assert leases.manager() == found
