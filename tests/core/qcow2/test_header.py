"""What a qcow2 image says of itself, against qemu-img; hostile ones within bounds."""

import json
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmferry.core import qcow2
from vmferry.core.qcow2 import Header


def create(path: Path, *options: str, size: str = "10M") -> Path:
    words = [word for option in options for word in ("-o", option)]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words, str(path), size], check=True)
    return path


def parse(raw: bytes) -> Header:
    return qcow2.parse(lambda at, length: raw[at : at + length])


def info(path: Path) -> Any:
    command = ["qemu-img", "info", "--output=json", "-f", "qcow2", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["compat=0.10"],
        ["lazy_refcounts=on"],
        ["extended_l2=on", "cluster_size=128k"],
        ["compression_type=zstd"],
        ["refcount_bits=1"],
        ["refcount_bits=64"],
        ["cluster_size=512"],
        ["cluster_size=2M"],
        ["preallocation=metadata"],
    ],
)
def test_it_says_what_qemu_img_says(tmp_path: Path, options: Sequence[str]) -> None:
    path = create(tmp_path / "a.qcow2", *options)
    for name in ("one", "zw\u00f6lf", "x" * 200):
        subprocess.run(["qemu-img", "snapshot", "-c", name, str(path)], check=True)
        if options != ["compat=0.10"]:
            subprocess.run(["qemu-img", "bitmap", "--add", str(path), name], check=True)
    found, told = parse(path.read_bytes()), info(path)
    data = told["format-specific"]["data"]
    assert (found.virtual_size, found.names, found.encrypted) == (told["virtual-size"], (), False)
    assert found.snapshots == tuple(snapshot["name"] for snapshot in told["snapshots"])
    assert found.bitmaps == tuple(bitmap["name"] for bitmap in data.get("bitmaps", []))
    idle = [bitmap["name"] for bitmap in data.get("bitmaps", []) if "auto" not in bitmap["flags"]]
    assert found.idle_bitmaps == tuple(idle)
    same = {name: _word(value) for name, value in data.items() if name not in ("bitmaps", "corrupt")}
    assert {name.replace("_", "-"): value for name, value in found.options.items()} == {
        **same,
        "cluster-size": str(told["cluster-size"]),
    }


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def test_another_file_in_the_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 512)
    assert parse(create(tmp_path / "a", "backing_file=secret", "backing_fmt=raw", size="1M").read_bytes()).names == (
        "secret",
    )
    found = parse(create(tmp_path / "b", f"data_file={tmp_path / 'data'}").read_bytes())
    assert found.names == (str(tmp_path / "data"),)
    found = parse(create(tmp_path / "c", f"data_file={tmp_path / 'raw'}", "data_file_raw=on").read_bytes())
    assert found.names == (str(tmp_path / "raw"),)


def test_another_file_is_seen_however_little_of_it_is_named(tmp_path: Path) -> None:
    raw = bytearray(create(tmp_path / "a").read_bytes())
    for at, value in ((8, struct.pack(">Q", 512)), (16, struct.pack(">I", 6)), (72, struct.pack(">Q", 4))):
        changed = raw.copy()
        changed[at : at + len(value)] = value
        assert parse(bytes(changed)).names, f"changed at {at}"
    extension = struct.pack(">II8s", 0x44415441, 6, b"secret")
    assert parse(bytes(raw[:112]) + extension + bytes(raw[112 + len(extension) :])).names == ("secret",)


def test_encryption_is_seen(tmp_path: Path) -> None:
    raw = create(tmp_path / "a").read_bytes()
    for method in (1, 2):
        assert parse(raw[:32] + struct.pack(">I", method) + raw[36:]).encrypted


@pytest.mark.parametrize("version", [0, 1, 4, 1 << 31])
def test_another_version_is_refused(tmp_path: Path, version: int) -> None:
    raw = create(tmp_path / "a").read_bytes()
    with pytest.raises(ValueError, match="version"):
        parse(raw[:4] + struct.pack(">I", version) + raw[8:])


def test_features_that_are_not_known_are_refused(tmp_path: Path) -> None:
    raw = create(tmp_path / "a").read_bytes()
    for bit in range(5, 64):
        with pytest.raises(ValueError):
            parse(raw[:72] + struct.pack(">Q", 1 << bit) + raw[80:])


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_image_costs_little_and_is_an_error_or_read(data: st.DataObject) -> None:
    raw = bytearray(_IMAGE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 320))
        raw[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    asked = [0]

    def read(at: int, length: int) -> bytes:
        asked[0] += length
        assert length <= 4 << 20
        return bytes(raw[at : at + length])

    try:
        qcow2.parse(read)
    except ValueError:
        pass
    assert asked[0] < 64 << 20


@given(st.binary(max_size=400))
def test_nonsense_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        parse(raw)


def _image() -> bytes:
    """Return a small image with snapshots and bitmaps."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = create(Path(folder) / "a", "cluster_size=4096", size="64k")
        subprocess.run(["qemu-img", "snapshot", "-c", "one", str(path)], check=True)
        subprocess.run(["qemu-img", "bitmap", "--add", str(path), "two"], check=True)
        return path.read_bytes()


_IMAGE = _image()
