"""Paths of disk files: read in one way only, and never one of vmferry's own names."""

import posixpath
import unicodedata

RESERVED = ".vmferry-"
"""The prefix of vmferry's own files beside disks; no disk's name may begin with it."""

_NAME_MAX = 255 - 16  # bytes; libvirt and qemu-img put something behind some names


def problem(path: str) -> str | None:
    """Return why no disk can have that path; None if one can.

    File systems differ in which names they treat as equal (case, Unicode normalisation, characters without width). A
    name
    that any of them could take for one of vmferry's own is refused.
    """
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path or path == "/":
        return "it is not absolute and plain, without `.`, `..`, `//` and a slash at its end"
    if not path.isprintable():
        return "it has characters that cannot be shown"
    name = path.rpartition("/")[2]
    if len(name.encode("utf-8", "replace")) > _NAME_MAX:
        return f"its name is longer than {_NAME_MAX} bytes"
    if _folded(name).startswith(RESERVED):
        return f"names that begin with {RESERVED} are vmferry's own"
    return None


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(letter for letter in plain if unicodedata.category(letter) not in ("Cf", "Mn", "Cc", "Co", "Cn"))
