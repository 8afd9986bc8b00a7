"""Shell completion of names. The daemon supplies them; if it does not answer, there are none and no error."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from vmferry.cli.terminal import logins as saved
from vmferry.cli.terminal.context import CommandLine
from vmferry.client import Client
from vmferry.core.errors import VmferryError

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names: Callable[[Client], Iterable[tuple[str, str]]]) -> Completer:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with (ctx.find_object(CommandLine) or CommandLine()).open_client() as client:
                found = list(names(client))
        except VmferryError:
            return []
        return [CompletionItem(name, help=about) for name, about in found if name.startswith(incomplete)]

    return complete


def logins(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a host that `vmferry host login` has saved."""
    try:
        found = saved.load()
    except VmferryError:
        return []
    return [CompletionItem(name, help=login.address) for name, login in found.items() if name.startswith(incomplete)]


vms = _completer(lambda client: ((vm.name, vm.state) for vm in client.vms()))
hosts = _completer(lambda client: ((host.name, host.address) for host in client.hosts()))
networks = _completer(lambda client: ((one.subnet, f"priority {one.priority}") for one in client.settings().networks))
jobs = _completer(lambda client: ((job.id, f"{job.vm} to {job.destination}") for job in client.jobs()))
running_jobs = _completer(
    lambda client: ((job.id, f"{job.vm} to {job.destination}") for job in client.jobs() if not job.state.ended)
)
tokens = _completer(lambda client: ((token.name, token.role) for token in client.tokens() if token.state == "valid"))
