"""How much a copy takes: real images, and what `qemu-img convert` makes of them."""

import subprocess
from pathlib import Path

import pytest

from vmferry.hypervisor.storage import extents

MIB = 1 << 20


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def make(path: Path, format_: str, size: str, *writes: str, options: str = "") -> Path:
    run("qemu-img", "create", "-q", "-f", format_, *(["-o", options] if options else []), str(path), size)
    if writes:
        run("qemu-io", "-f", format_, *[word for write in writes for word in ("-c", write)], str(path))
    return path


def needed(path: Path, format_: str, size: int, cluster: int = 65536) -> int:
    return extents.needed(str(path), format_, size, path.stat().st_blocks * 512, cluster)


def test_a_disk_that_virt_install_makes_takes_nearly_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "disk.qcow2", "qcow2", "1G", options="preallocation=metadata")
    assert needed(path, "qcow2", 1 << 30) < MIB


def test_a_compressed_image_takes_what_it_holds(tmp_path: Path) -> None:
    plain = make(tmp_path / "plain.raw", "raw", "64M", "write -q -P 7 0 30M")
    path = tmp_path / "cloud.qcow2"
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(plain), str(path))
    assert path.stat().st_size < MIB
    assert 30 * MIB <= needed(path, "qcow2", 64 * MIB) < 31 * MIB


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_data_counts_and_zeroes_do_not(tmp_path: Path, format_: str) -> None:
    path = make(tmp_path / "disk", format_, "256M", "write -q -P 7 10M 20M", "write -q -z 100M 50M")
    assert 20 * MIB <= needed(path, format_, 256 * MIB) < 21 * MIB


def test_small_pieces_count_as_the_mirror_copies_them(tmp_path: Path) -> None:
    writes = [f"write -q -P 7 {number}M 4k" for number in range(64)]
    path = make(tmp_path / "disk.raw", "raw", "64M", *writes)
    assert needed(path, "raw", 64 * MIB) == 64 * 64 * 1024


def test_metadata_counts(tmp_path: Path) -> None:
    writes = [f"write -q -P 7 {number * 512}M 64k" for number in range(64)]
    path = make(tmp_path / "disk.qcow2", "qcow2", "32G", *writes)
    copy = tmp_path / "copy.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", str(path), str(copy))
    assert copy.stat().st_blocks * 512 <= needed(path, "qcow2", 32 << 30) < 12 * MIB


def test_a_list_that_takes_too_long_is_cut_off_and_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "disk.qcow2", "qcow2", "64M", "write -q -P 7 0 30M")
    monkeypatch.setattr(extents, "_LIMIT", 0.0)
    assert 30 * MIB <= needed(path, "qcow2", 64 * MIB) < 32 * MIB


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "disk.qcow2", "qcow2", "64M", "write -q -P 7 0 30M")

    def start(*_words: object, **_more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    assert 30 * MIB <= needed(path, "qcow2", 64 * MIB) < 31 * MIB


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_what_is_no_image_is_guessed(tmp_path: Path, format_: str) -> None:
    (tmp_path / "link").symlink_to("nothing")
    assert extents.needed(str(tmp_path / "link"), format_, 64 * MIB, 3 * MIB) >= 3 * MIB
    (tmp_path / "damaged").write_bytes(b"QFI\xfb" + bytes(200))
    assert extents.needed(str(tmp_path / "damaged"), "qcow2", 64 * MIB, 3 * MIB) >= 3 * MIB
