"""The lock that keeps a VM from being started where it was handed over, and libvirt's hook, run as libvirt runs it."""

import subprocess
from pathlib import Path

import pytest

from vmferry.core.errors import InternalError
from vmferry.jobs import startlock
from vmferry.jobs.startlock import StartLock

UUID = "0dfb1b2c-9d0c-4c38-8f9d-0c3a1a0c5a11"
OTHER = "1dfb1b2c-9d0c-4c38-8f9d-0c3a1a0c5a11"
PACKAGED = Path(__file__).parents[2] / "packaging" / "libvirt" / "vmferry"


def lock(state: Path, uuid: str = UUID) -> StartLock:
    return startlock.of(state, uuid, job="7f3a9c00aa11", vm="web01", peer="kvm2")


def start(state: Path, uuid: str = UUID, *words: str, name: str = "web01") -> tuple[int, str]:
    """Run the hook as libvirt does before a start; gives its exit status and what it says."""
    script = state / "hook"
    state.mkdir(exist_ok=True)
    script.write_text(startlock.hook(state))
    script.chmod(0o755)
    described = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    xml = (
        f"<domain type='qemu' id='3'>\n  <name>{described}</name>\n  <uuid>{uuid}</uuid>\n"
        f"  <metadata>\n    <a:b xmlns:a='a'>\n      <uuid>{OTHER}</uuid>\n    </a:b>\n  </metadata>\n</domain>\n"
    )
    done = subprocess.run(
        [str(script), name, *(words or ("prepare", "begin", "-"))],
        input=xml + "x" * 100_000,
        capture_output=True,
        text=True,
        timeout=10,
        env={"PATH": "/nowhere"},  # it must start no program
    )
    return done.returncode, done.stderr


def test_a_locked_vm_is_refused_with_a_sentence(tmp_path: Path) -> None:
    assert start(tmp_path) == (0, "")
    held = lock(tmp_path)
    held.prepare()
    assert start(tmp_path) == (0, ""), "only held locks refuse"
    held.hold()
    status, said = start(tmp_path)
    assert status == 1
    assert said.startswith("vmferry handed web01 to kvm2 (job 7f3a9c00aa11), and it may run there")
    assert said.count("\n") == 1
    assert "vmferry job resolve 7f3a9c00aa11" in said
    held.lift()
    assert start(tmp_path) == (0, "")


def test_the_hook_notes_that_it_was_asked_where_it_can(tmp_path: Path) -> None:
    place = startlock.asked(tmp_path)
    assert start(tmp_path) == (0, "")
    assert not place.exists()
    place.parent.mkdir(mode=0o700)
    for words in (("prepare", "begin", "-"), ("reconnect", "begin", "-")):
        assert start(tmp_path, UUID, *words) == (0, "")
        place.unlink()
    place.mkdir()  # it cannot: no VM is kept from starting by that
    assert start(tmp_path) == (0, "")
    assert list(startlock.locks(tmp_path)) == []


@pytest.mark.parametrize(
    "words", [("start", "begin", "-"), ("reconnect", "begin", "-"), ("migrate", "begin", "-"), ("stopped", "end", "-")]
)
def test_only_a_start_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    lock(tmp_path).hold()
    assert start(tmp_path, UUID, *words) == (0, "")


def test_other_vms_start_whatever_is_in_their_names_and_metadata(tmp_path: Path) -> None:
    lock(tmp_path).hold()
    assert start(tmp_path, OTHER) == (0, "")
    assert start(tmp_path, OTHER, name=f"<uuid>{UUID}</uuid>") == (0, "")
    lock(tmp_path, OTHER).hold()
    assert start(tmp_path, OTHER, name="$(touch /tmp/x) `id` %s")[0] == 1


@pytest.mark.parametrize("spoilt", ["empty", "gone", "folder"])
def test_a_lock_that_cannot_be_read_refuses_too(tmp_path: Path, spoilt: str) -> None:
    place = startlock.folder(tmp_path) / UUID
    place.parent.mkdir()
    if spoilt == "empty":
        place.write_text("")
    elif spoilt == "gone":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
    status, said = start(tmp_path)
    assert status == 1
    assert "vmferry handed web01 to another host." in said


def test_the_folder_may_have_any_name(tmp_path: Path) -> None:
    state = tmp_path / "it's; $(exit 3) \\n"
    lock(state).hold()
    assert start(state)[0] == 1


def test_a_lock_holds_without_what_was_prepared_and_once(tmp_path: Path) -> None:
    held = lock(tmp_path)
    held.hold()
    held.hold()
    assert held.holder() == "7f3a9c00aa11"
    assert [found.uuid for found in startlock.locks(tmp_path)] == [UUID]
    held.lift()
    held.lift()
    assert list(startlock.locks(tmp_path)) == []


def test_what_is_not_a_lock_is_none(tmp_path: Path) -> None:
    assert list(startlock.locks(tmp_path)) == []
    lock(tmp_path).prepare()
    (startlock.folder(tmp_path) / "README").write_text("")
    (startlock.folder(tmp_path) / UUID.upper()).write_text("")
    assert list(startlock.locks(tmp_path)) == []
    with pytest.raises(ValueError, match="hexadecimal"):
        startlock.of(tmp_path, "../../etc/passwd").hold()


def test_a_lock_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    startlock.folder(tmp_path).write_text("")  # a file where the folder belongs
    with pytest.raises(InternalError) as caught:
        lock(tmp_path).prepare()
    assert caught.value.code.name == "start-lock-failed"
    assert UUID in caught.value.reason
    with pytest.raises(InternalError):
        lock(tmp_path).hold()


def test_the_packaged_hook_is_the_one_for_the_default_folder() -> None:
    assert PACKAGED.read_text() == startlock.hook(Path("/var/lib/vmferry"))
    assert PACKAGED.stat().st_mode & 0o111 == 0o111
