"""`vmferry host setup`: asks the most important questions, explains them, and tries each answer at once."""

import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from vmferry.cli.host.settings import lines, people_options
from vmferry.cli.host.steps import Steps
from vmferry.cli.terminal.context import INTERRUPTED, Command, CommandLine, pass_command_line
from vmferry.cli.terminal.output import show, wrap
from vmferry.core.errors import VmferryError
from vmferry.core.messages.api import PairTest, Problem, SetUp
from vmferry.core.policy.settings import Authentication, Difference, HostSettings, differences

_LIMIT = click.IntRange(1, 100)


class Asker:
    """Asks questions until each answer can be carried out.

    Arguments:
        tell: prints a message.
        asking: whether to ask; if not, an answer that cannot be carried out is an error.
    """

    def __init__(self, tell: Callable[[str], None], asking: bool) -> None:
        self.tell = tell
        self.asking = asking

    def ask(
        self, about: str, question: str, given: Any, current: str, carry_out: Callable[[str], None], more: str = ""
    ) -> None:
        """Ask one question, unless an option has answered it.

        Arguments:
            about: the purpose of the answer, in a sentence.
            given: the answer from an option; None if there is none.
            current: the answer that changes nothing.
            carry_out: carries the answer out.
            more: examples, which `?` shows.

        Raises:
            VmferryError: the answer from an option cannot be carried out.
        """
        if given is not None:
            carry_out(given if isinstance(given, str) else ",".join(str(one) for one in given))
            return
        if not self.asking:
            return
        self.tell(f"\n{about}")
        while True:
            said = str(click.prompt(question, default=current, show_default=bool(current), err=True)).strip()
            if said == current:
                return
            if said == "?":
                self.tell(f"{about} {more}".strip())
                continue
            try:
                carry_out(said)
            except VmferryError as error:
                self.tell(f"{error.reason} {error.remedy}")
            except click.BadParameter as error:
                self.tell(f"{error.message}.")
            except click.ClickException as error:
                self.tell(f"{error.format_message()}.")
            else:
                return

    def confirm(self, changes: Sequence[Difference]) -> bool:
        """Show the changes, and return whether the user wants to save them."""
        self.tell("\nThese settings will be changed:")
        for one in changes:
            self.tell(f"  {one.name}: {one.before} -> {one.after}")
        return click.confirm("Save them", default=True, err=True)


@click.command(
    "setup",
    cls=Command,
    example="vmferry host setup\n"
    "vmferry host setup --yes --operator @kvm-ops --network 10.20.0.0/24 --max-migrations 4 --enable "
    "--with kvm2 --token-file token",
)
@people_options[0]
@people_options[1]
@people_options[2]
@click.option(
    "--authentication",
    type=click.Choice([option.value for option in Authentication]),
    help="How the other host verifies the user who starts a move.",
)
@click.option("--authority", metavar="FILE", help="PEM file of the site's authority, instead of pairing.")
@click.option("--certificate", metavar="FILE", help="PEM file of this host's certificate from that authority.")
@click.option(
    "--network",
    "networks",
    metavar="SUBNET",
    multiple=True,
    help="Network for moves, or `any`; may be repeated, the first is tried first. Moves use no other network.",
)
@click.option("--max-migrations", type=_LIMIT, metavar="N", help="Limit of simultaneous moves, in and out together.")
@click.option("--max-storage-migrations", type=_LIMIT, metavar="N", help="Limit of simultaneous moves with storage.")
@click.option("--enable/--no-enable", default=None, help="Enable moves to and from this host, or change nothing.")
@click.option(
    "--with",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Host to exchange VMs with; may be repeated. The connection is tested.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Read the pairing token of a new host from a file (-: standard input).",
)
@pass_command_line
@click.pass_context
def setup(ctx: click.Context, cli: CommandLine, /, **given: Any) -> None:
    """Set up this host: users, trust between hosts, networks, limits, and the hosts to exchange VMs with.

    The command asks on the terminal, explains each question, and tries each answer at once. `?` shows examples, Return
    keeps the current value. It shows all changes of settings before it saves them. Each answer can also be an option.
    With --yes, or without a terminal, nothing is asked, and what no option sets stays as it is. At the end, the
    connection to each host is tested in both directions. Run again, the command changes nothing.
    """
    said = {name: value for name, value in given.items() if value not in (None, ())}
    asking = sys.stdin.isatty() and not cli.yes and not cli.json
    if not (asking or cli.yes or said):
        raise click.UsageError(
            "There is no terminal to ask on. Use options for the settings, or --yes to test only the known hosts."
        )
    client = cli.client()
    before = client.settings()
    steps = Steps(cli, client, said.get("token_file"), later=asking)

    def tell(text: str) -> None:
        for line in text.split("\n"):
            cli.message("\n".join(wrap(line, max(shutil.get_terminal_size().columns - 1, 20))))

    if asking:
        tell("Return keeps the value in brackets, ? shows help, Ctrl-C stops. Settings are saved when you say yes.")
    try:
        _ask(Asker(tell, asking), steps, said, before)
    except (KeyboardInterrupt, click.Abort):
        tell(f"\nStopped. Saved: {', '.join(steps.saved)}." if steps.saved else "\nStopped. Nothing was saved.")
        ctx.exit(INTERRUPTED)
    after = client.settings()
    result = SetUp(settings=after, changes=differences(before, after), hosts=steps.tests)
    shown = {one.host: _outcome(one) for one in steps.tests}
    show(cli, result, lines(after) | shown)
    _raise_first(steps.tests)


