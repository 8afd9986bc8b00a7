"""Storage pools: what libvirt believes to be in a folder, after a move has put files there or taken them away."""

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
    """Return the folder of a pool; None: it is no pool of files, or libvirt does not tell."""
    try:
        tree = xmltree.parse(pool.XMLDesc(0))
    except (libvirt.libvirtError, VmferryError):
        return None
    return tree.findtext("target/path") if tree.get("type") in _KINDS else None


def refresh(uri: str, host: str, files: Iterable[str]) -> None:
    """Have the active pools look again that hold files; what goes wrong is no matter: libvirt will look some day.

    Arguments:
        uri, host: of this host's libvirt.
        files: absolute paths that came or went.
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
    """Have a pool look again; one that is busy, or has just gone, is left alone."""
    try:
        pool.refresh(0)
    except libvirt.libvirtError:
        return
