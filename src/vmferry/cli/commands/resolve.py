"""`vmferry job resolve`: settle a move whose other host is permanently gone."""

import click

from vmferry.cli.terminal import complete
from vmferry.cli.terminal.context import CommandLine, pass_command_line
from vmferry.cli.terminal.output import show, show_job
from vmferry.cli.terminal.pick import pick
from vmferry.core.resolution import Owner, Resolution, ResolveChoice

EXAMPLE = "vmferry job resolve 7f3a9c\nvmferry job resolve 7f3a9c --keep --yes"


@click.argument("word", metavar="JOB", shell_complete=complete.jobs)
@click.option("--keep", "owner", flag_value=Owner.HERE.value, help="This host owns the VM.")
@click.option("--give-up", "owner", flag_value=Owner.THERE.value, help="The other host owns the VM.")
@pass_command_line
def resolve(cli: CommandLine, word: str, owner: str | None) -> None:
    """Settle a move whose other host is permanently gone (administrators).

    Without --keep or --give-up, nothing is changed: the command shows the state of the VM on this host, the outcome of
    each choice, and what prevents it. Only you can know that the other host will not come back. If both hosts are told
    to keep the VM, both may run it.
    """
    client = cli.client()
    found = client.resolution(pick(client, word).id)
    if owner is None:
        show(cli, found, _lines(found))
        return
    choice, owning = (found.keep, found.host) if owner == Owner.HERE else (found.give_up, found.peer)
    if choice.refusal is None:  # otherwise the host refuses, with its reason
        cli.confirm(f"{choice.outcome}\nIs {found.peer} permanently gone, and should {owning} own {found.vm}?")
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


def _words(choice: ResolveChoice) -> str:
    return choice.outcome if choice.refusal is None else f"Refused: {choice.refusal}."