def _ask(asker: Asker, steps: Steps, said: dict[str, Any], now: HostSettings) -> None:
    """Ask all questions."""
    known = ", ".join(host.name for host in steps.known)
    for role, may in (
        ("operators", "move VMs, in addition to root and members of group vmferry"),
        ("administrators", "change these settings, in addition to root"),
    ):
        about = f"Who may {may}? Separate names with commas; enter - for none."
        more = "For example: ann, @kvm-ops. @NAME is a group of this host; ann@EXAMPLE.COM is a domain user."
        asker.ask(about, role.capitalize(), said.get(role), _words(getattr(now, role)), steps.people(role), more)
    if "viewers" in said:
        steps.people("viewers")(",".join(said["viewers"]))
    about = "How does the other host verify the user who starts a move?"
    more = (
        "kerberos and credssp are for hosts in a domain, certificate is for all others. automatic means kerberos on a "
        "host that has keys in a domain (docs/kerberos.md), otherwise certificate."
    )
    choices = f"Authentication ({', '.join(Authentication)})"
    asker.ask(about, choices, said.get("authentication"), now.authentication.value, steps.authentication, more)
    if not steps.in_domain or "authority" in said:
        about = (
            "How do hosts verify each other? By pairing each two of them, or by a certificate authority of your site."
        )
        more = "Enter the path of the authority's certificate, such as /etc/ssl/kvm-ca.pem. It is trusted at once."
        current = "as it is" if steps.trusted else "pairing"
        asker.ask(about, "PEM file of the authority, or pairing", said.get("authority"), current, steps.authority, more)
    if steps.trusted and (steps.needs_certificate or "certificate" in said):
        about = "The authority must certify this host. `vmferry host certificate request` prints the request to sign."
        more = "Enter the path of the signed certificate. It is installed at once."
        asker.ask(
            about, "PEM file of the certificate, or later", said.get("certificate"), "later", steps.certificate, more
        )
    about = f"Which networks may moves use? They are tried in this order. This host is in {steps.local_networks}."
    more = "For example: 10.20.0.0/24, fd20::/64. `any` allows every network that the two hosts share."
    current = "any" if now.any_network else _words([network.subnet for network in now.networks])
    asker.ask(about, "Networks, or any", said.get("networks"), current, steps.networks, more)
    for name, what in (("max_migrations", "Moves"), ("max_storage_migrations", "Moves of storage")):
        limit = said.get(name)
        about = f"How many {what.lower()} may run at once? Others wait. More at once are not faster on one network."
        more = "A whole number from 1 to 100. Moves in and out count together."
        question = f"{what} at once"
        asker.ask(about, question, limit and str(limit), str(getattr(now, name)), steps.limit(name), more)
    enable = {True: "yes", False: "no"}.get(said["enable"]) if "enable" in said else None
    about = "Allow moves? VMs can move to and from this host only while migration is enabled."
    more = "`no` changes nothing; `vmferry migration disable` disables migration."
    asker.ask(about, "Enable migration (yes, no)", enable, "yes" if now.migration else "no", steps.enable, more)
    if asker.asking and (changes := steps.pending):
        if not asker.confirm(changes):
            raise click.Abort
        steps.save()
        asker.tell("Saved.")
    if steps.in_domain and "hosts" not in said:
        asker.tell(
            "Hosts of a domain need no pairing: `vmferry delegation grant A B` lets A move VMs to B, and "
            "`vmferry delegation verify A B --as USER` checks that."
        )
    else:
        about = f"Which hosts do VMs move to and from? Known: {known or 'none'}. Each connection is tested."
        more = "Enter names or addresses, separated by commas. New hosts are paired with a token that they create."
        asker.ask(about, "Hosts", said.get("hosts"), known, steps.hosts, more)
    if "hosts" not in said:
        steps.try_known()


def _words(values: Sequence[str]) -> str:
    return ", ".join(values)


def _outcome(test: PairTest) -> str:
    if test.ok:
        return "connected in both directions"
    which, problem = ("to it", test.there) if test.there else ("back", test.back)
    return f"the connection {which} fails: {problem.detail if problem else 'unknown reason'}"


def _raise_first(tests: Sequence[PairTest]) -> None:
    """Raise the problem of the first test that failed.

    Raises:
        VmferryError: the problem.
    """
    problems: list[Problem] = [problem for test in tests if (problem := test.there or test.back)]
    if problems:
        raise VmferryError.from_problem(problems[0].model_dump(mode="json"))
