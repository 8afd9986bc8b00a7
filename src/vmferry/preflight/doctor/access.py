"""Who can reach the API's socket, and who can read secrets."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.health import Health

_ANYBODY = 0o666  # of the socket: the caller's user and groups decide, once they are in
_OTHERS = 0o077


def _access(health: Health) -> Iterator[Finding]:
    mode = health.socket.mode
    if mode is not None and mode & _ANYBODY != _ANYBODY:
        seen = (f"mode {mode:04o}", "")
        yield Finding.warns(codes.SOCKET_CLOSED, seen, host=health.name, path=health.socket.path, mode=f"{mode:04o}")
    group = health.group_missing
    if group is not None:
        yield Finding.warns(codes.GROUP_MISSING, (f"no group {group}", ""), host=health.name, group=group)
    for file in health.state:
        if file.mode is not None and (file.mode & _OTHERS or file.owner != 0):
            seen = (f"{file.path}: mode {file.mode:04o}, owner {file.owner}", "")
            wanted = f"{file.mode & ~_OTHERS:04o}"
            yield Finding.warns(
                codes.STATE_OPEN, seen, host=health.name, path=file.path, mode=f"{file.mode:04o}", wanted=wanted
            )


ACCESS = Check(
    _access,
    {
        codes.SOCKET_CLOSED: "The mode was changed, so members of the group `vmferry` get no answer.",
        codes.GROUP_MISSING: "systemd-sysusers did not run after vmferry was installed, or the group was removed.",
        codes.STATE_OPEN: "The host's key and the keys of jobs are there: anyone who has them can act as the host.",
    },
)
