"""Change the root to a tree (lab/tree.py) and execute a command: `python -m vmferry.lab.root TREE COMMAND...`.

The tree is mounted and becomes the real root. After a chroot, `ip netns exec` and `nsenter` would use the machine's
root. The tree is read-only, so all hosts of a release share it. The folders of the hosts, the cache of all labs and
vmferry itself are mounted into it: hosts of all releases run the same source.
"""

import ctypes
import os
import sys
from pathlib import Path

import vmferry
from vmferry.lab.layout import Layout

BIND = 4096
PRIVATE = 1 << 18
RECURSIVE = 16384
_READ_ONLY = 1
_REMOUNT = 32
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0) -> None:
    """Mount a file system (mount(2)).

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, None), target)


def shared_folders() -> list[Path]:
    """Return the folders of the machine that are mounted at the same paths in a tree."""
    return [Layout().state.parent, Layout().cache]


def source(tree: Path | None) -> Path:
    """Return the path of vmferry's source in a tree; None stands for the machine's root."""
    if tree is None:
        return Path(vmferry.__file__).parent
    (packages,) = (tree / "usr/local/lib").glob("python3.*/dist-packages")
    return Path("/") / packages.relative_to(tree) / "vmferry"


def change(tree: Path, *, writable: bool = False) -> None:
    """Make a tree the root of this process, which must have its own mount and process namespaces.

    Arguments:
        writable: whether the tree is still being created.

    Raises:
        OSError: the kernel refused.
    """
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount(tree, tree, "", BIND)
    mount("proc", tree / "proc", "proc")
    mount("tmpfs", tree / "tmp", "tmpfs")
    for folder in ("sys", "dev"):
        mount(f"/{folder}", tree / folder, "", BIND | RECURSIVE)
    for shared in shared_folders():
        shared.mkdir(parents=True, exist_ok=True)
        mount(shared, tree / shared.relative_to("/"), "", BIND)
    mount(Path(vmferry.__file__).parent, tree / source(tree).relative_to("/"), "", BIND)
    if not writable:
        mount("none", tree, "", BIND | _REMOUNT | _READ_ONLY)
    os.chdir(tree)
    _check(_libc.pivot_root(b".", b"."), tree)  # the old root is then mounted over the new one
    _check(_libc.umount2(b".", _DETACH), tree)
    os.chdir("/")


def _check(result: int, path: str | Path) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def main() -> None:
    """Change the root and execute the command, with the environment of a machine that has just started."""
    arguments = sys.argv[1:]
    writable = arguments[0] == "--writable"
    tree, *command = arguments[1:] if writable else arguments
    change(Path(tree), writable=writable)
    os.execvpe(command[0], command, {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"})  # noqa: S606


if __name__ == "__main__":
    main()
