"""`vmferry host setup`: the few questions that matter, each explained, each answer tried at once."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from vmferry.cli.context import Command, Settings, pass_settings
from vmferry.cli.output import show
from vmferry.cli.settings import lines, people_options
from vmferry.cli.steps import Steps
from vmferry.core.api import PairTest, Problem, SetUp
from vmferry.core.errors import VmferryError
from vmferry.core.settings import Authentication, HostSettings, differences

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

    def ask(self, about: str, question: str, given: Any, current: str, carry_out: Callable[[str], None]) -> None:
        """Put one question, unless an option has answered it.

        Arguments:
            about: what the answer is for, in a sentence.
            given: what an option said; None: nothing.
            current: the answer that leaves everything as it is.
            carry_out: does what the answer says.

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
            try:
                carry_out(said)
            except VmferryError as error:
                self.tell(f"{error.reason} {error.remedy}")
            except click.ClickException as error:
                self.tell(error.format_message())
            else:
                return


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
    help="How hosts make sure for whom a move is.",
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
@pass_settings
def setup(settings: Settings, /, **given: Any) -> None:
    """Set this host up: who may, how hosts know each other, which networks, how many at once, with whom.

    It asks on the terminal, says in a sentence what each answer is for, and tries each at once; Return leaves a thing
    as it is. Each answer can be an option; with --yes, or off a terminal, nothing is asked, and what no option says
    stays. In the end each host that VMs are exchanged with is tried, both ways. Done again, it changes nothing.
    """
    said = {name: value for name, value in given.items() if value not in (None, ())}
    asking = sys.stdin.isatty() and not settings.yes and not settings.json
    if not (asking or settings.yes or said):
        raise click.UsageError("There is no terminal to ask on: say what to set, or --yes to try the known hosts only.")
    client = settings.client()
    before = client.settings()
    steps = Steps(settings, client, said.get("token_file"))
    _ask(Asker(settings.message, asking), steps, said, before)
    after = client.settings()
    result = SetUp(settings=after, changes=differences(before, after), hosts=steps.tests)
    shown = {one.host: _outcome(one) for one in steps.tests}
    show(settings, result, lines(after) | shown)
    _complain(steps.tests)


def _ask(asker: Asker, steps: Steps, said: dict[str, Any], now: HostSettings) -> None:
    """Put the questions in the order in which an administrator thinks."""
    for role, may in (
        ("operators", "move VMs, besides root and the group `vmferry`"),
        ("administrators", "do all this"),
    ):
        about = f"Users, or groups as @group, who may {may}; commas between them, - for nobody."
        asker.ask(about, role.capitalize(), said.get(role), _words(getattr(now, role)), steps.people(role))
    if "viewers" in said:
        steps.people("viewers")(",".join(said["viewers"]))
    about = (
        "How hosts make sure for whom a move is: kerberos and credssp in a domain, certificate elsewhere; automatic is "
        "kerberos on a host that has keys in a domain, else certificate."
    )
    choices = f"Authentication ({', '.join(Authentication)})"
    asker.ask(about, choices, said.get("authentication"), now.authentication.value, steps.authentication)
    if not steps.in_domain or "authority" in said:
        about = (
            "Hosts know each other because each two were paired, or because an authority of your site vouches for them."
        )
        current = "as it is" if steps.trusted else "pairing"
        asker.ask(about, "PEM file of the authority, or pairing", said.get("authority"), current, steps.authority)
    if steps.trusted and (steps.needs_certificate or "certificate" in said):
        about = "The authority must certify this host: `vmferry host certificate request` prints what it is to sign."
        asker.ask(about, "PEM file of the certificate, or later", said.get("certificate"), "later", steps.certificate)
    about = f"Moves take these networks and no other, the first that answers. This host is in {steps.here}."
    current = "any" if now.any_network else _words([network.subnet for network in now.networks])
    asker.ask(about, "Networks, or any", said.get("networks"), current, steps.networks)
    for name, what in (("max_migrations", "Moves"), ("max_storage_migrations", "Moves of storage")):
        limit = said.get(name)
        about = f"{what} that may be under way here at once; more is not faster on one network."
        asker.ask(about, f"{what} at once", limit and str(limit), str(getattr(now, name)), steps.limit(name))
    enable = {True: "yes", False: "no"}.get(said["enable"]) if "enable" in said else None
    about = "VMs come to this host and leave it only while migration is enabled."
    asker.ask(about, "Enable migration (yes, no)", enable, "yes" if now.migration else "no", steps.enable)
    if steps.in_domain and "hosts" not in said:
        asker.tell(
            "Hosts of a domain need no pairing: `vmferry delegation grant A B` lets A move VMs to B, and "
            "`vmferry delegation verify A B --as USER` tries it."
        )
    else:
        about = "Hosts to exchange VMs with; each is tried, both ways."
        asker.ask(about, "Hosts", said.get("hosts"), "", steps.hosts)
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
