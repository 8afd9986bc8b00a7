"""Storage pools: let libvirt see files that a move has created in a folder or removed from it."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libvirt

from vmferry.core.errors import VmferryError
from vmferry.core.libvirt import xmltree
from vmferry.hypervisor.connection import connected

_LIMIT = 5.0  # seconds; a pool on a file system that does not answer must not keep a worker
_KINDS = ("dir", "fs", "netfs")


def folder(pool: Any) -> str | None:
    """Return the folder of a pool; None if it is not a pool of files, or libvirt does not tell."""
    try:
        tree = xmltree.parse(pool.XMLDesc(0))
    except (libvirt.libvirtError, VmferryError):
        return None
    return tree.findtext("target/path") if tree.get("type") in _KINDS else None


def refresh(uri: str, host: str, files: Iterable[str]) -> None:
    """Refresh the active pools that hold files; errors are ignored, because libvirt refreshes them some day.

    Arguments:
        uri, host: of this host's libvirt.
        files: absolute paths of new or removed files.
    """
    folders = {os.path.realpath(Path(file).parent) for file in files}
    if not folders:
        return
    thread = threading.Thread(target=_refresh, args=(uri, host, folders), name="pools", daemon=True)
    thread.start()
    thread.join(_LIMIT)


def _refresh(uri: str, host: str, folders: set[str]) -> None:
    try:
        with connected(uri, host) as connection:
            for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
                place = folder(pool)
                if place is not None and os.path.realpath(place) in folders:
                    _refresh_one(pool)
    except (libvirt.libvirtError, VmferryError):
        return  # a libvirt without its storage part, or one that is being restarted


def _refresh_one(pool: Any) -> None:
    """Refresh a pool; one that is busy, or has just gone, is left alone."""
    try:
        pool.refresh(0)
    except libvirt.libvirtError:
        return
