"""Empty images, against qemu-img's own and its check."""

import itertools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vmferry.core import qcow2

GIB = 1 << 30
_OPTIONS: list[dict[str, str]] = [
    {},
    {"compat": "0.10"},
    {"compat": "1.1", "lazy_refcounts": "on"},
    {"extended_l2": "on", "cluster_size": "131072"},
    {"compression_type": "zstd"},
    {"cluster_size": "512"},
    {"cluster_size": "512", "refcount_bits": "64"},
    {"cluster_size": "512", "refcount_bits": "1"},
    {"cluster_size": "2097152", "refcount_bits": "8"},
    {"refcount_bits": "1"},
    {"refcount_bits": "2", "cluster_size": "4096"},
    {"refcount_bits": "4"},
    {"refcount_bits": "32"},
    {"refcount_bits": "64"},
]


def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=check, capture_output=True, text=True, timeout=60)


def told(path: Path) -> Any:
    found = json.loads(run("qemu-img", "info", "--output=json", str(path)).stdout)
    return {key: value for key, value in found.items() if key not in ("filename", "actual-size", "children")}


def parse(raw: bytes) -> qcow2.Header:
    return qcow2.parse(lambda at, length: raw[at : at + length])


def make(path: Path, size: int, options: Mapping[str, str]) -> int:
    head, length = qcow2.empty(size, options)
    assert len(head) <= length
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(length)
    return length


@pytest.mark.parametrize("options", _OPTIONS, ids=lambda options: ",".join(options.values()) or "plain")
def test_it_is_what_qemu_img_makes(tmp_path: Path, options: dict[str, str]) -> None:
    for size in (0, 1, 512, 10 << 20, 33 * GIB // 32 + 512, 200 * GIB):
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        made = run("qemu-img", "create", "-q", "-f", "qcow2", *words, str(theirs), str(size), check=False)
        if made.returncode:
            with pytest.raises(ValueError):
                make(ours, size, options)
            continue
        length = make(ours, size, options)
        assert told(ours) == told(theirs)
        checked = json.loads(run("qemu-img", "check", "--output=json", str(ours)).stdout)
        assert (checked["image-end-offset"], checked["check-errors"]) == (length, 0)
        header = parse(ours.read_bytes())
        assert {key: header.options.get(key) for key in options} == options


@pytest.mark.parametrize("options", _OPTIONS, ids=lambda options: ",".join(options.values()) or "plain")
def test_it_can_be_filled(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "disk"
    make(path, 8 << 20, options)
    writes = [word for at in ("0", "1M", "5000k", "8388096") for word in ("-c", f"write -q -P 7 {at} 512")]
    run("qemu-io", "-f", "qcow2", *writes, "-c", "write -q -P 9 3M 1M", str(path))
    run("qemu-img", "check", str(path))
    run("qemu-io", "-f", "qcow2", "-c", "read -q -P 7 5000k 512", "-c", "read -q -P 0 6M 1M", str(path))


def test_all_options_together_are_made_or_refused(tmp_path: Path) -> None:
    names = sorted(qcow2.OPTIONS)
    few = {"cluster_size": ["512", "16384", "65536"], "refcount_bits": ["1", "16"]}
    made = 0
    for values in itertools.product(*(few.get(name, sorted(qcow2.OPTIONS[name])) for name in names)):
        options = dict(zip(names, values, strict=True))
        try:
            head, length = qcow2.empty(10 << 20, options)
        except ValueError:
            continue
        header = parse(head.ljust(length, b"\0"))
        shown = {key: value for key, value in options.items() if key in header.options}
        assert {key: header.options[key] for key in shown} == shown
        made += 1
    assert made == 43


@pytest.mark.parametrize("size", [-1, 1 << 62, 1 << 64, 10**30])
def test_a_size_that_no_image_has_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        qcow2.empty(size, {})
