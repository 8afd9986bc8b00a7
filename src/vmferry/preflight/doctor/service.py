"""vmferryd and the transfer processes: whether something restarts vmferryd and can start the transfer processes."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.errors import VmferryError
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health


def _service(health: Health) -> Iterator[Finding]:
    if health.workers is not None:
        yield Finding.blocks(codes.WORKERS_UNSTARTABLE, (health.workers, ""), host=health.name, why=health.workers)
    if health.kept is not None:
        yield Finding.warns(codes.DAEMON_NOT_KEPT, (health.kept, ""), host=health.name, why=health.kept)
    if health.unlocked is not None:
        seen = health.unlocked, ""
        yield Finding.warns(codes.START_HOOK_MISSING, seen, host=health.name, why=health.unlocked, path=health.hook)


def _enabled(health: Health) -> Iterator[Finding]:
    if not health.settings.migration:
        yield Finding.blocks(codes.MIGRATION_DISABLED, ("migration disabled", ""), host=health.name)


def away(error: VmferryError) -> Finding:
    """Return that vmferryd itself does not answer: nothing else could report it."""
    return Finding.blocks(error.code, (error.reason, ""), **error.fields)


SERVICE = Check(
    _service,
    {
        codes.DAEMON_UNREACHABLE: "vmferryd is stopped, or exits as soon as it starts; its log gives the reason.",
        codes.WORKERS_UNSTARTABLE: "Each move has a process of its own on both hosts. systemd starts it, or "
        "vmferry-supervisor if there is no "
        "systemd.",
        codes.START_HOOK_MISSING: "Between the switch of a move and its end, both hosts have the VM. libvirt runs "
        "this hook before each start, "
        "also at a reboot, so that the copy that was handed over cannot run beside the other.",
        codes.DAEMON_NOT_KEPT: "vmferryd was started by hand, or its unit is not enabled.",
    },
)
ENABLED = Check(
    _enabled, {codes.MIGRATION_DISABLED: "Migration is disabled on a new host, and an administrator can disable it."}
)
