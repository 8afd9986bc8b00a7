"""The files that images are made of, of images that qemu-img made."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from vmferry.hypervisor.storage import chains


def make(path: Path, *options: str, size: str | None = "1M") -> str:
    subprocess.run(["qemu-img", "create", "-q", *options, str(path), *([size] if size else [])], check=True)
    return str(path)


def over(path: Path, backing: str, format_: str = "qcow2", kind: str = "qcow2") -> str:
    return make(path, "-f", kind, "-u", "-b", backing, "-F", format_)


def test_a_chain_is_read_to_its_end(tmp_path: Path) -> None:
    base = make(tmp_path / "base.raw", "-f", "raw")
    middle = over(tmp_path / "middle.qcow2", "base.raw", "raw")
    top = over(tmp_path / "top.qcow2", middle)
    found = chains.below(top, "qcow2")
    assert [os.path.realpath(file) for file in found.files] == [middle, base]
    assert found.unknown == []


@pytest.mark.parametrize(
    "name",
    [
        "{path}",
        "file:{path}",
        'json:{{"driver": "raw", "file": {{"driver": "file", "filename": "{path}"}}}}',
        'json:{{"driver": "qcow2", "file.driver": "file", "file.filename": "{path}"}}',
    ],
)
def test_a_backing_file_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    base = make(tmp_path / "base.qcow2", "-f", "qcow2")
    top = over(tmp_path / "top.qcow2", name.format(path=base))
    assert chains.below(top, "qcow2").files == [base]


@pytest.mark.parametrize("name", ["nbd://10.0.0.1/x", "rbd:pool/image", "json:{", "https://x/y.qcow2"])
def test_what_is_on_the_network_is_no_file(tmp_path: Path, name: str) -> None:
    assert chains.resolve(name, str(tmp_path / "top.qcow2")) == []


def test_a_data_file_counts(tmp_path: Path) -> None:
    top = tmp_path / "top.qcow2"
    make(top, "-f", "qcow2", "-o", f"data_file={tmp_path}/data.raw,data_file_raw=on")
    assert chains.below(str(top), "qcow2").files == [f"{tmp_path}/data.raw"]


@pytest.mark.parametrize("kind", ["qcow", "qed", "vmdk"])
def test_other_formats_have_backing_files_too(tmp_path: Path, kind: str) -> None:
    base = make(tmp_path / "base.img", "-f", kind if kind == "vmdk" else "raw")
    top = tmp_path / "top.img"
    format_ = kind if kind == "vmdk" else "raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, "-b", base, "-F", format_, str(top)], check=True)
    assert base in chains.below(str(top), kind).files


@pytest.mark.parametrize("kind", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_an_image_of_several_files_names_them_all(tmp_path: Path, kind: str) -> None:
    top = Path(make(tmp_path / "top.vmdk", "-f", "vmdk", "-o", f"subformat={kind}", size="3G"))
    parts = {str(path) for path in tmp_path.iterdir() if path != top}
    assert parts
    for format_ in ("vmdk", None):
        assert set(chains.below(str(top), format_).files) == parts


@pytest.mark.parametrize("kind", ["vdi", "vhdx", "vpc", "parallels"])
def test_formats_without_backing_files_name_none(tmp_path: Path, kind: str) -> None:
    top = make(tmp_path / "top.img", "-f", kind)
    for format_ in (kind, None):
        assert chains.below(top, format_) == chains.Chain()


def test_what_an_unknown_format_names_is_not_known(tmp_path: Path) -> None:
    top = make(tmp_path / "top.img", "-f", "raw")
    (why,) = chains.below(top, "ploop").unknown
    assert "format ploop" in why


def test_an_image_with_features_of_a_newer_qemu_names_its_files(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "-f", "qcow2")
    top = Path(over(tmp_path / "top.qcow2", base))
    raw = top.read_bytes()
    top.write_bytes(raw[:72] + (1 << 20).to_bytes(8, "big") + raw[80:])
    assert chains.below(str(top), "qcow2").files == [base]


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest's QEMU has written is read here and nowhere else: not even by a qemu-img with fewer rights."""
    images = [make(tmp_path / kind, "-f", kind) for kind in ("qcow2", "vmdk", "vdi", "vhdx", "qed", "qcow", "raw")]

    def start(*_words: object, **_more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "posix_spawn", start)
    for image in images:
        chains.below(image, Path(image).name)
        chains.below(image, None)


def test_a_guest_that_writes_a_header_into_its_raw_disk_names_nothing(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "-f", "qcow2")
    top = over(tmp_path / "top.qcow2", base)
    assert chains.below(top, "raw").files == []


def test_a_chain_that_bites_its_tail_ends(tmp_path: Path) -> None:
    first, second = tmp_path / "first.qcow2", tmp_path / "second.qcow2"
    over(first, str(second))
    over(second, str(first))
    assert set(chains.below(str(first), "qcow2").files) == {str(first), str(second)}


def test_a_header_that_is_cut_off_or_lies_names_nothing(tmp_path: Path) -> None:
    top = Path(over(tmp_path / "top.qcow2", "/x"))
    whole = top.read_bytes()
    for length in range(0, 120, 7):
        top.write_bytes(whole[:length])
        chains.below(str(top), None)
    top.write_bytes(whole[:8] + b"\xff" * 12 + whole[20:])
    assert chains.below(str(top), "qcow2").files == []


def test_a_fifo_in_the_place_of_an_image_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "disk.qcow2")
    assert chains.below(str(tmp_path / "disk.qcow2"), "qcow2") == chains.Chain()


def test_json_that_is_deep_is_given_up(tmp_path: Path) -> None:
    assert chains.resolve("json:" + "[" * 100_000, "/x") == []
    assert chains.resolve("json:" + json.dumps({"file": {"filename": "/y"}}), "/x") == ["/y"]
