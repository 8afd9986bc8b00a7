"""Changes to a tree as root (lab/tree.py), and becomes the command given: `python -m vmferry.lab.root TREE COMMAND...`.

The tree is mounted and then really is the root, where a chroot would leave the machine's for `ip netns exec` and
`nsenter` to fall back into. Nobody writes to it, so all hosts of a release share one. What hosts keep (their homes),
what labs share, and vmferry itself are mounted into it: both generations run the same source.
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
    """Attach a file system, as mount in section 2 of the manual does.

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, None), target)


def places() -> list[Path]:
    """Give the machine's folders that a tree has at the same places, so that it must have them to mount on."""
    return [Layout().state.parent, Layout().cache]


def source(tree: Path | None) -> Path:
    """Give where vmferry's source is in a root; None stands for the machine's."""
    if tree is None:
        return Path(vmferry.__file__).parent
    (packages,) = (tree / "usr/local/lib").glob("python3.*/dist-packages")
    return Path("/") / packages.relative_to(tree) / "vmferry"


def change(tree: Path, *, writable: bool = False) -> None:
    """Make a tree the root of this process; it has to be in a mount namespace and a process namespace of its own.

    Arguments:
        writable: the tree is still being made.

    Raises:
        OSError: the kernel refused.
    """
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount(tree, tree, "", BIND)
    mount("proc", tree / "proc", "proc")
    mount("tmpfs", tree / "tmp", "tmpfs")
    for folder in ("sys", "dev"):
        mount(f"/{folder}", tree / folder, "", BIND | RECURSIVE)
    for place in places():
        place.mkdir(parents=True, exist_ok=True)
        mount(place, tree / place.relative_to("/"), "", BIND)
    mount(Path(vmferry.__file__).parent, tree / source(tree).relative_to("/"), "", BIND)
    if not writable:
        mount("none", tree, "", BIND | _REMOUNT | _READ_ONLY)
    os.chdir(tree)
    _check(_libc.pivot_root(b".", b"."), tree)  # the old root is then above the new one, at the same place
    _check(_libc.umount2(b".", _DETACH), tree)
    os.chdir("/")


def _check(result: int, place: str | Path) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))


def main() -> None:
    """Change the root and become the command, with an environment as after a start of the machine."""
    arguments = sys.argv[1:]
    writable = arguments[0] == "--writable"
    tree, *command = arguments[1:] if writable else arguments
    change(Path(tree), writable=writable)
    os.execvpe(command[0], command, {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"})  # noqa: S606


if __name__ == "__main__":
    main()
