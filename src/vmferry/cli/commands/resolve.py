"""`vmferry job resolve`: settles a move whose other host is gone for good."""

import click

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, pass_command_line
from vmferry.cli.terminal.output import show, show_job
from vmferry.cli.terminal.pick import pick
from vmferry.core.resolution import Owner, Resolution, Way

EXAMPLE = "vmferry job resolve 7f3a9c\nvmferry job resolve 7f3a9c --keep --yes"


@click.argument("word", metavar="JOB", shell_complete=complete.jobs)
@click.option("--keep", "owner", flag_value=Owner.HERE.value, help="The VM is this host's.")
@click.option("--give-up", "owner", flag_value=Owner.THERE.value, help="The VM is the other host's.")
@pass_command_line
def resolve(cli: CommandLine, word: str, owner: str | None) -> None:
    """Settle a move whose other host is gone for good (administrators).

    Without --keep or --give-up it changes nothing: it shows how the VM stands on this host, what either way comes to,
    and what speaks against it. Only you can know that the other host will not come back: two hosts that are told
    opposite things may both run the VM.
    """
    client = cli.client()
    found = client.resolution(pick(client, word).id)
    if owner is None:
        show(cli, found, _lines(found))
        return
    way, chosen = (found.keep, found.host) if owner == Owner.HERE else (found.give_up, found.peer)
    if way.refusal is None:  # else the host refuses, with its reason
        cli.confirm(f"{way.outcome}\nIs {found.peer} gone for good, and is {found.vm} to be {chosen}'s?")
    show_job(cli, client.resolve(found, Owner(owner)))


def _lines(found: Resolution) -> dict[str, str]:
    presence = found.presence or "not known: libvirt does not answer"
    return {
        "job": found.job,
        "vm": f"{found.vm}, {presence} on {found.host}",
        "other host": f"{found.peer}, {'answers' if found.answers else 'does not answer'}",
        "--keep": _words(found.keep),
        "--give-up": _words(found.give_up),
    }


def _words(way: Way) -> str:
    return way.outcome if way.refusal is None else f"Refused: {way.refusal}."
