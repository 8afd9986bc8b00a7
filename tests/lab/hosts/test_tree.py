"""The root of another release is made whole or not at all, and says what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.harness import LIMIT, wait

from vmferry.core.errors import PreflightError, UnreachableError
from vmferry.lab import tree
from vmferry.lab.layout import Layout

pytestmark = pytest.mark.lab

NOBODY = "http://127.0.0.1:9/debian"
_MAKE = """\
import sys
from pathlib import Path
from vmferry.lab import tree
from vmferry.lab.layout import Layout
Layout.cache = Path(sys.argv[1])
tree.prepare(Layout(), "trixie", say=lambda text: print(text, flush=True))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without any tree."""
    monkeypatch.setattr(Layout, "cache", tmp_path)
    return tmp_path


def trees(cache: Path) -> list[Path]:
    return [folder for folder in cache.iterdir() if folder.is_dir() and not folder.suffix]


def test_a_mirror_that_does_not_answer(cache: Path) -> None:
    with pytest.raises(UnreachableError) as error:
        tree.prepare(Layout(), "trixie", NOBODY)
    assert error.value.code.name == "lab-mirror"
    assert NOBODY in error.value.reason
    assert "--mirror" in error.value.remedy
    assert trees(cache) == []


def test_a_disk_that_is_too_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "SPACE", 1 << 60)
    with pytest.raises(PreflightError, match=str(cache)) as error:
        tree.prepare(Layout(), "trixie", NOBODY)
    assert error.value.code.name == "lab-space"


def at_work(cache: Path) -> list[str]:
    """Return the processes that have to do with a cache, this one apart."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                seen = (folder / "cmdline").read_bytes().decode("utf-8", "replace") + os.readlink(folder / "cwd")
            except OSError:
                continue
            if str(cache) in seen:
                found.append(f"{folder.name} {seen}")
    return found


def test_making_that_is_killed_leaves_nothing_at_work_and_no_tree(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _MAKE, str(cache)], stdout=subprocess.PIPE, text=True) as making:
        assert making.stdout is not None
        wait(lambda: "downloading" in (making.stdout.readline() if making.stdout else ""), LIMIT, "the download")
        assert at_work(cache)
        making.kill()
    wait(lambda: not at_work(cache), LIMIT, "what it started to end")
    assert str(cache) not in Path("/proc/mounts").read_text()
    assert trees(cache) == []
