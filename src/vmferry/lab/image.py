"""The guest's kernel and initramfs: Debian's kernel, its virtio modules, and guest/guest.c as init."""

import gzip
import io
import re
import subprocess
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

from vmferry.core.errors import InternalError
from vmferry.lab.layout import Layout
from vmferry.lab.shell import failed, run

_META_PACKAGE = "linux-image-cloud-amd64"
_MODULES = (
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
)


def prepare(lab: Layout) -> tuple[Path, Path]:
    """Return the kernel and the initramfs. They are created on first use and kept for all labs.

    Raises:
        InternalError: lab-command-failed.
    """
    lab.cache.mkdir(parents=True, exist_ok=True)
    kernel, modules = lab.cache / "vmlinuz", lab.cache / "modules.tar"
    if not (kernel.exists() and modules.exists()):
        _fetch(kernel, modules)
    initramfs = lab.cache / "initramfs.gz"
    source = resources.files("vmferry.lab") / "guest" / "guest.c"
    stamp = lab.cache / "guest.c"
    if not (initramfs.exists() and stamp.exists() and stamp.read_text() == source.read_text()):
        _build(source.read_text(), modules, initramfs)
        stamp.write_text(source.read_text())
    return kernel, initramfs


def _fetch(kernel: Path, modules: Path) -> None:
    """Extract the kernel and its modules from Debian's package, without installing it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            archive = _download(Path(folder))
        except InternalError:  # the package lists are missing, or older than the mirror
            run("apt-get", "update", "-q")
            archive = _download(Path(folder))
        content = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
    draft = modules.with_suffix(".new")  # renamed last, so that an interrupted start begins again
    with tarfile.open(fileobj=io.BytesIO(content)) as package_files, tarfile.open(draft, "w") as kept:
        for member in package_files:
            name = Path(member.name).name
            file = package_files.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            if name.startswith("vmlinuz-"):
                kernel.write_bytes(file.read())
                kernel.chmod(0o644)  # QEMU reads it, and is not root
            elif name.removesuffix(".ko").replace("-", "_") in _MODULES and name.endswith(".ko"):
                member.name = name
                kept.addfile(member, file)
    draft.replace(modules)


def _download(folder: Path) -> Path:
    depends = run("apt-cache", "depends", _META_PACKAGE)
    found = re.search(r"Depends: (linux-image-\d\S*)", depends)
    if found is None:
        raise failed(("apt-cache", "depends", _META_PACKAGE), "it names no kernel")
    command = ("apt-get", "download", "-q", found[1])
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise failed(command, done.stderr)
    return next(folder.glob("*.deb"))


def _build(source: str, modules: Path, initramfs: Path) -> None:
    archive = _Cpio()
    for folder in ("dev", "proc", "sys", "modules"):
        archive.add(folder, 0o040755, b"")
    with tempfile.TemporaryDirectory() as folder:
        code, program = Path(folder) / "guest.c", Path(folder) / "init"
        code.write_text(source)
        run("gcc", "-O2", "-Wall", "-static", "-pthread", "-o", str(program), str(code))
        archive.add("init", 0o100755, program.read_bytes())
    with tarfile.open(modules) as kept:
        for member in kept:
            file = kept.extractfile(member)
            assert file is not None
            archive.add(f"modules/{member.name}", 0o100644, file.read())
    draft = initramfs.with_suffix(".new")
    draft.write_bytes(gzip.compress(archive.finish(), 6))
    draft.chmod(0o644)
    draft.replace(initramfs)


class _Cpio:
    """Writes the archive of an initramfs (kernel's Documentation/driver-api/early-userspace/buffer-format)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._count = 0

    def add(self, name: str, mode: int, content: bytes) -> None:
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields)
        self._data += name.encode() + b"\0"
        self._pad()
        self._data += content
        self._pad()

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0, b"")
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)
