"""Names for the Tab key, asked of the daemon; when it is away there are none, and no word about it."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from vmferry.cli import context
from vmferry.client import Client
from vmferry.core.errors import VmferryError

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names: Callable[[Client], Iterable[tuple[str, str]]]) -> Completer:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with context.connect() as client:
                found = list(names(client))
        except VmferryError:
            return []
        return [CompletionItem(name, help=about) for name, about in found if name.startswith(incomplete)]

    return complete


vms = _completer(lambda client: ((vm.name, vm.state) for vm in client.vms()))
hosts = _completer(lambda client: ((host.name, host.address) for host in client.hosts()))
networks = _completer(lambda client: ((one.subnet, f"priority {one.priority}") for one in client.settings().networks))
jobs = _completer(lambda client: ((job.id, f"{job.vm} to {job.destination}") for job in client.jobs()))
running_jobs = _completer(
    lambda client: ((job.id, f"{job.vm} to {job.destination}") for job in client.jobs() if not job.state.ended)
)
