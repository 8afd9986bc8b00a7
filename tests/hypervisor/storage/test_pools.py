"""Storage pools after a move: libvirt's own test driver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmferry.hypervisor.connection import connected
from vmferry.hypervisor.storage import pools


class Pool:
    """A pool that tells how often it was refreshed; the test driver's does not look at files."""

    def __init__(self, pool: Any, refreshed: list[str]) -> None:
        self._pool, self._refreshed = pool, refreshed

    def XMLDesc(self, flags: int) -> str:  # noqa: N802 -- libvirt's name
        return str(self._pool.XMLDesc(flags))

    def refresh(self, _flags: int) -> None:
        self._refreshed.append(self._pool.name())
        self._pool.refresh(0)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Any]:
    node = tmp_path / "node.xml"
    node.write_text("<node/>")
    with connected(f"test://{node}", "kvm1") as made:
        for name in ("images", "other"):
            (tmp_path / name).mkdir()
            xml = f"<pool type='dir'><name>{name}</name><target><path>{tmp_path / name}</path></target></pool>"
            made.storagePoolCreateXML(xml, 0)
        made.storagePoolDefineXML(
            f"<pool type='dir'><name>off</name><target><path>{tmp_path}</path></target></pool>", 0
        )
        yield made


def test_pools_of_the_files_are_refreshed_and_no_others(
    connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed: list[str] = []
    found = connection.listAllStoragePools

    def wrapped(flags: int) -> list[Pool]:
        return [Pool(pool, refreshed) for pool in found(flags)]

    monkeypatch.setattr(connection, "listAllStoragePools", wrapped)
    monkeypatch.setattr(pools, "connected", lambda *_: _Same(connection))
    (tmp_path / "link").symlink_to(tmp_path / "images")
    pools.refresh("test:///default", "kvm1", [str(tmp_path / "link" / "web01.qcow2"), str(tmp_path / "x.qcow2")])
    assert refreshed == ["images"]


class _Same:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        return self._connection

    def __exit__(self, *_: object) -> None:
        pass


def test_a_libvirt_that_is_away_is_no_matter() -> None:
    pools.refresh("qemu+unix:///system?socket=/nowhere", "kvm1", ["/x/y"])
