"""The demonstration: a busy VM moves with its disk, and the result is verified from outside."""

import subprocess
import sys
import time

from vmferry.lab.host import LabHost
from vmferry.lab.lab import Lab
from vmferry.lab.vms import play
from vmferry.lab.vms.observer import Observer
from vmferry.lab.vms.vm import Guest, GuestDisk, check_content, remove_all

_GUEST = Guest(name="web01", memory=1024, busy=512, rate=30, records=20, disks=(GuestDisk(size=2048, filled=400),))


def demo(lab: Lab, *, keep: bool) -> int:
    """Show one move. Return an exit code.

    Arguments:
        keep: whether to leave the lab up.
    """
    _say("Starting two hosts, kvm1 and kvm2, that share nothing ...")
    lab.up()
    try:
        one, two = lab.host("kvm1"), lab.host("kvm2")
        if play.pair([one, two]):
            _say("Paired them with a one-time token.")
        for host in (one, two):
            remove_all(host)
        with Observer(lab.layout, ["kvm1", "kvm2"]) as observer:
            return _move(observer, one, two)
    finally:
        if keep:
            _say(f"\nThe lab is up. Try: vmferry lab exec --name {lab.layout.name} kvm2 -- vmferry vm list")
        else:
            lab.down()


def _move(observer: Observer, one: LabHost, two: LabHost) -> int:
    guest = _GUEST
    _say(f"Starting {guest.name} on kvm1: 1 GiB of memory, half of it in use, and a 2 GiB disk ...")
    since = time.monotonic()
    guest.create(one)
    observer.wait(lambda tick: tick.pages_changed > 0, guest.number, 120.0, since)
    _say(f"It changes {guest.rate} MiB of memory a second and writes {guest.records} records a second to its disk.\n")
    command = ["vmferry", "vm", "move", guest.name, "kvm2", "--include-storage"]
    _say(f"kvm1# {' '.join(command)}")
    started = time.monotonic()
    moved = subprocess.run(one.command(*command), check=False).returncode
    if moved:
        return moved
    observer.wait_ticking("kvm2", guest.number)
    ended = time.monotonic()
    tick = observer.verify(guest.number)
    check_content(two, guest.disks[0], guest.disks[0].path(guest.name))
    with one.client() as client:
        summary = max(client.jobs(), key=lambda job: job.created_at).summary
    assert summary is not None  # the command would have failed
    twice = observer.ran_twice(guest.number)
    pause = observer.pause(started, ended + 0.5, guest.number)
    _say("")
    _say(f"Longest pause         {1000 * pause:.0f} ms without a packet of the guest, seen from outside")
    _say(f"Total time            {summary.total_time:.1f} s")
    _say(f"On the wire           {summary.wire_bytes / (1 << 20):.0f} MiB")
    _say(f"Memory verified       {tick.memory_errors} wrong pages of {guest.busy * 256}")
    _say(f"Disk verified         {tick.disk_errors} wrong records of {tick.records}; other content unchanged")
    _say(f"Ran on both hosts     {'never' if not twice else f'YES: ticks {twice[:5]}'}")
    return 1 if twice or tick.memory_errors or tick.disk_errors else 0


def _say(text: str) -> None:
    sys.stderr.flush()
    print(text, flush=True)
