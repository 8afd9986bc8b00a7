"""README.md and docs/tutorial.md: every command line in them runs, as it is written or as a lab can."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import NAME

from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab

ROOT = Path(__file__).parents[3]
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
LAB = f"{NAME}5"
VMFERRY = str(Path(sys.executable).with_name("vmferry"))
# What other tests run, or nobody can run here; each with the reason.
ELSEWHERE = {
    "make demo": "test_demo, in the campaign",
    "make test": "it runs this test",
    "make setup": "part of make test",
    "usermod -aG vmferry ann": "not vmferry's; tests/packaging has the group",
    "vmferry delegation grant kvm1 kvm2": "tests/lab/hosts/test_delegation.py",
    "vmferry lab up --release kvm2=trixie": "tests/lab/moves/test_generations.py",
    "vmferry host setup": "it asks: tests/cli/host/test_setup.py and tests/lab/hosts/test_settings.py",
    "virsh migrate": "not vmferry's",
}


def command_lines(page: Path) -> list[str]:
    """Return the command lines of a page, those in its text too, without prompts and comments."""
    found = []
    for line in page.read_text().splitlines():
        indented = re.fullmatch(r" {4,}(?P<prompt>(?:kvm[12]# )?)(?P<words>\S.*)", line)
        if indented:
            words = re.split(r"\s{2,}#", indented["words"])[0].strip()
            if words.startswith((".venv/", "make ", "vmferry ")):
                found.append(f"{indented['prompt']}{words}")
        else:
            found += re.findall(r"`((?:vmferry|make|usermod|virsh) [^`]*)`", line)
    return found


def bare(lines: Iterable[str]) -> set[str]:
    """Return lines without prompts: a page may say in its text on which host it is."""
    return {line.rpartition("# ")[2] for line in lines}


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=["readme", "tutorial"])
def test_only_lines_that_are_run_are_there(page: Path) -> None:
    """A line that comes new into a page has to come in below, or in ELSEWHERE, too."""
    assert bare(command_lines(page)) - bare([*ELSEWHERE, *TRY, *LOOK, *USE, *HELP]) == set()


def test_no_line_is_run_that_is_nowhere() -> None:
    lines = {*command_lines(README), *command_lines(TUTORIAL)}
    assert {*ELSEWHERE, *TRY, *LOOK, *USE, *HELP} - lines == set()


TRY = (
    ".venv/bin/vmferry lab up",
    ".venv/bin/vmferry lab exec kvm1 -- vmferry vm move web01 kvm2 --include-storage",
    ".venv/bin/vmferry lab vm add db01 --host kvm2",
    ".venv/bin/vmferry lab down",
)
LOOK = (  # before the move and after it
    ".venv/bin/vmferry lab status",
    ".venv/bin/vmferry lab exec kvm1 -- vmferry vm list",
    ".venv/bin/vmferry lab exec kvm1 -- vmferry vm check web01 kvm2 --include-storage",
    ".venv/bin/vmferry lab exec kvm2 -- vmferry vm list",
    ".venv/bin/vmferry lab exec kvm2 -- vmferry job list",
)
USE = (
    "kvm2# vmferry host pair --invite",
    "kvm1# vmferry host pair 10.20.0.2",
    "vmferry migration enable",
    "vmferry network add 10.20.0.0/24",
    "vmferry host set --only-listed-networks",
    "kvm1# vmferry vm list",
    "vmferry vm check web01 kvm2 --include-storage",
    "kvm1# vmferry vm move web01 kvm2 --include-storage",
    "vmferry job list",
    "vmferry job watch last",
    "vmferry job cancel web01",
    "vmferry doctor --all",
    "vmferry host token create --role operator --name ann",
)
HELP = ("vmferry vm move --help",)


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab.named(LAB)
    lab.down()
    yield lab
    lab.down()


def lab_line(line: str) -> str:
    """Run a line of the machine's, in the lab of this test."""
    words = line.split()
    before = words.index("--") if "--" in words else len(words)
    at = next(number for number, word in enumerate(words) if word in ("up", "status", "exec", "add", "down")) + 1
    assert at <= before
    command = [VMFERRY, *words[1:at], "--name", LAB, *words[at:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def host_line(host: LabHost, line: str, code: int = 0, text: str | None = None) -> str:
    """Run a line on a host, with the lab's addresses in the place of the README's."""
    for theirs, labs in (("10.20.0.0/24", "10.92.0.0/24"), ("10.20.0.2", "10.91.0.2")):
        line = line.replace(theirs, labs)
    words = line.split("# ")[-1].split()
    if text is not None:
        words += ["--token-file", "-"]
    done = host.run(*words, check=False, text=text)
    assert done.returncode == code, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.lab
def test_try_it(lab: Lab) -> None:
    up, move, add, down = TRY
    lab_line(up)
    assert [row.vms for row in lab.status()] == [["web01"], []]
    status, running, check, arrived, jobs = LOOK
    assert "kvm2" in lab_line(status)
    assert "web01" in lab_line(running)
    lab_line(check)
    assert "web01 runs on kvm2." in lab_line(move)
    assert "web01" in lab_line(arrived)
    assert "done" in lab_line(jobs)
    for host, route, last in zip(lab.hosts, ("to kvm2", "from kvm1"), ("committing", "finishing"), strict=True):
        (file,) = (host.home / "vmferry" / "log").glob("vmferry-transfer@*.log")
        said = file.read_text()  # what journalctl shows on a real host
        for phase in ("connecting", "copying", last, "going", "settling"):
            assert re.search(rf"INFO .*: job [0-9a-f]{{12}}, web01 {route}: {phase}, \d+ bytes carried\n", said), said
        assert re.search(rf"INFO .*, web01 {route}: ended, done\n", said), said
        assert "WARNING" not in said
    lab_line(add)
    assert sorted(lab.host("kvm2").vms()) == ["db01", "web01"]
    lab_line(up)  # again: nothing is made anew
    assert lab.host("kvm1").vms() == []
    with lab.host("kvm1").client() as client:
        assert [host.name for host in client.hosts()] == ["kvm2"]
    done = subprocess.run(
        [VMFERRY, "lab", "vm", "add", "--name", LAB, "db01", "--output", "json"], capture_output=True, text=True
    )
    assert json.loads(done.stderr)["problem"]["code"] == "lab-vm-name"
    lab_line(down)
    assert lab.hosts == []


@pytest.mark.lab
@pytest.mark.campaign
def test_demo(lab: Lab) -> None:
    done = subprocess.run([VMFERRY, "lab", "demo", "--name", LAB], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "Ran on both hosts     never" in done.stdout
    assert lab.hosts == []


@pytest.mark.lab
def test_use_it_on_hosts_that_are_as_installed(lab: Lab) -> None:
    lab_line(".venv/bin/vmferry lab up --bare")
    one, two = lab.hosts
    invite, pair, enable, network, only, list_, check, move, *rest = USE
    with one.client() as client:
        assert (client.hosts(), client.settings().migration, one.vms()) == ([], False, [])
    assert "migration-disabled" in host_line(one, "vmferry doctor", code=3)
    token = host_line(two, invite).strip()
    host_line(one, pair, text=token)
    for host in (one, two):
        for line in (enable, network, only):
            host_line(host, line)
    lab_line(".venv/bin/vmferry lab vm add web01")
    assert "web01" in host_line(one, list_)
    host_line(one, check)
    assert host_line(one, move).startswith("web01 runs on kvm2.\n")
    jobs, watch, cancel, doctor, make_token = rest
    assert "done" in host_line(one, jobs)
    assert host_line(one, watch).startswith("web01 runs on kvm2.\n")
    assert "(job-ended)" in one.run(*cancel.split(), check=False).stderr
    host_line(one, doctor)
    assert host_line(one, make_token).startswith("vmft1-")
    for line in HELP:
        host_line(one, line)
