"""What nobody can do by hand while a VM changes hosts: start the copy that was handed over."""

from contextlib import ExitStack

import pytest
from tests.lab.faults import restart_libvirt, stopped
from tests.lab.harness import Failed, Pair, begin, kill, vmferry, wait
from tests.lab.hosts.test_doctor import doctor, found
from tests.lab.steps import check_only_on, move
from tests.lab.tap import Tap

from vmferry.core.errors import Exit
from vmferry.jobs import startlock
from vmferry.lab import network
from vmferry.lab.vms.vm import Guest, state

pytestmark = pytest.mark.lab

_GUEST = Guest(memory=128, busy=8, rate=1, disks=())


def _silenced(pair: Pair, stack: ExitStack) -> str:
    """Move, and have the destination fall silent as `go` is on its way: nothing starts its worker again until `stack`
    is left; return the job."""
    one, two = pair.hosts

    def action() -> bool:
        stack.enter_context(stopped(two))
        kill(two, "bin/vmferry-transfer")
        return True

    tap = Tap(one, two, "control>go", before=True, action=action)
    with tap.running():
        job = begin(one, _GUEST.name, two.name, "--encryption", "off")
        wait(tap.acted.is_set, 60.0, f"the switch; there were {tap.events}")
    wait(lambda: vmferry(one, "job", "show", job)["state"] == "in-doubt", 30.0, "the job to be in doubt")
    wait(lambda: state(one, _GUEST.name) == "shut off", 10.0, "the source's copy to end")
    assert state(two, _GUEST.name) == "paused"
    return job


def test_the_copy_that_was_handed_over_is_not_started(pair: Pair) -> None:
    one, two = pair.hosts
    pair.start(_GUEST)
    one.run("virsh", "autostart", _GUEST.name)
    uuid = one.run("virsh", "domuuid", _GUEST.name).stdout.strip()

    def refused() -> None:
        done = one.run("virsh", "start", _GUEST.name, check=False)
        assert done.returncode == 1
        assert f"vmferry handed {_GUEST.name} to kvm2 (job {job}), and it may run there" in done.stderr
        assert state(one, _GUEST.name) == "shut off"

    with ExitStack() as stack:
        job = _silenced(pair, stack)
        refused()
        wait(lambda: "disable" in one.run("virsh", "dominfo", _GUEST.name).stdout, 10.0, "autostart to be off")
        one.run("virsh", "autostart", _GUEST.name)
        one.run("rm", "-f", "/run/libvirt/qemu/autostarted")  # libvirt then takes its start for the host's
        restart_libvirt(one)
        refused()
        assert "/run/libvirt/qemu/autostarted" in one.run("ls", "-d", "/run/libvirt/qemu/autostarted").stdout
        assert "hook" in one.run("cat", "/var/log/libvirt/libvirtd.log").stdout.lower(), "autostart was not tried"
    for host in pair.hosts:
        ended = pair.wait_end(host, job)
        assert ended["state"] == "done", ended["error"]
    assert list(startlock.locks(one.home / "vmferry")) == []
    check_only_on(pair, _GUEST, two)
    move(pair, _GUEST, two, storage=False)  # back, under the same UUID
    assert one.run("virsh", "domuuid", _GUEST.name).stdout.strip() == uuid
    one.run("virsh", "destroy", _GUEST.name)
    one.run("virsh", "start", _GUEST.name)


def test_a_hook_that_is_missing_or_not_executable(pair: Pair) -> None:
    hook = str(startlock.HOOK)
    text = pair.two.run("cat", hook).stdout
    for fault in (f"chmod 644 {hook}", f"rm {hook}", f"echo changed >> {hook}"):
        pair.two.run("sh", "-c", fault)
        code, report = doctor(pair.two)
        assert (code, found(report)) == (Exit.DONE, ["start-hook-missing"])
        (said,) = (finding["remedy"] for finding in report["findings"] if finding["code"] == "start-hook-missing")
        pair.two.run("sh", "-c", said.split("`")[1])  # the way out, as it is written
        restart_libvirt(pair.two)
        assert found(doctor(pair.two)[1]) == []
        assert pair.two.run("cat", hook).stdout == text


def test_the_copy_that_is_not_handed_over_yet_is_not_resumed(pair: Pair) -> None:
    """Its links are cut as libvirt's last reply is on its way, so that it waits, paused; somebody resumes it there."""
    one, two = pair.hosts
    pair.start(_GUEST)

    def action() -> bool:
        for link in ("management", "migration"):
            network.set_link(pair.lab.layout, "kvm2", link, up=False)
        return True

    tap = Tap(one, two, "rpc<306", before=True, action=action)
    with tap.running():
        job = begin(one, _GUEST.name, two.name, "--encryption", "off")
        wait(tap.acted.is_set, 60.0, f"the switch; there were {tap.events}")
    wait(lambda: state(two, _GUEST.name) == "paused", 20.0, "the copy to be there, paused")
    for _ in range(2):
        two.run("virsh", "resume", _GUEST.name)
        wait(lambda: state(two, _GUEST.name) == "paused", 5.0, "the copy to be suspended again")
    said = (two.home / "vmferry" / "log" / f"vmferry-transfer@{job}.log").read_text()
    assert said.count(f"somebody resumed {_GUEST.name} here before kvm1 had handed it over") >= 1
    for link in ("management", "migration"):
        network.set_link(pair.lab.layout, "kvm2", link, up=True)
    for host in pair.hosts:
        pair.wait_end(host, job)
    assert {state(host, _GUEST.name) for host in pair.hosts} == {"running", "absent"}
    pair.listen_again()  # the copy ran for a moment, as was made to happen here


@pytest.mark.parametrize("choice", ["--keep", "--give-up"])
def test_a_move_whose_destination_is_gone_for_good_is_settled_by_hand(pair: Pair, choice: str) -> None:
    one, two = pair.hosts
    pair.start(_GUEST)
    with ExitStack() as stack:
        job = _silenced(pair, stack)
        shown = vmferry(one, "job", "resolve", job)
        assert (shown["presence"], shown["answers"]) == ("off", False)
        assert (shown["keep"]["refusal"], shown["give_up"]["refusal"]) == (None, None)
        with pytest.raises(Failed) as caught:
            vmferry(one, "job", "resolve", job, choice)
        assert caught.value.problem["code"] == "confirmation-needed"
        settled = vmferry(one, "job", "resolve", job, choice, "--yes")
        assert (settled["state"], settled["error"]["code"]) == ("failed", "settled-by-hand")
        assert list(startlock.locks(one.home / "vmferry")) == []
        two.run("virsh", "destroy", _GUEST.name)  # gone for good, as was said
        if choice == "--keep":
            one.run("virsh", "start", _GUEST.name)
            pair.observer.wait_ticking("kvm1")
        else:
            assert state(one, _GUEST.name) == "absent"
    ended = pair.wait_end(two, job)  # it came back after all, and asks whose the VM is
    assert ended["state"] == "failed", ended
