"""`vmferry host setup`: the few questions that matter, each explained, each answer tried at once."""

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
    """Asks until an answer can be carried out.

    Arguments:
        tell: says something to the person.
        asking: False: nobody is asked, and an answer that cannot be carried out is an error.
    """

    def __init__(self, tell: Callable[[str], None], asking: bool) -> None:
        self.tell = tell
        self.asking = asking

    def ask(
        self, about: str, question: str, given: Any, current: str, carry_out: Callable[[str], None], more: str = ""
    ) -> None:
        """Put one question, unless an option has answered it.

        Arguments:
            about: what the answer is for, in a sentence.
            given: what an option said; None: nothing.
            current: the answer that leaves everything as it is.
            carry_out: does what the answer says.
            more: what `?` shows: examples.

        Raises:
            VmferryError: what an option said cannot be carried out.
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
        """Show what would be changed, and ask whether to."""
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
    help="How the other host verifies which user started a move.",
)
@click.option("--authority", metavar="FILE", help="PEM file of the site's authority, in place of pairing.")
@click.option("--certificate", metavar="FILE", help="PEM file of this host's certificate of that authority.")
@click.option(
    "--network",
    "networks",
    metavar="SUBNET",
    multiple=True,
    help="A network for moves, which take no other; may be repeated, the first is tried first. Or `any`.",
)
@click.option("--max-migrations", type=_LIMIT, metavar="N", help="How many moves at once, in and out together.")
@click.option("--max-storage-migrations", type=_LIMIT, metavar="N", help="How many moves of storage at once.")
@click.option("--enable/--no-enable", default=None, help="Let VMs come and go, or leave that as it is.")
@click.option(
    "--with", "hosts", metavar="HOST", multiple=True, help="A host to exchange VMs with; may be repeated. It is tried."
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Read the pairing token of a host that is not known yet from a file (-: standard input).",
)
@pass_command_line
@click.pass_context
def setup(ctx: click.Context, cli: CommandLine, /, **given: Any) -> None:
    """Set this host up: who may, how hosts know each other, which networks, how many at once, with whom.

    It asks on the terminal, says in a sentence what each answer is for, and tries each at once; `?` explains, Return
    leaves a thing as it is. Before it saves the settings it shows what will change. Each answer can be an option; with
    --yes, or off a terminal, nothing is asked, and what no option says stays. In the end each host that VMs are
    exchanged with is tried, both ways. Done again, it changes nothing.
    """
    said = {name: value for name, value in given.items() if value not in (None, ())}
    asking = sys.stdin.isatty() and not cli.yes and not cli.json
    if not (asking or cli.yes or said):
        raise click.UsageError("There is no terminal to ask on: say what to set, or --yes to try the known hosts only.")
    client = cli.client()
    before = client.settings()
    steps = Steps(cli, client, said.get("token_file"), later=asking)

    def tell(text: str) -> None:
        for line in text.split("\n"):
            cli.message("\n".join(wrap(line, max(shutil.get_terminal_size().columns - 1, 20))))

    if asking:
        tell(
            "Return keeps what is in brackets, ? explains, Ctrl-C ends. Settings are saved when you say so, at the end."
        )
    try:
        _ask(Asker(tell, asking), steps, said, before)
    except (KeyboardInterrupt, click.Abort):
        tell(f"\nEnded. Saved: {', '.join(steps.saved)}." if steps.saved else "\nEnded. Nothing was saved.")
        ctx.exit(INTERRUPTED)
    after = client.settings()
    result = SetUp(settings=after, changes=differences(before, after), hosts=steps.tests)
    shown = {one.host: _outcome(one) for one in steps.tests}
    show(cli, result, lines(after) | shown)
    _complain(steps.tests)


def _ask(asker: Asker, steps: Steps, said: dict[str, Any], now: HostSettings) -> None:
    """Put the questions in the order in which an administrator thinks."""
    known = ", ".join(host.name for host in steps.known)
    for role, may in (
        ("operators", "move VMs, in addition to root and members of group vmferry"),
        ("administrators", "change these settings, in addition to root"),
    ):
        about = f"Who may {may}? Separate names with commas; enter - for none."
        more = "For example: ann, @kvm-ops. A name with @ is a group of this host; ann@EXAMPLE.COM is a domain's user."
        asker.ask(about, role.capitalize(), said.get(role), _words(getattr(now, role)), steps.people(role), more)
    if "viewers" in said:
        steps.people("viewers")(",".join(said["viewers"]))
    about = "How does the other host verify which user started a move?"
    more = (
        "kerberos and credssp are for hosts in a domain, certificate is for all others. automatic is kerberos on a "
        "host that has keys in a domain (docs/kerberos.md), else certificate."
    )
    choices = f"Authentication ({', '.join(Authentication)})"
    asker.ask(about, choices, said.get("authentication"), now.authentication.value, steps.authentication, more)
    if not steps.in_domain or "authority" in said:
        about = "How do hosts know each other? By pairing each two of them, or by a certificate authority of your site."
        more = "Enter the file of the authority's certificate, such as /etc/ssl/kvm-ca.pem; it is trusted at once."
        current = "as it is" if steps.trusted else "pairing"
        asker.ask(about, "PEM file of the authority, or pairing", said.get("authority"), current, steps.authority, more)
    if steps.trusted and (steps.needs_certificate or "certificate" in said):
        about = "The authority must certify this host: `vmferry host certificate request` prints what it is to sign."
        more = "Enter the file of the signed certificate; it is installed at once."
        asker.ask(
            about, "PEM file of the certificate, or later", said.get("certificate"), "later", steps.certificate, more
        )
    about = f"Which networks are used for moves? Only these, tried in this order. This host is in {steps.here}."
    more = "For example: 10.20.0.0/24, fd20::/64. `any` allows every network that the two hosts share."
    current = "any" if now.any_network else _words([network.subnet for network in now.networks])
    asker.ask(about, "Networks, or any", said.get("networks"), current, steps.networks, more)
    for name, what in (("max_migrations", "Moves"), ("max_storage_migrations", "Moves of storage")):
        limit = said.get(name)
        about = f"How many {what.lower()} may run here at once? Others wait. More are not faster on one network."
        more = "A whole number from 1 to 100. Moves in and out count together."
        question = f"{what} at once"
        asker.ask(about, question, limit and str(limit), str(getattr(now, name)), steps.limit(name), more)
    enable = {True: "yes", False: "no"}.get(said["enable"]) if "enable" in said else None
    about = "Allow moves? VMs come to this host and leave it only while migration is enabled."
    more = "`no` leaves it as it is; `vmferry migration disable` switches it off."
    asker.ask(about, "Enable migration (yes, no)", enable, "yes" if now.migration else "no", steps.enable, more)
    if asker.asking and (changes := steps.pending):
        if not asker.confirm(changes):
            raise click.Abort
        steps.save()
        asker.tell("Saved.")
    if steps.in_domain and "hosts" not in said:
        asker.tell(
            "Hosts of a domain need no pairing: `vmferry delegation grant A B` lets A move VMs to B, and "
            "`vmferry delegation verify A B --as USER` tries it."
        )
    else:
        about = f"Which hosts do VMs move to and from? Known: {known or 'none'}. Each is tried, both ways."
        more = "Names or addresses, with commas between them. Those that are new are paired with a token made there."
        asker.ask(about, "Hosts", said.get("hosts"), known, steps.hosts, more)
    if "hosts" not in said:
        steps.try_known()


def _words(values: Sequence[str]) -> str:
    return ", ".join(values)


def _outcome(test: PairTest) -> str:
    if test.ok:
        return "answers, and accepts this host; the way back works too"
    direction, problem = ("there", test.there) if test.there else ("back", test.back)
    return f"the way {direction} fails: {problem.detail if problem else 'nobody knows why'}"


def _complain(tests: Sequence[PairTest]) -> None:
    """End as the first host did that did not work.

    Raises:
        VmferryError: that is why.
    """
    problems: list[Problem] = [problem for test in tests if (problem := test.there or test.back)]
    if problems:
        raise VmferryError.from_problem(problems[0].model_dump(mode="json"))
