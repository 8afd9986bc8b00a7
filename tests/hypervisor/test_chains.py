"""The files that images are made of, of images that qemu-img made."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from vmferry.hypervisor import chains


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
