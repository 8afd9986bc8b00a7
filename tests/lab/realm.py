"""What tests in a domain share: people and their tickets, what they are refused, and the mend that an error names."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.harness import Failed, Pair
from vmferry.core.errors import Exit
from vmferry.lab.controller import Controller
from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.vms.vm import Guest, GuestDisk

GUEST = Guest(busy=8, rate=1, disks=(GuestDisk(size=128, filled=8),))
MOVE = ("vm", "move", GUEST.name)


def dc(lab: Lab) -> Controller:
    assert lab.controller is not None
    return lab.controller


def as_person(lab: Lab, person: str, machine: LabHost, *words: str) -> Any:
    """Run vmferry on a machine with somebody's ticket; return what it prints as JSON.

    Raises:
        Failed: it failed.
    """
    with dc(lab).ticket(person, machine) as variables:
        command = ["env", *(f"{name}={value}" for name, value in variables.items())]
        done = machine.run(*command, "vmferry", "--output", "json", *words, check=False)
    return said(done)


def said(done: "subprocess.CompletedProcess[str]") -> Any:
    """Read what vmferry printed; a move prints a line for each event, of which the last counts."""
    if done.returncode:
        found = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        problem: dict[str, Any] = next((one["problem"] for one in reversed(found) if "problem" in one), {})
        raise Failed(done.returncode, problem, done.stderr)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return json.loads(done.stdout.splitlines()[-1])


def ask(pair: Pair, person: str, source: LabHost, *words: str, at: LabHost | None = None) -> Any:
    """Ask a host for something with a person's ticket, from another machine; return what it prints as JSON.

    Raises:
        Failed: it failed.
    """
    at = at or (pair.two if source is pair.one else pair.one)
    return as_person(pair.lab, person, at, "--host", source.name, *words)


def move(pair: Pair, source: LabHost, *options: str, person: str = "operator") -> None:
    """Move the guest away from a host as somebody, and see it arrive whole."""
    destination = pair.two if source is pair.one else pair.one
    ask(pair, person, source, *MOVE, destination.name, "--include-storage", *options)
    pair.assert_only_on(GUEST, destination)
    pair.check(GUEST, destination)


@contextmanager
def refused(code: str, *remedies: str, exit_code: Exit = Exit.ACCESS) -> "Iterator[pytest.ExceptionInfo[Failed]]":
    """Assert that something is refused with a code, and that the message names the remedy."""
    with pytest.raises(Failed) as caught:
        yield caught
    problem = caught.value.problem
    assert (problem.get("code"), caught.value.code) == (code, exit_code), caught.value
    for remedy in remedies:
        assert remedy in problem["remedy"], problem["remedy"]


def follow_remedy(pair: Pair, caught: "pytest.ExceptionInfo[Failed]") -> None:
    """Do, as the domain's administrator, exactly what an error says: its command that allows delegation."""
    commands = re.findall("`(vmferry delegation (?:grant|register) [^`]*)`", caught.value.problem["remedy"])
    with dc(pair.lab).ticket("administrator", pair.one) as variables:
        before = ["env", *(f"{name}={value}" for name, value in variables.items())]
        pair.one.run(*before, *commands[0].split())
